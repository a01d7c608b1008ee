"""Vector search with crosses: the best items by dot product plus what the items of the history add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.crosses import CrossTable
from sparcode.evaluation.ann import VectorSearch
from sparcode.index.search.dense import DenseIndex
from sparcode.index.search.results import top_k_of_scores
from sparcode.types import NO_ITEM, SearchResult

CANDIDATES = 500
"""Items that an approximate search finds by dot products alone, and that are the best by crosses alone: both
are united and scored by the sum. More where more results are asked for."""

_BLOCK_SCORES = 1 << 23


class CrossedSearch:
    """Top-k items by inner product plus crosses.

    An exact search scores every item. Approximate ones know nothing of crosses: :data:`CANDIDATES` items of
    theirs and as many best items of the crosses are scored exactly.

    Memory: about 64 MB beside the vectors and the table.

    Args:
        search: over the item vectors.
        crosses: table of the same items.
    """

    def __init__(self, search: DenseIndex | VectorSearch, crosses: CrossTable) -> None:
        self._search, self._crosses = search, crosses

    def search(
        self,
        queries: NDArray[np.float32],
        history: NDArray[np.int32],
        k: int,
        exclude: Sequence[NDArray[np.int32]] | None = None,
    ) -> SearchResult:
        """Top-k items of each query.

        Args:
            queries: (B, d) float32 vectors.
            history: (B, L') int32 items that crosses start from, right-aligned, 0 = padding.
            k: results per query, at least 1.
            exclude: per query, item ids that are no results.

        Returns:
            As of :meth:`VectorSearch.search`.
        """
        item_ids = np.full((len(queries), k), NO_ITEM, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        step = max(1, _BLOCK_SCORES // (self._search.num_items + 1))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            block = self._scores(queries[rows], history[rows], k, None if exclude is None else exclude[rows])
            best = top_k_of_scores(block, k)
            item_ids[rows], scores[rows] = best.item_ids, best.scores
        return SearchResult(item_ids, scores)

    def _scores(
        self,
        queries: NDArray[np.float32],
        history: NDArray[np.int32],
        k: int,
        exclude: Sequence[NDArray[np.int32]] | None,
    ) -> NDArray[np.float32]:
        """(b, I + 1) scores; -inf for what is no candidate."""
        if isinstance(self._search, DenseIndex):
            scores = queries @ self._search.item_vectors.T
            self._crosses.add(scores, history)
            _forbid(scores, exclude)
            return scores
        added = self._crosses.scores(history)
        _forbid(added, exclude)
        count = max(CANDIDATES, k)
        near = self._search.search(queries, count, exclude).item_ids
        scores = np.full_like(added, -np.inf)
        for row, found in enumerate(np.concatenate([near, top_k_of_scores(added, count).item_ids], axis=1)):
            ids = np.unique(found[found > 0])
            scores[row, ids] = self._search.item_vectors[ids] @ queries[row] + added[row, ids]
        return scores


def _forbid(scores: NDArray[np.float32], exclude: Sequence[NDArray[np.int32]] | None) -> None:
    scores[:, 0] = -np.inf
    for row, ids in zip(scores, exclude or (), strict=False):
        row[ids] = -np.inf
