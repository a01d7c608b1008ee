"""Crosses of sets: what the other items of a user say about an item, by non-negative ridge regression.

As SLIM (Ning and Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", 2011) with its
neighbourhoods chosen beforehand, but without an L1 penalty: not being negative is what leaves most weights at
zero. docs/decisions/0016-sparse-ridge.md has what it costs and gains against the dense regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

TOLERANCE = 1e-5
"""A regression is solved when no weight changes by more in a sweep over all of them ..."""
MAX_SWEEPS = 1000
"""... or after so many sweeps."""


@dataclass(frozen=True)
class RidgeOptions:
    """How items are regressed on each other.

    Attributes:
        strength: of the L2 penalty, above 0.
        neighbours: m, items that an item is predicted from: those with most common users, for their
            popularity.
        user_power: a user with n items counts n to minus this power, less a common factor that leaves the
            number of interactions as it is.
        item_power: the penalty of an item's weights is ``strength`` times its (so weighted) number of users
            to this power.
        known_items: n, how many items of a history the regression counts on, for cold start; 0 = all.
    """

    strength: float
    neighbours: int
    user_power: float = 0.0
    item_power: float = 0.0
    known_items: int = 0


def ridge_weights(
    indptr: NDArray[np.int64], items: NDArray[np.int32], num_items: int, options: RidgeOptions
) -> csr_matrix:
    """Non-negative ridge regression of every item on its neighbours.

    Column i of the weights b minimises ``sum_u w_u (x_ui - sum_j x_uj b_j)^2 + sum_j penalty_j b_j^2`` over
    ``b >= 0`` with x the users-by-items matrix and j the neighbours of i, by coordinate descent.

    With ``known_items`` an item is predicted from n random items of each user instead of from all of them, in
    the mean over all choices. A user with N items knows item j with probability n / N and a pair with
    n (n - 1) / (N (N - 1)), so that the expected products are weighted sums over users (as Steck 2020,
    "Autoencoders that don't overfit towards the Identity", has it for dropout). Weights fitted to whole
    histories rank badly from a few items: they count on the others being there.

    Memory: 8 bytes for each pair of items with a common user (16 with ``known_items``), and twice that
    while they are counted; 8 bytes for each of I * m weights.

    Args:
        indptr: (U + 1,) int64, the histories of the users in ``items``; their order does not matter.
        items: (n,) int32 in 1 .. I; an item counts once for a user.
        num_items: catalogue size I.
        options: see there.

    Returns:
        (I + 1, I + 1) float32; row j says what having item j adds to the scores of the candidates.
    """
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    shape = (len(indptr) - 1, num_items + 1)
    seen = csr_matrix((np.ones(len(items), np.float32), (users, np.asarray(items))), shape=shape)
    seen.data[:] = 1.0  # an item counts once for a user
    counts = np.asarray(seen.sum(1), np.float64).reshape(-1)
    weights = np.maximum(counts, 1.0) ** -options.user_power
    weights *= counts.sum() / max(float(weights @ counts), 1e-12)
    known = np.minimum(options.known_items or np.inf, counts)
    one = weights * known / np.maximum(counts, 1.0)  # a given item is known
    both = one * np.maximum(known - 1.0, 0.0) / np.maximum(counts - 1.0, 1.0)
    targets = _products(seen, one)
    inputs = _products(seen, both) if options.known_items else targets
    diagonal = np.asarray(seen.T @ one)  # what the pairs of an item with itself add up to
    found = np.zeros((num_items + 1, options.neighbours), np.int32)
    values = np.zeros(found.shape, np.float32)
    lengths = np.zeros(num_items + 1, np.int64)
    penalties = options.strength * np.maximum(diagonal, 1e-12) ** options.item_power
    _regress(_arrays(inputs), _arrays(targets), (diagonal, penalties), (found, values, lengths))
    kept = np.arange(options.neighbours) < lengths[:, None]
    borders = np.concatenate([[0], np.cumsum(lengths)])
    columns = csr_matrix((values[kept], found[kept], borders), shape=(num_items + 1, num_items + 1))
    rows = columns.T.tocsr()
    rows.sort_indices()
    return rows


def _products(seen: csr_matrix, weights: NDArray[np.float64]) -> csr_matrix:
    """(I + 1, I + 1) float32: for each pair of items the sum of its users' weights."""
    return seen.T.tocsr() @ seen.multiply(weights.astype(np.float32)[:, None]).tocsr()


def _arrays(matrix: csr_matrix) -> tuple[NDArray, NDArray, NDArray]:
    return matrix.indptr, matrix.indices, matrix.data


@njit(cache=True, nogil=True)
def _regress(inputs, targets, own, out):  # type: ignore[no-untyped-def]
    """Solve for each item; ``out`` takes item ids and weights (I + 1, m) above 0, and their numbers."""
    indptr, indices, data = inputs
    diagonal, penalties = own
    found, values, lengths = out
    places = np.full(len(lengths), -1, np.int64)
    for item in range(1, len(lengths)):
        near, known = _neighbours(targets, diagonal, item, found.shape[1])
        places[near] = np.arange(len(near))
        gram = np.zeros((len(near), len(near)))
        for row in range(len(near)):
            for entry in range(indptr[near[row]], indptr[near[row] + 1]):
                place = places[indices[entry]]
                if place >= 0:
                    gram[row, place] = data[entry]
            gram[row, row] = diagonal[near[row]] + penalties[near[row]]
        places[near] = -1
        solution = _non_negative(gram, known)
        for row in np.flatnonzero(solution > 0):
            found[item, lengths[item]] = near[row]
            values[item, lengths[item]] = solution[row]
            lengths[item] += 1


@njit(cache=True, nogil=True)
def _neighbours(targets, diagonal, item, most):  # type: ignore[no-untyped-def]
    """Ids (k,) of the items that share most users with one, over the root of their own, and these counts."""
    indptr, indices, data = targets
    start, stop = indptr[item], indptr[item + 1]
    ids, shared = indices[start:stop], data[start:stop]
    keys = np.empty(len(ids), np.float64)
    for place in range(len(ids)):
        other = ids[place]
        keys[place] = 0.0 if other == item else shared[place] / np.sqrt(diagonal[other])
    least = np.partition(keys, len(keys) - most - 1)[len(keys) - most - 1] if len(keys) > most else 0.0
    places = np.flatnonzero(keys > least)  # ties with the first one that is left out are left out
    return ids[places], shared[places].astype(np.float64)


@njit(cache=True, nogil=True)
def _non_negative(gram, known):  # type: ignore[no-untyped-def]
    """The b >= 0 that minimises b'Ab / 2 - c'b for A (k, k) positive definite and c (k,)."""
    solution = np.zeros(len(known))
    residual = known.copy()  # c - A b
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for place in range(len(known)):
            value = max(0.0, solution[place] + residual[place] / gram[place, place])
            change = value - solution[place]
            if change != 0.0:
                solution[place] = value
                residual -= change * gram[place]
                largest = max(largest, abs(change))
        if largest < TOLERANCE:
            break
    return solution
