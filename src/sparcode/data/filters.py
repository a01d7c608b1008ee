"""Which interactions stay: rating threshold, duplicates, k-core.

A selection is an array of row numbers of the raw data; rows are put in their final order (by user, then
time, then file order) before duplicates are resolved, so "first" and "last" mean first and last in time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.raw import RawInteractions
from sparcode.errors import ConfigError, DataError

Rows = NDArray[np.int64]


def select_rows(raw: RawInteractions, config: DataConfig, counts: dict[str, int] | None = None) -> Rows:
    """Apply all filters of the data section.

    Args:
        raw: what the source delivered.
        config: the data section.
        counts: takes ``repeated_interactions``, if any were dropped.

    Returns:
        (kept,) int64 row numbers sorted by user, then timestamp, then file order (a stable order: equal
        timestamps keep the order of the file).

    Raises:
        ConfigError: ``data.min_rating`` is set and the data have no ratings.
        DataError: a duplicate under the policy ``error``, or nothing is left.
    """
    rows = rated_at_least(raw, config.min_rating)
    rows = in_time_order(raw, rows)
    before = len(rows)
    rows = without_duplicates(raw, rows, config.duplicates)
    if counts is not None and len(rows) < before:
        counts["repeated_interactions"] = before - len(rows)
    rows = k_core(raw, rows, config.min_user_interactions, config.min_item_interactions)
    if not len(rows):
        raise DataError(
            "no interaction is left after filtering",
            where=config.path or config.source,
            received=f"{len(raw.users)} interactions before it",
            remedy="lower data.min_rating, data.min_user_interactions or data.min_item_interactions",
        )
    return rows


def rated_at_least(raw: RawInteractions, min_rating: float | None) -> Rows:
    """Rows rated at least ``min_rating``; all rows for None."""
    if min_rating is None:
        return np.arange(len(raw.users), dtype=np.int64)
    if raw.ratings is None:
        raise ConfigError(
            "the data have no ratings to compare with",
            where="data.min_rating",
            received=min_rating,
            expected="null",
            remedy="name the rating column or remove the key",
        )
    return np.flatnonzero(raw.ratings >= min_rating)


def in_time_order(raw: RawInteractions, rows: Rows) -> Rows:
    """Sort rows by user, then timestamp, then file order."""
    users = raw.users[rows]
    if raw.timestamps is None:
        return rows[np.argsort(users, kind="stable")]
    return rows[np.lexsort((raw.timestamps[rows], users))]  # lexsort is stable


def without_duplicates(raw: RawInteractions, rows: Rows, policy: str) -> Rows:
    """Resolve repeated (user, item) pairs by ``data.duplicates``."""
    if policy == "keep_all":
        return rows
    if policy == "error":
        _refuse_duplicates(raw, np.sort(rows))
        return rows
    keep = "first" if policy == "keep_first" else "last"
    return rows[~_repeated(raw, rows, keep)]


def strongest_weights(raw: RawInteractions, rows: Rows, policy: str) -> NDArray[np.float32] | None:
    """Weight of every row: the largest of all interactions of its pair, unless duplicates are kept.

    Returns:
        (kept,) float32; None when all weights are the same.
    """
    if raw.weights is None:
        return None
    weights = raw.weights[rows]
    if policy != "keep_all":
        pairs = _pairs(raw, np.arange(len(raw.users)))
        order = np.lexsort((raw.weights, pairs))
        ordered = pairs[order]
        last = np.flatnonzero(np.diff(ordered, append=-1))
        weights = raw.weights[order[last]][np.searchsorted(ordered[last], _pairs(raw, rows))]
    return weights if len(weights) and weights.min() < weights.max() else None


def _pairs(raw: RawInteractions, rows: Rows) -> NDArray[np.int64]:
    return raw.users[rows].astype(np.int64) * len(raw.item_ids) + raw.items[rows]


def _repeated(raw: RawInteractions, rows: Rows, keep: str) -> NDArray[np.bool_]:
    return pd.Series(_pairs(raw, rows)).duplicated(keep=keep).to_numpy()  # type: ignore[arg-type]


def _refuse_duplicates(raw: RawInteractions, rows: Rows) -> None:
    repeated = _repeated(raw, rows, "first")
    if not repeated.any():
        return
    row = int(rows[int(np.argmax(repeated))])
    user, item = raw.user_ids[raw.users[row]], raw.item_ids[raw.items[row]]
    raise DataError(
        "duplicate interaction",
        where=raw.locate(row),
        received=f"user {user}, item {item}, seen before",
        remedy="remove it, or set data.duplicates to keep_first, keep_last or keep_all",
    )


def k_core(raw: RawInteractions, rows: Rows, min_user: int, min_item: int) -> Rows:
    """Drop users and items with too few interactions until none is left to drop.

    The result does not depend on the order of dropping: it is the largest sub-set in which every user has
    at least ``min_user`` and every item at least ``min_item`` interactions.
    """
    if min_user <= 1 and min_item <= 1:
        return rows
    while True:
        users, items = raw.users[rows], raw.items[rows]
        keep = np.bincount(users)[users] >= min_user if len(rows) else np.zeros(0, dtype=bool)
        if len(rows):
            keep &= np.bincount(items)[items] >= min_item
        if keep.all():
            return rows
        rows = rows[keep]
