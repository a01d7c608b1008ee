"""Division of every user's interactions into train, validation and test.

All functions take rows sorted by user (and by time within a user when the data are ordered) and return
one label (TRAIN, VALID, TEST) per row. No function looks at items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.raw import TEST, TRAIN, VALID
from sparcode.errors import ConfigError, DataError

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class SortedRows:
    """What a split may look at.

    Attributes:
        users: (n,) int32 ascending user numbers.
        timestamps: (n,) int64 or float64, or None.
        given: (n,) int8 labels of the publisher, or None.
        ordered: whether rows of a user are in time order.
    """

    users: NDArray[np.int32]
    timestamps: NDArray[Any] | None
    given: Labels | None
    ordered: bool


def split_rows(rows: SortedRows, config: DataConfig) -> Labels:
    """Label rows by ``data.protocol``.

    Raises:
        ConfigError: the protocol needs an order, timestamps or given labels that the data lack.
        DataError: no training interaction is left.
    """
    if config.protocol == "leave_one_out":
        labels = leave_one_out(rows)
    elif config.protocol == "ratio":
        labels = ratio(rows, config)
    elif config.protocol == "global_time":
        labels = global_time(rows, config)
    else:
        labels = pre_split(rows, config)
    if not (labels == TRAIN).any():
        raise DataError(
            "no training interaction is left after splitting",
            where=config.path or config.source,
            remedy="lower data.valid_ratio and data.test_ratio or choose another data.protocol",
        )
    return labels


def leave_one_out(rows: SortedRows) -> Labels:
    """Last interaction to test, the one before to validation; users with fewer than three train only."""
    if not rows.ordered:
        raise ConfigError(
            "leave_one_out needs data whose time order is known",
            where="data.protocol",
            expected="ratio or pre_split",
            received="leave_one_out",
        )
    labels = np.full(len(rows.users), TRAIN, dtype=np.int8)
    from_end = _rank_from_end(rows.users)
    enough = _user_counts(rows.users)[rows.users] >= 3
    labels[enough & (from_end == 0)] = TEST
    labels[enough & (from_end == 1)] = VALID
    return labels


def ratio(rows: SortedRows, config: DataConfig) -> Labels:
    """Per user: a share to test and a share to validation, the last ones, or random ones if unordered.

    A share of ``n`` interactions is rounded half up; at least one interaction stays in train.
    """
    rank = _rank_from_end(rows.users) if rows.ordered else _random_rank(rows.users, config.split_seed)
    counts = _user_counts(rows.users)
    tests = np.minimum(_share(counts, config.test_ratio), np.maximum(counts - 1, 0))
    valids = np.minimum(_share(counts, config.valid_ratio), np.maximum(counts - 1 - tests, 0))
    return _label_by_rank(rows.users, rank, tests, valids)


def global_time(rows: SortedRows, config: DataConfig) -> Labels:
    """Two cut times for all users, at the quantiles of the interactions.

    Interactions at or after a cut belong to the later part, so equal timestamps are never divided and no
    training interaction is younger than a validation or test interaction.
    """
    if rows.timestamps is None:
        raise ConfigError(
            "global_time needs timestamps",
            where="data.protocol",
            expected="leave_one_out, ratio or pre_split",
            received="global_time",
        )
    times = np.sort(rows.timestamps)
    labels = np.full(len(times), TRAIN, dtype=np.int8)
    held_out = config.valid_ratio + config.test_ratio
    for share, label in ((held_out, VALID), (config.test_ratio, TEST)):
        start = len(times) - int(_share(np.array([len(times)]), share)[0])
        if start < len(times):
            labels[rows.timestamps >= times[start]] = label
    return labels


def pre_split(rows: SortedRows, config: DataConfig) -> Labels:
    """Labels of the publisher; without validation among them, a share of each user's train part.

    The share is the last interactions of the train part, or random ones if the data have no order.
    """
    if rows.given is None:
        raise ConfigError(
            "the data are not split by their publisher",
            where="data.protocol",
            expected="leave_one_out, ratio or global_time",
            received="pre_split",
            remedy="give a directory with train.txt and test.txt as data.path",
        )
    if (rows.given == VALID).any():
        return rows.given
    labels = rows.given.copy()
    train = np.flatnonzero(labels == TRAIN)
    users = rows.users[train]
    rank = _rank_from_end(users) if rows.ordered else _random_rank(users, config.split_seed)
    counts = _user_counts(users)
    valids = np.minimum(_share(counts, config.valid_ratio), np.maximum(counts - 1, 0))
    labels[train] = _label_by_rank(users, rank, np.zeros_like(counts), valids)
    return labels


def _user_counts(users: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.bincount(users, minlength=1).astype(np.int64, copy=False)


def _share(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    # The small term keeps products such as 0.15 * 10 = 1.4999999999999998 on the upper side.
    return np.floor(counts * share + 0.5 + 1e-9).astype(np.int64)


def _rank_from_end(users: NDArray[np.int32]) -> NDArray[np.int64]:
    """0 for the last row of each user, 1 for the one before, and so on."""
    ends = np.cumsum(_user_counts(users))
    return ends[users] - 1 - np.arange(len(users), dtype=np.int64)


def _random_rank(users: NDArray[np.int32], seed: int) -> NDArray[np.int64]:
    """A random order of each user's rows: every user's ranks are a permutation of 0 .. count - 1."""
    draw = np.random.default_rng(seed).random(len(users))
    rank = np.empty(len(users), dtype=np.int64)
    rank[np.lexsort((draw, users))] = _rank_from_end(users)
    return rank


def _label_by_rank(
    users: NDArray[np.int32], rank: NDArray[np.int64], tests: NDArray[np.int64], valids: NDArray[np.int64]
) -> Labels:
    labels = np.full(len(users), TRAIN, dtype=np.int8)
    held_out = (tests + valids)[users]
    labels[rank < held_out] = VALID
    labels[rank < tests[users]] = TEST
    return labels
