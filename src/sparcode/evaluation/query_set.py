"""Queries of an evaluation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset, Interactions
from sparcode.data.histories import history_batch, user_history
from sparcode.padding import pad_histories


@dataclass(frozen=True)
class QuerySet:
    """Users with at least one target in a split.

    Attributes:
        users: (B,) user numbers.
        history: (B, L) int32, right-aligned, what the encoder sees.
        user_rows: one array (B, ...) per user feature in input order.
        seen: per query, all items of the user's history (also those beyond L).
        target_indptr, target_items: held-out items, CSR by query.
    """

    users: NDArray[np.int64]
    history: NDArray[np.int32]
    user_rows: tuple[NDArray, ...]
    seen: list[NDArray[np.int32]]
    target_indptr: NDArray[np.int64]
    target_items: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, count: int) -> QuerySet:
        """The first ``count`` queries."""
        return self.part(slice(0, min(count, len(self))))

    def with_first_items(self, count: int) -> QuerySet:
        """The same queries as if only the first ``count`` items of each history were known to the encoder.

        All items of the history stay ``seen``: they are neither targets nor wrong answers.
        """
        length = self.history.shape[1]
        return replace(self, history=pad_histories([items[:count] for items in self.seen], length))

    def part(self, rows: slice) -> QuerySet:
        """The queries from ``rows.start`` to before ``rows.stop``, both within range."""
        targets = slice(self.target_indptr[rows.start], self.target_indptr[rows.stop])
        return QuerySet(
            self.users[rows],
            self.history[rows],
            tuple(part[rows] for part in self.user_rows),
            self.seen[rows],
            self.target_indptr[rows.start : rows.stop + 1] - targets.start,
            self.target_items[targets],
        )


def query_set(
    dataset: Dataset,
    split: str,
    history_length: int,
    user_features: Sequence[str],
    max_users: int = 0,
    seed: int | None = None,
) -> QuerySet:
    """Queries of a split.

    Args:
        dataset: data.
        split: ``valid`` or ``test``.
        history_length: L.
        user_features: names of the user features the encoder reads, in input order.
        max_users: 0 = all users with a target; otherwise at most so many.
        seed: None takes the first users, a number a random sample (in user order).
    """
    targets: Interactions = dataset.valid if split == "valid" else dataset.test
    counts = targets.counts()
    users = np.flatnonzero(counts > 0)
    if max_users and len(users) > max_users:
        if seed is None:
            users = users[:max_users]
        else:
            users = np.sort(np.random.default_rng(seed).choice(users, max_users, replace=False))
    indptr = np.concatenate([[0], np.cumsum(counts[users])]).astype(np.int64)
    items = [np.asarray(targets.of(int(user))) for user in users]
    return QuerySet(
        users=users,
        history=history_batch(dataset, users, split, history_length),
        user_rows=tuple(np.asarray(dataset.user_arrays[name][users]) for name in user_features),
        seen=[np.asarray(user_history(dataset, int(user), split)) for user in users],
        target_indptr=indptr,
        target_items=np.concatenate(items) if items else np.zeros(0, np.int32),
    )
