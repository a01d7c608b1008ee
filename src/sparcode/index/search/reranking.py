"""Second stage of a search: the best items of the first stage, ordered by other scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sparcode.types import NO_ITEM, SearchResult


def rerank(
    found: SearchResult, score: Callable[[int, NDArray[np.int64]], NDArray[np.float32]], k: int
) -> SearchResult:
    """Order the items of a search by new scores, which replace the old ones.

    Args:
        found: (B, R) candidates; -1 pads rows.
        score: number of the query and ids (n,) of its candidates, n of at least 1 -> their scores (n,).
        k: results per query.

    Returns:
        (B, k) by descending new score, ties by smaller id; -1 and -inf pad rows with fewer candidates.
    """
    item_ids = np.full((len(found.item_ids), k), NO_ITEM, np.int64)
    scores = np.full(item_ids.shape, -np.inf, np.float32)
    for row, candidates in enumerate(found.item_ids):
        ids = candidates[candidates > 0]
        if not len(ids):
            continue
        new = score(row, ids)
        best = np.lexsort((ids, -new))[:k]
        item_ids[row, : len(best)] = ids[best]
        scores[row, : len(best)] = new[best]
    return SearchResult(item_ids, scores)
