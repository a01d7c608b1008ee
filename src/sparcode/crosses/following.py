"""Crosses of sequences: what follows what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix


@dataclass(frozen=True)
class FollowingOptions:
    """How following items are counted.

    Attributes:
        window: how many places later an item may follow.
        gap_decay: factor for each place in between, in (0, 1].
        source_power: counts are divided by (count of the earlier item + smoothing) to this power.
        target_power: and by (count of the later item + smoothing) to this one.
        smoothing: added to both counts.
    """

    window: int
    gap_decay: float
    source_power: float
    target_power: float
    smoothing: float


def following_weights(
    indptr: NDArray[np.int64], items: NDArray[np.int32], num_items: int, options: FollowingOptions
) -> csr_matrix:
    """How often an item follows another in a history, discounted by the places in between and by popularity.

    Sparse: at most ``window`` entries for each interaction. Item-to-item retrieval as in "Amazon.com
    recommendations" (Linden, Smith, York 2003), with the direction of time and a window.

    Args:
        indptr: (U + 1,) int64, the histories of the users in ``items``.
        items: (n,) int32 in 1 .. I, oldest first within a user.
        num_items: catalogue size I.
        options: see there.

    Returns:
        (I + 1, I + 1) float32; row j says what having item j adds to the scores of the candidates.
    """
    items = np.asarray(items)
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    table = csr_matrix((num_items + 1, num_items + 1), dtype=np.float64)
    for gap in range(1, options.window + 1):
        same = users[:-gap] == users[gap:]
        earlier, later = items[:-gap][same], items[gap:][same]
        values = np.full(len(earlier), options.gap_decay ** (gap - 1))
        table = table + coo_matrix((values, (earlier, later)), shape=table.shape).tocsr()
    counts = np.bincount(items, minlength=num_items + 1) + options.smoothing
    table = table.tocoo()
    table.data /= counts[table.row] ** options.source_power * counts[table.col] ** options.target_power
    table.data[table.row == table.col] = 0.0
    rows = table.tocsr().astype(np.float32)
    rows.eliminate_zeros()
    return rows
