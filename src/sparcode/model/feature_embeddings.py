"""Embedding of categorical, multi-valued and dense features (items and users alike)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from sparcode.model.layers import embedding_table, masked_mean
from sparcode.types import FeatureSpec


class FeatureEmbedding(nn.Cell):
    """One feature -> one vector; a missing value (id 0, empty set) is the zero vector.

    Input: categorical (B,) int32, multi (B, width) int32 with 0 = padding, dense (B, size) float32.
    Output: (B, d) float32.

    Args:
        spec: kind and size of the feature.
        width: d.
        std: standard deviation of the table before training, 0 = 1/sqrt(width).
    """

    def __init__(self, spec: FeatureSpec, width: int, std: float = 0.0) -> None:
        super().__init__()
        self.kind = spec.kind
        if spec.kind == "dense":
            self.project = nn.Dense(spec.size, width)
        else:
            self.table = embedding_table(spec.size, width, f"{spec.name}_table", std)

    def construct(self, rows: Tensor) -> Tensor:
        """Rows (B,), (B, width) or (B, size), by kind -> (B, d)."""
        if self.kind == "dense":
            return self.project(rows)
        mask = (rows > 0).astype(ms.float32)
        vectors = ops.gather(self.table, rows, 0)
        if self.kind == "categorical":
            return vectors * ops.expand_dims(mask, -1)
        return masked_mean(vectors, mask)


class FeatureStore(nn.Cell):
    """Feature rows of a catalogue, held as constants: ids (B,) -> one tensor per feature."""

    def __init__(self, specs: Sequence[FeatureSpec], arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.tables = tuple(Tensor(np.ascontiguousarray(arrays[spec.name])) for spec in specs)

    def construct(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Item ids (B,) int32 -> one tensor of rows (B, ...) per feature."""
        rows: tuple[Tensor, ...] = ()
        for table in self.tables:
            rows = (*rows, ops.gather(table, ids, 0))
        return rows
