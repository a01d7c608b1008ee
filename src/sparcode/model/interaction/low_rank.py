"""Dot product of nonlinear features of both sides."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from sparcode.model.interaction.dot import DotScorer
from sparcode.model.layers import added_tokens
from sparcode.model.pair_kernels import PairKernel
from sparcode.model.tokenizer import TokenLift


class LowRankScorer(DotScorer):
    """E(z, i) = <z, v> + <phi(z), psi(i)>, with phi(z) = relu(A z) and psi a perceptron of one hidden layer.

    An interaction of rank d + R, nonlinear in both sides, at the price of a matrix product: a loss over many
    candidates stays affordable, and serving from posting lists does not depend on R at all.

    Args:
        width: width d of a token and of an item token.
        num_item_tokens: K_i.
        rank: R, width of the hidden layers and of psi.
    """

    def __init__(self, width: int, num_item_tokens: int, rank: int) -> None:
        super().__init__(width)
        self.rank = rank
        self.item_size = num_item_tokens * width
        self.token_hidden = nn.Dense(width, rank)
        self.item_hidden = nn.Dense(self.item_size, rank)
        # zero at the start: training begins with the dot product alone
        self.item_output = nn.Dense(rank, rank, weight_init="zeros", bias_init="zeros")

    def pair_kernel(self) -> PairKernel:
        return PairKernel(self.dot_width + self.rank)

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., d + R)."""
        return ops.concat((tokens, ops.relu(self.token_hidden(tokens))), -1)

    def added_part(self, tokens: Tensor, lift: TokenLift) -> Tensor:
        hidden = ops.relu(lift.onto(tokens, self.token_hidden.weight) + self.token_hidden.bias)  # (K_u, Q, R)
        return ops.concat((lift.total(tokens), hidden.sum(0)), -1)

    def item_part(self, item_tokens: Tensor) -> Tensor:
        """(C, K_i, d) -> (C, d + R)."""
        hidden = ops.relu(self.item_hidden(item_tokens.reshape(-1, self.item_size)))
        return ops.concat((added_tokens(item_tokens), self.item_output(hidden)), -1)
