"""The contract of interaction scorers."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from sparcode.model.pair_kernels import PairKernel
from sparcode.model.tokenizer import TokenLift


class InteractionScorer(nn.Cell):
    """Scores (token, item) pairs with a network of any kind.

    A scorer is cut in three, so that whatever depends on one side alone is computed once:
        token_part: lifted tokens (..., d) -> (..., P_t)
        item_part: item tokens (C, K_i, d) -> (C, P_i)
        combine: token parts (..., P_t) and item parts (..., P_i), broadcast against each other -> (...)
    """

    bilinear = False
    """Whether scores are dot products of token part and item part, so that tokens may be added up first."""

    dot_width = 0
    """Leading columns of either part whose dot product is a share of the score; 0 = there is none."""

    def pair_kernel(self) -> PairKernel | None:
        """``cross`` for NumPy arrays, with the present weights; None where it takes a graph."""
        return None

    def token_part(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def added_part(self, tokens: Tensor, lift: TokenLift) -> Tensor:
        """Tokens (Q, K_u, D) before they are lifted -> the sum of their token parts (Q, P_t); if bilinear."""
        raise NotImplementedError

    def item_part(self, item_tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        raise NotImplementedError

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Every token against every item: (T, P_t), (C, P_i) -> (T, C)."""
        return self.combine(ops.expand_dims(token_parts, 1), ops.expand_dims(item_parts, 0))

    def aligned(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """The tokens of each query against the query's own item: (Q, K_u, P_t), (Q, P_i) -> (Q, K_u)."""
        return self.combine(token_parts, ops.expand_dims(item_parts, 1))


def relu_sum(token_hidden: Tensor, item_hidden: Tensor, weights: Tensor) -> Tensor:
    """Every pair of sum_h w_h relu(a_h + c_h), one hidden unit at a time.

    Adding up (T, C) planes keeps the working set in the cache; one (T, C, H) tensor is up to three times
    slower, forward and backward, on CPU.

    Args:
        token_hidden: a, (T, H).
        item_hidden: c, (C, H).
        weights: w, (T, H) or (1, H).

    Returns:
        (T, C).
    """
    tokens = ops.unstack(token_hidden.transpose(1, 0), axis=0)  # H x (T,)
    items = ops.unstack(item_hidden.transpose(1, 0), axis=0)  # H x (C,)
    scales = ops.unstack(weights.transpose(1, 0), axis=0)
    total = 0.0
    for unit in range(len(tokens)):
        plane = ops.relu(ops.expand_dims(tokens[unit], 1) + ops.expand_dims(items[unit], 0))
        total = total + plane * ops.expand_dims(scales[unit], 1)
    return total
