"""Dot product."""

from __future__ import annotations

from mindspore import Tensor, ops

from sparcode.model.interaction.base import InteractionScorer


class DotScorer(InteractionScorer):
    """E(z, i) = <z, v>, with v the item vector: a two-tower but for quantization and unsigned scores."""

    bilinear = True

    def token_part(self, tokens: Tensor) -> Tensor:
        return tokens

    def item_part(self, item_tokens: Tensor) -> Tensor:
        """(C, K_i, d) -> (C, d)."""
        return item_tokens.sum(1)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        return (token_parts * item_parts).sum(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        return ops.matmul(token_parts, item_parts.transpose(1, 0))
