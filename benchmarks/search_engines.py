"""The engines that ``bench_search.py`` compares, behind one small interface.

An engine answers the same queries in its own model's terms: either from posting lists (``truth = "lists"``)
or from vectors (``truth = "vectors"``); its recall is counted against the exact answer of that model. Engines
that need a package which is not installed are left out and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.index import InvertedIndex

Batch = Callable[[slice], NDArray[np.int64]]
"""Answers the queries of a slice: (B, k) item ids, -1 = none."""


@dataclass(frozen=True)
class Workload:
    """What the engines are asked.

    Attributes:
        index: posting lists.
        term_ids: (Q, K_u) int64.
        weights: (Q, K_u) float32, or None for ones.
        item_vectors: (num_items + 1, d) float32, row 0 is no item.
        vectors: (Q, d) float32.
        k: results per query.
        exhaustive: the (B, num_items + 1) scores of the queries of a slice, every item by the model itself.
    """

    index: InvertedIndex
    term_ids: NDArray[np.int64]
    item_vectors: NDArray[np.float32]
    vectors: NDArray[np.float32]
    k: int
    exhaustive: Callable[[slice], NDArray[np.float32]]
    weights: NDArray[np.float32] | None = None

    def search(self, rows: slice, **options: Any) -> NDArray[np.int64]:
        """What the index answers to the queries of a slice."""
        weights = None if self.weights is None else self.weights[rows]
        index = options.pop("index", self.index)
        return index.search(self.term_ids[rows], self.k, weights, **options).item_ids


@dataclass(frozen=True)
class Point:
    """One setting of one engine; ``set_threads`` is called before it is timed."""

    engine: str
    setting: str
    truth: str
    batch: Batch
    set_threads: Callable[[int], object] = field(default=lambda threads: None)
    size_bytes: int | None = None
    slow: bool = False


def make_points(workload: Workload, names: list[str]) -> Iterator[Point]:
    """Build each engine in turn and give its settings; an engine's memory is free when the next is built."""
    for name in names:
        yield from ENGINES[name](workload)


def _index_points(work: Workload) -> Iterator[Point]:
    for setting, index in (("float32", work.index), ("uint8", work.index.pack("uint8"))):
        threads = [1]

        def answer(rows: slice, index: InvertedIndex = index, threads: list[int] = threads) -> NDArray:
            return work.search(rows, index=index, num_threads=threads[0])

        yield Point("sparcode", setting, "lists", answer, _setter(threads), index.size_bytes)


def _setter(threads: list[int]) -> Callable[[int], object]:
    return lambda count: threads.__setitem__(0, count)


def _exhaustive_points(work: Workload) -> Iterator[Point]:
    def answer(rows: slice) -> NDArray:
        return np.stack([top_k(scores, work.k) for scores in work.exhaustive(rows)])

    yield Point("exhaustive", "every item, every token", "lists", answer, slow=True)


def _matmul_points(work: Workload) -> Iterator[Point]:
    def answer(rows: slice) -> NDArray:
        scores = work.vectors[rows] @ work.item_vectors.T
        scores[:, 0] = -np.inf
        return np.stack([top_k(row, work.k) for row in scores])

    size = work.item_vectors.nbytes
    yield Point("matmul", "two-tower, numpy", "vectors", answer, size_bytes=size, slow=True)


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(k,) best columns, best first."""
    best = np.argpartition(-scores, k - 1)[:k]
    return best[np.lexsort((best, -scores[best]))]


def _faiss_index_points(work: Workload, kind: str) -> Iterator[Point]:
    import faiss

    width, count = work.item_vectors.shape[1], len(work.item_vectors) - 1
    lists = int(4 * np.sqrt(count))
    build = {
        "flat": lambda: faiss.IndexFlatIP(width),
        "hnsw": lambda: faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT),
        "ivf": lambda: faiss.index_factory(width, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT),
        # a fast-scan code needs an even number of sub-vectors that divides the width: pad to 80
        "ivfpq": lambda: faiss.index_factory(80, f"IVF{lists},PQ40x4fs,RFlat", faiss.METRIC_INNER_PRODUCT),
    }
    index = build[kind]()
    vectors, queries = work.item_vectors[1:], work.vectors
    if kind == "ivfpq":
        vectors, queries = _padded(vectors, 80), _padded(queries, 80)
    if kind == "hnsw":
        index.hnsw.efConstruction = 100
    faiss.omp_set_num_threads(2)
    if not index.is_trained:
        rows = np.random.default_rng(0).permutation(count)[: 40 * lists]
        index.train(np.ascontiguousarray(vectors[np.sort(rows)]))
    index.add(vectors)

    def answer(rows: slice, **options: Any) -> NDArray:
        return index.search(queries[rows], work.k, **options)[1] + 1

    if kind == "flat":
        yield Point("faiss-flat", "exact", "vectors", answer, faiss.omp_set_num_threads, slow=True)
    if kind == "hnsw":
        for ef in (50, 100, 200, 400, 800, 1600):
            index.hnsw.efSearch = ef
            yield Point("faiss-hnsw", f"M=32 ef={ef}", "vectors", answer, faiss.omp_set_num_threads)
    if kind in ("ivf", "ivfpq"):
        base = index if kind == "ivf" else faiss.downcast_index(index.base_index)
        for probes in (8, 32, 128, 512):
            base.nprobe = probes
            if kind == "ivfpq":
                index.k_factor = 10
            yield Point(f"faiss-{kind}", f"nprobe={probes}", "vectors", answer, faiss.omp_set_num_threads)


def _padded(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))


def _hnswlib_points(work: Workload) -> Iterator[Point]:
    import hnswlib

    width, count = work.item_vectors.shape[1], len(work.item_vectors) - 1
    index = hnswlib.Index(space="ip", dim=width)
    index.init_index(max_elements=count, M=32, ef_construction=100, random_seed=0)
    index.set_num_threads(2)
    index.add_items(work.item_vectors[1:], np.arange(1, count + 1))

    def answer(rows: slice) -> NDArray:
        return index.knn_query(work.vectors[rows], k=work.k)[0].astype(np.int64)

    for ef in (50, 100, 200, 400, 800, 1600):
        index.set_ef(ef)
        yield Point("hnswlib", f"M=32 ef={ef}", "vectors", answer, index.set_num_threads)


@njit(nogil=True, cache=True)
def _sum_sub_scores(codes, table, totals):  # type: ignore[no-untyped-def]
    for item in range(codes.shape[0]):
        total = np.float32(0)
        for part in range(codes.shape[1]):
            total += table[part, codes[item, part]]
        totals[item] = total


def _pqtopk_points(work: Workload) -> Iterator[Point]:
    """Item codes and a table of sub-scores per query, added up for every item (PQTopK, RecSys 2024).

    Codes are random and the sub-scores too: the cost does not depend on them, and no recall is claimed.
    """
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (len(work.item_vectors), 8), dtype=np.uint8)
    tables = rng.random((256, 8, 256), dtype=np.float32)
    totals = np.empty(len(codes), dtype=np.float32)

    def answer(rows: slice) -> NDArray:
        best = []
        for query in range(*rows.indices(len(work.term_ids))):
            _sum_sub_scores(codes, tables[query % len(tables)], totals)
            best.append(top_k(totals, work.k))
        return np.stack(best)

    yield Point("pqtopk", "8 x 256", "none", answer, size_bytes=codes.nbytes, slow=True)


def _seismic_points(work: Workload) -> Iterator[Point]:
    import seismic

    postings = work.index.postings
    components = np.repeat(np.arange(work.index.num_terms), np.diff(postings.indptr))
    order = np.argsort(postings.item_ids, kind="stable")  # terms stay ascending within an item
    items, starts = np.unique(postings.item_ids[order], return_index=True)
    data = seismic.SeismicDataset()
    data.add_documents_by_id(
        [str(item) for item in items],
        components[order].astype(np.int64),
        np.ascontiguousarray(postings.scores[order]),
        np.append(starts, len(order)).astype(np.int64),
    )
    longest = int(np.diff(postings.indptr).max())
    index = seismic.SeismicIndex.build_from_dataset(data, n_postings=longest, num_threads=2)
    kind, threads = seismic.get_seismic_string(), [1]
    words = [np.array([str(term) for term in terms], dtype=kind) for terms in work.term_ids]
    weights = np.ones(work.term_ids.shape, np.float32) if work.weights is None else work.weights
    names = np.array([str(row) for row in range(len(words))], dtype=kind)

    def answer(rows: slice, factor: float = 1.0) -> NDArray:
        found = index.batch_search(
            queries_ids=names[rows],
            query_components=words[rows],
            query_values=list(weights[rows]),
            k=work.k,
            query_cut=work.term_ids.shape[1],
            heap_factor=factor,
            num_threads=threads[0],
        )
        best = np.full((len(found), work.k), -1, dtype=np.int64)
        for hits in found:  # in any order: a hit names its query
            if hits:
                best[int(hits[0][0]) - rows.start, : len(hits)] = [int(hit[2]) for hit in hits]
        return best

    for factor in (0.5, 0.7, 0.9, 1.0):

        def answer_with(rows: slice, factor: float = factor) -> NDArray:
            return answer(rows, factor)

        yield Point("seismic", f"heap_factor={factor}", "lists", answer_with, _setter(threads))


ENGINES: dict[str, Callable[[Workload], Iterator[Point]]] = {
    "sparcode": _index_points,
    "seismic": _seismic_points,
    "hnswlib": _hnswlib_points,
    "faiss-hnsw": lambda work: _faiss_index_points(work, "hnsw"),
    "faiss-ivf": lambda work: _faiss_index_points(work, "ivf"),
    "faiss-ivfpq": lambda work: _faiss_index_points(work, "ivfpq"),
    "faiss-flat": lambda work: _faiss_index_points(work, "flat"),
    "matmul": _matmul_points,
    "pqtopk": _pqtopk_points,
    "exhaustive": _exhaustive_points,
}
"""Engines by name; the order is that of the table."""

NEEDS = {"seismic": "seismic", "hnswlib": "hnswlib"} | {
    f"faiss-{kind}": "faiss" for kind in ("hnsw", "ivf", "ivfpq", "flat")
}
"""Modules of the optional extra that an engine needs."""
