"""Two-tower model: one dot product between query vector and item vector."""

from __future__ import annotations

from typing import Literal

from mindspore import Tensor

from sparcode.config.model_schema import ModelOptions
from sparcode.model.layers import dot_products
from sparcode.model.matching import MatchingNetwork, Towers


class TwoTowerOptions(ModelOptions):
    """Two-tower: one vector of the query, one of the item."""

    name: Literal["two_tower"] = "two_tower"


class TwoTower(MatchingNetwork):
    """score(q, i) = <q, v_i>; query part and item part are the vectors themselves."""

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> (Q, d), as they are."""
        return queries

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, d), (C, d) -> (Q, C)."""
        return dot_products(query_parts, item_parts)

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, d), (Q, d) -> (Q,)."""
        return (query_parts * item_parts).sum(-1)


def build(options: TwoTowerOptions, towers: Towers) -> TwoTower:
    """The untrained network."""
    return TwoTower(towers)
