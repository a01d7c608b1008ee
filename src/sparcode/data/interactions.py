"""Interactions of one split, grouped by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """Items of every user, as a compressed sparse row structure.

    Attributes:
        indptr: (U + 1,) int64; the items of user ``u`` are ``items[indptr[u]:indptr[u + 1]]``.
        items: (n,) int32 internal item ids in [1, num_items], oldest first when the data set is ordered.
        weights: (n,) float32 > 0, how often each is drawn as a training target against others; None = alike.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32] | None = None

    def of(self, user: int) -> NDArray[np.int32]:
        """Items of one user, a view: (count,) int32."""
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def counts(self) -> NDArray[np.int64]:
        """Number of items of every user: (U,) int64."""
        return np.diff(self.indptr)


def group_by_user(users: NDArray[np.int32], items: NDArray[np.int32], num_users: int) -> Interactions:
    """Build the structure from rows that are already sorted by user.

    Args:
        users: (n,) int32 ascending user numbers in [0, num_users).
        items: (n,) int32 internal item ids.
        num_users: U.
    """
    indptr = np.zeros(num_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=num_users), out=indptr[1:])
    return Interactions(indptr, np.ascontiguousarray(items, dtype=np.int32))
