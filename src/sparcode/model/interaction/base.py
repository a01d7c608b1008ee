"""The contract of interaction scorers."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from sparcode.model.pair_kernels import PairKernel


class InteractionScorer(nn.Cell):
    """Scores (token, item) pairs with a network of any kind.

    A scorer is cut in three, so that whatever depends on one side alone is computed once:
        token_part: lifted tokens (..., d) -> (..., P_t)
        item_part: item vectors (C, d) and the K_i item tokens (C, d) that they are made of -> (C, P_i)
        combine: token parts (..., P_t) and item parts (..., P_i), broadcast against each other -> (...)
    """

    bilinear = False
    """Whether scores are dot products of lifted token and item part: tokens are then added up first."""

    def pair_kernel(self) -> PairKernel | None:
        """``cross`` for NumPy arrays, with the present weights; None where it takes a graph."""
        return None

    def token_part(self, tokens: Tensor) -> Tensor:
        """Lifted tokens (..., d) -> token parts (..., P_t)."""
        raise NotImplementedError

    def item_part(self, vectors: Tensor, tokens: tuple[Tensor, ...]) -> Tensor:
        """Item vectors (C, d) and K_i item tokens (C, d) -> item parts (C, P_i)."""
        raise NotImplementedError

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Parts (..., P_t) and (..., P_i), broadcast against each other -> scores (...)."""
        raise NotImplementedError

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Every token against every item: (T, P_t), (C, P_i) -> (T, C)."""
        return self.combine(ops.expand_dims(token_parts, 1), ops.expand_dims(item_parts, 0))

    def aligned(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """The tokens of each query against the query's own item: (Q, K_u, P_t), (Q, P_i) -> (Q, K_u)."""
        return self.combine(token_parts, ops.expand_dims(item_parts, 1))
