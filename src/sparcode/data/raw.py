"""What every source of raw data delivers: interactions as code arrays, external ids, raw features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FeatureKind = Literal["categorical", "multi", "dense"]

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
            ``multi``: a sequence of strings a row (empty = missing); ``dense``: (rows, size) float32.
        values: the rows.
    """

    name: str
    kind: FeatureKind
    values: Sequence[str] | Sequence[Sequence[str]] | NDArray[np.float32]


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
        timestamps: (n,) int64 or float64, non-negative; None = file order is all that is known.
        ratings: (n,) float32, or None for implicit feedback.
        splits: (n,) int8 labels TRAIN, VALID, TEST given by the publisher, or None.
        user_features: features of all ``user_ids``.
        item_features: features of all ``item_ids``.
        query_kind: ``history`` or ``features`` (a user is described by features alone).
        complete_catalogue: keep users and items of the id lists even when no interaction mentions them.
        files: the raw files read, for the record in the data set directory.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    user_ids: list[str]
    item_ids: list[str]
    ordered: bool
    locate: Callable[[int], str]
    timestamps: NDArray[Any] | None = None
    ratings: NDArray[np.float32] | None = None
    splits: NDArray[np.int8] | None = None
    user_features: tuple[RawFeature, ...] = ()
    item_features: tuple[RawFeature, ...] = ()
    query_kind: Literal["history", "features"] = "history"
    complete_catalogue: bool = False
    files: tuple[Path, ...] = ()

    def counts(self) -> dict[str, int]:
        """Users and items that occur in an interaction (or all of a complete catalogue), and interactions."""
        if self.complete_catalogue:
            users, items = len(self.user_ids), len(self.item_ids)
        else:
            users = int(np.count_nonzero(np.bincount(self.users, minlength=1)))
            items = int(np.count_nonzero(np.bincount(self.items, minlength=1)))
        return {"users": users, "items": items, "interactions": len(self.users)}
