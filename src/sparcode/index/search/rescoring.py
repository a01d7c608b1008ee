"""Second stage of a search: the best items of the first stage, ordered by other scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sparcode.index.search.results import best_candidates
from sparcode.types import NO_ITEM, SearchResult


def rescore(
    found: SearchResult,
    score: Callable[[int, NDArray[np.int64]], NDArray[np.float32]],
    k: int,
    kept: NDArray[np.float32] | None = None,
) -> SearchResult:
    """Order the items of a search by new scores, which replace the old ones.

    Args:
        found: (B, R) candidates; -1 pads rows.
        score: number of the query and ids (n,) of its candidates, n of at least 1 -> their scores (n,).
        k: results per query.
        kept: (B, R) what is added to the new score of each candidate.

    Returns:
        (B, k) by descending new score, ties by smaller id; -1 and -inf pad rows with fewer candidates.
    """
    item_ids = np.where(found.item_ids > 0, found.item_ids, NO_ITEM)
    scores = np.full(item_ids.shape, -np.inf, np.float32)
    for row, candidates in enumerate(item_ids):
        real = candidates > 0
        if real.any():
            new = score(row, candidates[real])
            scores[row, real] = new if kept is None else new + kept[row, real]
    return best_candidates(item_ids, scores, k)


def listed_scores(
    search: Callable[..., SearchResult],
    term_ids: NDArray[np.integer],
    weights: NDArray[np.float32],
    item_ids: NDArray[np.int64],
) -> NDArray[np.float32]:
    """What the lists of some terms hold for some items: each query's own sum over them, less their floors.

    Args:
        search: of an index over these terms.
        term_ids: (B, T), negative = no term.
        weights: (B, T) of the terms.
        item_ids: (B, R), negative = no item.

    Returns:
        (B, R) float32, 0 for an item without a posting.
    """
    allowed = [row[row > 0] for row in item_ids]
    found = search(term_ids, item_ids.shape[1], weights=weights, allow=allowed, fill=True)
    result = np.zeros(item_ids.shape, np.float32)
    for row, ids in enumerate(allowed):
        by_id = np.argsort(found.item_ids[row, : len(ids)])
        places = np.searchsorted(found.item_ids[row, : len(ids)], ids, sorter=by_id)
        result[row, item_ids[row] > 0] = found.scores[row, by_id[places]]
    return result
