"""Value types that cross room borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING_ITEM = 0
"""Internal item id of padding; real items are numbered from 1."""

NO_ITEM = -1
"""Item id of an empty place in a search result."""


@dataclass(frozen=True)
class SearchResult:
    """Top-k items of a batch of queries.

    Attributes:
        item_ids: (B, k) int64 internal item ids by descending score, ties by ascending id; -1 pads rows.
        scores: (B, k) float32; -inf pads short rows.
    """

    item_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class FeatureRole:
    """What a column of the source table is, and all that encodes a later row in the same way.

    Attributes:
        name: of the feature, the key in ``features`` of the configuration.
        kind: ``categorical``, ``multi``, ``path``, ``number``, ``dense`` (an embedding) or ``title``.
        columns: columns of the table, in the order of a vector; the file name of an embedding file.
        separator: between the values of one field (multi) or the levels of a path; None = there is none.
        mean: of the known values (number), which become ``(value - mean) / scale``.
        scale: their standard deviation, 1 where it is zero (number).
    """

    name: str
    kind: str
    columns: tuple[str, ...] = ()
    separator: str | None = None
    mean: float = 0.0
    scale: float = 1.0

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Numbers (n,), NaN = missing -> what the network reads: (n, 2) float32, value and 1 if missing."""
        missing = np.isnan(values)
        scaled = np.where(missing, 0.0, (values - self.mean) / self.scale)
        return np.stack([scaled, missing], axis=1).astype(np.float32)


@dataclass(frozen=True)
class FeatureSpec:
    """One feature of items or users as stored in a data set.

    Attributes:
        name: column name, unique among the features of its owner.
        kind: ``categorical`` (one id), ``multi`` (a set of ids) or ``dense`` (real vector).
        size: categorical / multi: number of distinct ids with 0 = missing, so ids are in [0, size);
            dense: vector length.
        width: multi: stored ids per row (0 pads); 1 for categorical; ``size`` for dense.
    """

    name: str
    kind: str
    size: int
    width: int = 1
