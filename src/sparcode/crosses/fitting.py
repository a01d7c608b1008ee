"""Tables of crosses from training interactions, in closed form.

Both take interactions as ``indptr`` (U + 1,) and ``items`` (n,) in 1 .. I, oldest first within a user, and
give (I + 1, I + 1) float32 weights; row j says what having item j adds to the scores of the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import coo_matrix, csr_matrix

from sparcode.errors import ConfigError

MAX_RIDGE_ITEMS = 32_768
"""Catalogue above which ridge regression is refused: its matrix of I * I float32 would need over 4 GB."""


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


def ridge_weights(
    indptr: NDArray[np.int64], items: NDArray[np.int32], num_items: int, strength: float, known_items: int = 0
) -> csr_matrix:
    """Ridge regression of the users-by-items matrix X on itself with a zero diagonal.

    Of whole histories: B = P / -diag(P) by columns, P = (X'X + strength * I)^-1 (Steck 2019, "Embarrassingly
    Shallow Autoencoders for Sparse Data", equation 8).

    Of histories of which only n items are known, for cold start: an item is predicted from n random items of
    each user instead of from all of them, in the mean over all choices. A user with N items knows item j with
    probability n / N and a pair with n (n - 1) / (N (N - 1)), so that the expected products are weighted sums
    over users: B = P C - P diag(diag(P C) / diag(P)), C the expected products of known items and all items
    (as Steck 2020, "Autoencoders that don't overfit towards the Identity", does for dropout). Weights fitted
    to whole histories rank badly from a few items: they count on the others being there.

    Dense: 8 * I * I bytes, twice while it is inverted and three times with ``known_items``; the order of a
    history does not matter.

    Args:
        strength: of the L2 penalty, above 0.
        known_items: n, 0 = whole histories.

    Raises:
        ConfigError: the catalogue is too large for a dense matrix.
    """
    if num_items > MAX_RIDGE_ITEMS:
        raise ConfigError(
            f"a ridge regression over {num_items} items needs a dense matrix of all their pairs",
            where="crosses.kind",
            expected=f"at most {MAX_RIDGE_ITEMS} items",
            remedy="choose following, or none",
        )
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    shape = (len(indptr) - 1, num_items)
    seen = csr_matrix((np.ones(len(items)), (users, np.asarray(items) - 1)), shape=shape)
    seen.data[:] = 1.0  # an item counts once for a user
    if known_items:
        return _with_padding(csr_matrix(_few_known_weights(seen, strength, known_items)), num_items)
    inverse = _regularised_inverse((seen.T @ seen).toarray(order="F"), strength)
    weights = (inverse / -np.diag(inverse)).astype(np.float32)
    weights[np.diag_indices(num_items)] = 0.0
    return _with_padding(csr_matrix(weights), num_items)


def _regularised_inverse(gram: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """(G + strength * I)^-1 of a symmetric G (I, I), which is overwritten."""
    gram[np.diag_indices(len(gram))] += strength
    factor, _ = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    return inverse


def _few_known_weights(seen: csr_matrix, strength: float, known_items: int) -> NDArray[np.float32]:
    """Weights (I, I) for queries that know so many items: see ``ridge_weights``."""
    counts = np.asarray(seen.sum(1)).reshape(-1)
    known = np.minimum(known_items, counts)
    one = known / np.maximum(counts, 1.0)  # probability that a given item is known
    both = one * np.maximum(known - 1.0, 0.0) / np.maximum(counts - 1.0, 1.0)
    gram = (seen.T @ seen.multiply(both[:, None])).toarray(order="F")
    gram[np.diag_indices(len(gram))] = seen.T @ one
    inverse = _regularised_inverse(gram, strength)
    targets = (seen.T @ seen.multiply(one[:, None])).toarray(order="F")
    np.fill_diagonal(targets, 0.0)
    weights = inverse @ targets
    weights -= inverse * (np.diag(weights) / np.diag(inverse))
    result = weights.astype(np.float32)
    result[np.diag_indices(len(result))] = 0.0
    return result


def following_weights(
    indptr: NDArray[np.int64], items: NDArray[np.int32], num_items: int, options: FollowingOptions
) -> csr_matrix:
    """How often an item follows another in a history, discounted by the places in between and by popularity.

    Sparse: at most ``window`` entries for each interaction. Item-to-item retrieval as in "Amazon.com
    recommendations" (Linden, Smith, York 2003), with the direction of time and a window.
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


def _with_padding(weights: csr_matrix, num_items: int) -> csr_matrix:
    """Weights (I, I) of the items 1 .. I with an empty row and column 0 in front."""
    indptr = np.concatenate([[0], weights.indptr])
    return csr_matrix((weights.data, weights.indices + 1, indptr), shape=(num_items + 1, num_items + 1))
