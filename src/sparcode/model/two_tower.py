"""Two-tower model: one dot product between query vector and item vector."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

from sparcode.model.matching import MatchingNetwork


class TwoTower(MatchingNetwork):
    """score(q, i) = <q, v_i>; query part and item part are the vectors themselves."""

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        return self.tower.vectors(ids, feature_rows)

    def training_parts(self, queries: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        error = ops.zeros_like(queries[:, 0])
        return queries, error, ops.zeros((1, 1, 1), ms.float32), ops.zeros((1, 1, 1), ms.int32)

    def served_scores(self, queries: Tensor, item_parts: Tensor) -> Tensor:
        return self.cross(queries, item_parts)

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        return ops.matmul(query_parts, item_parts.transpose(1, 0))

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        return (query_parts * item_parts).sum(-1)
