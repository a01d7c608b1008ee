"""Dot product."""

from __future__ import annotations

from mindspore import Tensor

from sparcode.model.interaction.base import InteractionScorer
from sparcode.model.layers import added_tokens, dot_products
from sparcode.model.pair_kernels import PairKernel
from sparcode.model.tokenizer import TokenLift


class DotScorer(InteractionScorer):
    """E(z, i) = <z, v>, with v the item vector: a two-tower but for quantization and unsigned scores.

    Args:
        width: width d of a token and of an item token.
    """

    bilinear = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dot_width = width

    def pair_kernel(self) -> PairKernel:
        return PairKernel(self.dot_width)

    def token_part(self, tokens: Tensor) -> Tensor:
        return tokens

    def added_part(self, tokens: Tensor, lift: TokenLift) -> Tensor:
        return lift.total(tokens)

    def item_part(self, item_tokens: Tensor) -> Tensor:
        """(C, K_i, d) -> (C, d)."""
        return added_tokens(item_tokens)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        return (token_parts * item_parts).sum(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        return dot_products(token_parts, item_parts)
