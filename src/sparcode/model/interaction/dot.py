"""Dot product."""

from __future__ import annotations

from typing import Literal

from mindspore import Tensor

from sparcode.config.model_schema import ScorerOptions
from sparcode.model.interaction.base import InteractionScorer
from sparcode.model.layers import dot_products
from sparcode.model.pair_kernels import PairKernel


class DotOptions(ScorerOptions):
    """Dot product of token and item vector."""

    name: Literal["dot"] = "dot"


class DotScorer(InteractionScorer):
    """E(x, i) = <x, v>, with v the item vector: a two-tower but for quantization and unsigned scores.

    Args:
        width: width d of a token and of an item vector.
    """

    bilinear = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def pair_kernel(self) -> PairKernel:
        """The product of token part and item part."""
        return PairKernel(self.width)

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., d), as they are."""
        return tokens

    def item_part(self, vectors: Tensor, tokens: tuple[Tensor, ...]) -> Tensor:
        """Item vectors (C, d) -> (C, d), as they are."""
        return vectors

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(..., d), (..., d), broadcast against each other -> scores (...)."""
        return (token_parts * item_parts).sum(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(T, d), (C, d) -> (T, C)."""
        return dot_products(token_parts, item_parts)


def build(options: DotOptions, width: int, num_item_tokens: int) -> DotScorer:
    """The scorer of vectors of a width."""
    return DotScorer(width)
