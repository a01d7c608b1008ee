"""Approximate inner-product search over item vectors by other libraries.

The approximate libraries know no per-query filter, so excluded items are dropped afterwards from a longer
list, which is widened until enough items are left. Their scores are recomputed from the vectors, so that all
searches, exact ones too, report the same score for the same item, up to the rounding of a dot product.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.extras import import_extra
from sparcode.index.search.results import best_candidates, no_results
from sparcode.types import NO_ITEM, SearchResult

HNSW_M = 32
"""Links of an HNSW node; with ef_construction 200 a usual setting for vectors of 64 to 128 dimensions."""
HNSW_EF_CONSTRUCTION = 200
HNSW_EF_SEARCH = 128
IVF_LISTS_PER_ROOT = 4
"""An IVF index over n items has this many times sqrt(n) lists (faiss guidelines) ..."""
IVF_POINTS_PER_LIST = 39
"""... but not fewer items per list than k-means of faiss asks for."""
IVF_NPROBE = 16


class VectorSearch(ABC):
    """Top-k items by inner product.

    Args:
        item_vectors: (I + 1, d) float32; row i is item i, row 0 is padding and never a result.

    Raises:
        UsageError: not a matrix, or values that are not finite.
    """

    def __init__(self, item_vectors: ArrayLike) -> None:
        self._vectors = _finite_matrix(item_vectors, "item_vectors")
        if len(self._vectors) < 2:
            raise UsageError("item_vectors hold no item", expected="(I + 1, d)", received=self._vectors.shape)

    @property
    def num_items(self) -> int:
        """Items that can be results."""
        return len(self._vectors) - 1

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(I + 1, d) float32 that are searched."""
        return self._vectors

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes of what is searched, as the library stores it."""

    def search(self, queries: ArrayLike, k: int, exclude: Sequence[ArrayLike] | None = None) -> SearchResult:
        """Top-k items of each query.

        Args:
            queries: (B, d) float32.
            k: results per query, at least 1.
            exclude: one array of item ids per query that are no results; ids below 1 are ignored.

        Returns:
            item_ids (B, k) int64 by descending score, ties by smaller id, and scores (B, k) float32; -1 and
            -inf pad rows when fewer items are left, or when an approximate search reaches no more.

        Raises:
            UsageError: shapes that do not belong together, or an excluded id out of range.
        """
        vectors = _finite_matrix(queries, "queries")
        if vectors.shape[1] != self._vectors.shape[1]:
            raise UsageError(
                "queries and items differ in width",
                expected=self._vectors.shape[1],
                received=vectors.shape[1],
            )
        if k < 1:
            raise UsageError("k out of range", expected="at least 1", received=k)
        return self._search(vectors, k, self._excluded(exclude, len(vectors)))

    @abstractmethod
    def _search(
        self, queries: NDArray[np.float32], k: int, excluded: list[NDArray[np.int64]]
    ) -> SearchResult: ...

    def _excluded(self, exclude: Sequence[ArrayLike] | None, num_queries: int) -> list[NDArray[np.int64]]:
        if exclude is None:
            return [np.empty(0, dtype=np.int64)] * num_queries
        if len(exclude) != num_queries:
            raise UsageError("exclude needs one array per query", expected=num_queries, received=len(exclude))
        rows = [np.asarray(row).astype(np.int64) for row in exclude]
        largest = max((int(row.max(initial=0)) for row in rows), default=0)
        if largest > self.num_items:
            raise UsageError(
                "item id in exclude out of range", expected=f"at most {self.num_items}", received=largest
            )
        return [np.unique(row[row > 0]) for row in rows]


class HnswSearch(VectorSearch):
    """Graph search by hnswlib (Malkov and Yashunin, 2016), one thread.

    Args:
        item_vectors: (I + 1, d) float32.
        m: links of a node.
        ef_construction: candidates while building.
        ef_search: candidates while searching, raised to the number of results asked for.
        seed: of the graph's levels.

    Raises:
        DependencyError: hnswlib is not installed.
    """

    def __init__(
        self,
        item_vectors: ArrayLike,
        *,
        m: int = HNSW_M,
        ef_construction: int = HNSW_EF_CONSTRUCTION,
        ef_search: int = HNSW_EF_SEARCH,
        seed: int = 0,
    ) -> None:
        super().__init__(item_vectors)
        self._ef_search = ef_search
        self._graph = import_extra("hnswlib", "ann").Index(space="ip", dim=self._vectors.shape[1])
        self._graph.init_index(self.num_items, M=m, ef_construction=ef_construction, random_seed=seed)
        self._graph.add_items(self._vectors[1:], np.arange(1, len(self._vectors)), num_threads=1)

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with the vectors in it."""
        return int(self._graph.index_file_size())

    def _search(
        self, queries: NDArray[np.float32], k: int, excluded: list[NDArray[np.int64]]
    ) -> SearchResult:
        return _search_widening(self._candidates, self._vectors, queries, k, excluded)

    def _candidates(self, queries: NDArray[np.float32], fetch: int) -> NDArray[np.int64]:
        self._graph.set_ef(max(self._ef_search, fetch))
        try:
            return self._graph.knn_query(queries, k=fetch, num_threads=1)[0].astype(np.int64)
        except RuntimeError:  # how hnswlib says that a query reaches fewer than `fetch` nodes of the graph
            if len(queries) > 1:
                return np.concatenate([self._candidates(query[None], fetch) for query in queries])
            if fetch == 1:
                return np.full((1, 1), NO_ITEM, dtype=np.int64)
        fewer = self._candidates(queries, fetch // 2)
        return np.pad(fewer, ((0, 0), (0, fetch - fewer.shape[1])), constant_values=NO_ITEM)


class IvfSearch(VectorSearch):
    """Inverted-file search by faiss (IndexIVFFlat), one thread.

    Args:
        item_vectors: (I + 1, d) float32.
        nlist: k-means lists; None = :data:`IVF_LISTS_PER_ROOT` * sqrt(I), fewer for small catalogues.
        nprobe: lists searched, raised when they hold too few items.
        seed: of k-means.

    Raises:
        DependencyError: faiss is not installed.
    """

    def __init__(
        self, item_vectors: ArrayLike, *, nlist: int | None = None, nprobe: int = IVF_NPROBE, seed: int = 0
    ) -> None:
        super().__init__(item_vectors)
        faiss = import_extra("faiss", "ann")
        if nlist is None:
            usual = round(IVF_LISTS_PER_ROOT * math.sqrt(self.num_items))
            nlist = max(1, min(usual, self.num_items // IVF_POINTS_PER_LIST))
        self._nlist = min(nlist, self.num_items)
        self._nprobe = min(nprobe, self._nlist)
        width = self._vectors.shape[1]
        self._quantizer = faiss.IndexFlatIP(width)  # the index does not own it
        self._lists = faiss.IndexIVFFlat(self._quantizer, width, self._nlist, faiss.METRIC_INNER_PRODUCT)
        self._lists.cp.seed = seed
        previous = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            self._lists.train(self._vectors[1:])
        finally:
            faiss.omp_set_num_threads(previous)
        self._lists.add_with_ids(self._vectors[1:], np.arange(1, len(self._vectors)))
        self._faiss = faiss

    @property
    def size_bytes(self) -> int:
        """Bytes of centres and lists."""
        return int(self._faiss.serialize_index(self._lists).nbytes)

    def _search(
        self, queries: NDArray[np.float32], k: int, excluded: list[NDArray[np.int64]]
    ) -> SearchResult:
        return _search_widening(self._candidates, self._vectors, queries, k, excluded)

    def _candidates(self, queries: NDArray[np.float32], fetch: int) -> NDArray[np.int64]:
        previous = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(1)
        try:
            nprobe = self._nprobe
            while True:
                self._lists.nprobe = nprobe
                item_ids = self._lists.search(queries, fetch)[1]
                if (item_ids >= 0).all() or nprobe >= self._nlist:
                    return np.asarray(item_ids, dtype=np.int64)
                nprobe = min(2 * nprobe, self._nlist)
        finally:
            self._faiss.omp_set_num_threads(previous)


def _search_widening(
    candidates: Callable[[NDArray[np.float32], int], NDArray[np.int64]],
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    excluded: list[NDArray[np.int64]],
) -> SearchResult:
    """Ask for more candidates until k permitted ones are left or the whole catalogue was asked for.

    ``candidates(queries, fetch)`` gives (B, fetch) item ids, below 1 where there is none.
    """
    num_items = len(vectors) - 1
    result = no_results(len(queries), k)
    rows = np.arange(len(queries))
    longest = max((len(ids) for ids in excluded), default=0)
    fetch = min(k + min(longest, k), num_items)
    while len(rows):
        short = []
        for row, found in zip(rows, candidates(queries[rows], fetch), strict=True):
            left = np.setdiff1d(found[found > 0], excluded[row])
            if len(left) < min(k, num_items - len(excluded[row])) and fetch < num_items:
                short.append(row)
                continue
            scores = vectors[left] @ queries[row]
            best = best_candidates(left[None], scores[None], k)
            result.item_ids[row], result.scores[row] = best.item_ids[0], best.scores[0]
        rows = np.array(short, dtype=np.int64)
        fetch = min(2 * fetch, num_items)
    return result


def _finite_matrix(values: ArrayLike, name: str) -> NDArray[np.float32]:
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    if matrix.ndim != 2:
        raise UsageError(f"{name} must be a matrix", expected="(n, d)", received=matrix.shape)
    if not np.isfinite(matrix).all():
        row = int(np.argwhere(~np.isfinite(matrix))[0, 0])
        raise UsageError(f"{name} are not finite", where=f"row {row}", expected="finite numbers")
    return matrix
