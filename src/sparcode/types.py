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
