"""Search results: empty ones, and the best of what is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.types import NO_ITEM, SearchResult


def no_results(num_queries: int, k: int) -> SearchResult:
    """(B, k) results without an item: -1 and -inf everywhere."""
    return SearchResult(
        np.full((num_queries, k), NO_ITEM, dtype=np.int64),
        np.full((num_queries, k), -np.inf, dtype=np.float32),
    )


def best_candidates(item_ids: NDArray[np.integer], scores: NDArray[np.float32], k: int) -> SearchResult:
    """The best k of a few candidates of each query.

    Args:
        item_ids: (B, n), unique in a row; -1 pads.
        scores: (B, n) float32; -inf pads.
        k: results per query.

    Returns:
        (B, k) by descending score, ties by smaller item id, padded with -1 and -inf.
    """
    result = no_results(len(item_ids), k)
    order = np.lexsort((item_ids, -scores), axis=-1)[:, :k]
    result.item_ids[:, : order.shape[1]] = np.take_along_axis(item_ids, order, axis=-1)
    result.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=-1)
    return result


def top_k_of_scores(scores: NDArray[np.float32], k: int) -> SearchResult:
    """Top-k columns of a score matrix.

    Args:
        scores: (B, C) float32; column c is item c; -inf = no result.
        k: results per row.

    Returns:
        (B, k) by descending score, ties by smaller item id, padded with -1 and -inf.
    """
    result = no_results(len(scores), k)
    take = min(k, scores.shape[1])
    for row, values in enumerate(scores):
        last = np.partition(values, len(values) - take)[len(values) - take]  # the take-th best score
        items = np.flatnonzero((values >= last) & (values > -np.inf))
        best = best_candidates(items[None], values[items][None], take)
        result.item_ids[row, :take], result.scores[row, :take] = best.item_ids[0], best.scores[0]
    return result
