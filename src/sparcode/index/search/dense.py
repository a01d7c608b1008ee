"""Exact inner-product search over item vectors, with the result rule and filters of the inverted index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.index.bitsets import unpack_bits
from sparcode.index.search.arguments import IdFilter, IdLists, make_id_lists, make_mask
from sparcode.index.search.results import no_results, top_k_of_scores
from sparcode.types import SearchResult

_BLOCK_SCORES = 1 << 23


class DenseIndex:
    """Exhaustive search for the items with the largest dot products, in blocks of queries.

    Memory: about 64 MB beside the vectors, which may be memory-mapped.

    Args:
        item_vectors: (I + 1, d) float32; row i is item i, row 0 is padding and never a result.

    Raises:
        UsageError: not a matrix with a row for at least one item, or values that are not finite.
    """

    def __init__(self, item_vectors: NDArray[np.float32]) -> None:
        if item_vectors.ndim != 2 or len(item_vectors) < 2 or item_vectors.dtype != np.float32:
            raise UsageError(
                "item_vectors are no float32 matrix of items",
                expected="(I + 1, d) float32 with I of at least 1",
                received=f"{item_vectors.shape} {item_vectors.dtype}",
            )
        if not np.isfinite(item_vectors).all():
            raise UsageError("item_vectors are not finite", expected="finite numbers")
        self._vectors = item_vectors

    @property
    def num_items(self) -> int:
        """Items that can be results."""
        return len(self._vectors) - 1

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(I + 1, d) float32 that are searched."""
        return self._vectors

    def search(
        self,
        queries: ArrayLike,
        k: int,
        exclude: IdFilter = None,
        allow: IdFilter = None,
        mask: NDArray[np.uint64] | None = None,
        add: Callable[[NDArray[np.float32], int], None] | None = None,
    ) -> SearchResult:
        """Top-k items of each query.

        Args:
            queries: (B, d) float32, finite.
            k: results per query, at least 1.
            exclude: item ids that are no results, as in :meth:`sparcode.index.InvertedIndex.search`.
            allow: the only item ids that may be results, likewise.
            mask: bitset of the items that may be results, likewise.
            add: adds to the dot products (b, I + 1) of b queries, the number of the first of which it gets.

        Returns:
            item_ids (B, k) int64 by descending score, ties by smaller id, and scores (B, k) float32; -1 and
            -inf pad rows when fewer items are left.

        Raises:
            UsageError: an argument is out of range or of a wrong shape.
        """
        vectors = np.asarray(queries, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self._vectors.shape[1]:
            raise UsageError(
                "queries and items differ in width",
                expected=f"(B, {self._vectors.shape[1]})",
                received=vectors.shape,
            )
        if not np.isfinite(vectors).all():
            raise UsageError("queries are not finite", expected="finite numbers")
        if k < 1:
            raise UsageError("k out of range", expected="an integer of at least 1", received=k)
        forbidden = make_id_lists(exclude, len(vectors), self.num_items, "exclude")
        permitted = make_id_lists(allow, len(vectors), self.num_items, "allow")
        bitsets = make_mask(mask, len(vectors), self.num_items)
        result = no_results(len(vectors), k)
        rows = max(1, _BLOCK_SCORES // len(self._vectors))
        for start in range(0, len(vectors), rows):
            block = vectors[start : start + rows] @ self._vectors.T  # (rows, I + 1)
            if add is not None:
                add(block, start)
            _mask(block, start, forbidden, permitted)
            _mask_bits(block, bitsets if len(bitsets) <= 1 else bitsets[start : start + rows])
            best = top_k_of_scores(block, k)
            result.item_ids[start : start + rows] = best.item_ids
            result.scores[start : start + rows] = best.scores
        return result


def _mask(scores: NDArray[np.float32], first: int, forbidden: IdLists, permitted: IdLists) -> None:
    """Set what is no result to -inf; row r of ``scores`` is query ``first + r``."""
    scores[:, 0] = -np.inf
    for row, values in enumerate(scores):
        allowed = permitted.of(first + row)
        if allowed is not None:
            kept = values[allowed]
            values[:] = -np.inf
            values[allowed] = kept
        excluded = forbidden.of(first + row)
        if excluded is not None:
            values[excluded] = -np.inf


def _mask_bits(scores: NDArray[np.float32], bitsets: NDArray[np.uint64]) -> None:
    """Set what no bitset holds to -inf; one bitset for all rows, one for each, or none at all."""
    if len(bitsets) == 1:
        scores[:, ~unpack_bits(bitsets[0], scores.shape[1])] = -np.inf
        return
    for values, words in zip(scores, bitsets, strict=False):
        values[~unpack_bits(words, len(values))] = -np.inf
