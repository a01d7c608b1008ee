"""What every source of raw data delivers: interactions as code arrays, external ids, raw features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FeatureKind = Literal["categorical", "multi", "path", "dense", "number"]

TRAIN, VALID, TEST = 0, 1, 2
"""Split labels."""

MISSING = ""
"""External value of a categorical feature that is not known."""


@dataclass(frozen=True)
class RawFeature:
    """One feature of all users or all items of a source, in the order of the source's external ids.

    Attributes:
        name: unique among the features of its owner.
        kind: ``categorical``: ``values`` holds one string a row (``""`` = missing);
            ``multi``: a sequence of strings a row (empty = missing); ``path``: the same, every level with all
            above it; ``dense``: (rows, size) float32; ``number``: (rows,) float64, NaN = missing.
        values: the rows.
        columns: columns of the table that it was made of.
        separator: between the values of a field (multi) or levels of a path.
    """

    name: str
    kind: FeatureKind
    values: Sequence[str] | Sequence[Sequence[str]] | NDArray[np.float32] | NDArray[np.float64]
    columns: tuple[str, ...] = ()
    separator: str | None = None


@dataclass(frozen=True)
class RawInteractions:
    """Everything read from one source, before filtering and splitting.

    Attributes:
        users: (n,) int32 positions in ``user_ids``, in file order.
        items: (n,) int32 positions in ``item_ids``.
        user_ids: external user ids.
        item_ids: external item ids.
        ordered: whether the order of a user's interactions is known, by timestamp or by file order.
        locate: row number -> "file:line" of the raw data, for messages.
        timestamps: (n,) int64 or float64 that sort as the times do; None = file order is all that is known.
        ratings: (n,) float32, or None for implicit feedback.
        weights: (n,) float32 > 0, how often an interaction is a training target against others, or None.
        splits: (n,) int8 labels TRAIN, VALID, TEST given by the publisher, or None.
        user_features: features of all ``user_ids``.
        item_features: features of all ``item_ids``.
        query_kind: ``history`` or ``features`` (a user is described by features alone).
        complete_catalogue: keep users and items of the id lists even when no interaction mentions them.
        item_titles: titles of all ``item_ids`` for people (empty = none), or None.
        catalogue: positions of items that stay even when no interaction mentions them; None = none do.
        files: the raw files read, for the record in the data set directory.
        notes: further counts of the reading, for the summary.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    user_ids: list[str]
    item_ids: list[str]
    ordered: bool
    locate: Callable[[int], str]
    timestamps: NDArray[Any] | None = None
    ratings: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    splits: NDArray[np.int8] | None = None
    user_features: tuple[RawFeature, ...] = ()
    item_features: tuple[RawFeature, ...] = ()
    query_kind: Literal["history", "features"] = "history"
    complete_catalogue: bool = False
    item_titles: list[str] | None = None
    catalogue: NDArray[np.integer] | None = None
    files: tuple[Path, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Users and items that occur in an interaction (or all of a complete catalogue), and interactions."""
        if self.complete_catalogue:
            users, items = len(self.user_ids), len(self.item_ids)
        else:
            users = int(np.count_nonzero(np.bincount(self.users, minlength=1)))
            met = np.bincount(self.items, minlength=len(self.item_ids))
            if self.catalogue is not None:
                met[self.catalogue] += 1
            items = int(np.count_nonzero(met))
        return {"users": users, "items": items, "interactions": len(self.users)}
