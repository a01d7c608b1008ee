"""Two-tower model: one dot product between query vector and item vector."""

from __future__ import annotations

from mindspore import Tensor

from sparcode.model.layers import dot_products
from sparcode.model.matching import MatchingNetwork


class TwoTower(MatchingNetwork):
    """score(q, i) = <q, v_i>; query part and item part are the vectors themselves."""

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        return self.tower.candidates(ids, feature_rows)

    def query_part(self, queries: Tensor) -> Tensor:
        return queries

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        return dot_products(query_parts, item_parts)

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        return (query_parts * item_parts).sum(-1)
