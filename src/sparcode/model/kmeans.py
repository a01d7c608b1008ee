"""k-means for thousands of codewords: matrix products in single precision, empty clusters seeded anew.

Library versions in this environment compute in double precision and one distance at a time: 16,384 codewords
take them minutes for each iteration.

Source: Lloyd 1982; an empty cluster is seeded beside one that is large, as the splitting of Linde, Buzo and
Gray 1980 does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 12

JITTER = 1e-3
"""Size of the noise that tells copies of a point apart, relative to the spread of all points."""

_BLOCK_BYTES = 1 << 22


def kmeans(
    points: NDArray[np.float32], count: int, rng: np.random.Generator, iterations: int = ITERATIONS
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Centres of clusters of points, and the number of points of each.

    With fewer points than clusters some centres are jittered copies of points, so that every one is usable
    and distinct.

    Args:
        points: (T, w) float32, at least one.
        count: N, clusters.
        rng: draws the first centres and the seeds of empty clusters.
        iterations: of Lloyd's algorithm.

    Returns:
        centres (N, w) float32 and cluster sizes (N,) float64.
    """
    points = np.ascontiguousarray(points, np.float32)
    spread = np.float32(JITTER * points.std() + 1e-6)
    picked = rng.permutation(len(points))[:count]
    picked = np.concatenate([picked, rng.integers(0, len(points), count - len(picked))])
    centres = _jittered(points[picked], spread, rng)
    sizes = np.zeros(count)
    for iteration in range(iterations):
        labels = nearest_centres(points, centres)
        sizes = np.bincount(labels, minlength=count).astype(np.float64)
        order = np.argsort(labels, kind="stable")
        used = np.flatnonzero(sizes)
        first = np.cumsum(sizes[used]).astype(np.int64) - sizes[used].astype(np.int64)
        sums = np.add.reduceat(points[order].astype(np.float64), first, axis=0)
        centres[used] = sums / sizes[used, None]
        empty = np.flatnonzero(sizes == 0)
        if len(empty) and iteration < iterations - 1:
            donors = rng.choice(count, len(empty), p=sizes / sizes.sum())
            centres[empty] = _jittered(centres[donors], spread, rng)
    return centres, sizes


def nearest_centres(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Place of the centre (N, w) that is nearest to each point (T, w): (T,), ties to the smaller place."""
    # |c|^2 - 2 x.c as one product, with a column of ones: three passes over (rows, N) become one
    wide = np.concatenate([-2 * centres, (centres * centres).sum(1, keepdims=True)], 1).T.copy()
    points = np.concatenate([points, np.ones_like(points[:, :1])], 1)
    rows = max(_BLOCK_BYTES // (4 * len(centres)), 1)
    labels = np.empty(len(points), np.int64)
    for start in range(0, len(points), rows):
        labels[start : start + rows] = np.argmin(points[start : start + rows] @ wide, axis=1)
    return labels


def _jittered(
    points: NDArray[np.float32], spread: np.float32, rng: np.random.Generator
) -> NDArray[np.float32]:
    return points + spread * rng.standard_normal(points.shape, np.float32)
