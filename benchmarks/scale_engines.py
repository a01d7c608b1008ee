"""The engines that ``bench_scale.py`` compares: all of them search the vectors, or codes, of one network.

An engine is asked for its best ``K`` items of each query, nothing excluded. Graphs and inverted files have
the settings of the retrievers ``hnsw`` and ``ivf`` of eval.py, but for the effort of a search, which varies.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reporting import peak_resident_gb, reset_peak_memory

from sparcode.data.dataset import Dataset
from sparcode.evaluation.ann import (
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    IVF_LISTS_PER_ROOT,
    IVF_POINTS_PER_LIST,
)
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import IndexRanker
from sparcode.evaluation.rescoring_ranker import network_candidates
from sparcode.index import InvertedIndex
from sparcode.index.search.dense import DenseIndex
from sparcode.index.search.rescoring import CandidateRanking
from sparcode.pipeline.runs import Run

K = 100
"""Items that an engine is asked for."""
RESCORED = 500
"""R, items of the first search that are rescored."""
PROBES = (1, 4, 16)
EF_SEARCH = (100, 200, 400)
NPROBE = (4, 16, 64)
BATCH = 256
"""Queries encoded at once."""

Answer = Callable[[slice], NDArray[np.int64]]
"""The best items (B, K) of the queries of a slice, -1 = none."""


@dataclass(frozen=True)
class Build:
    """What it took to make an index: bytes as stored, seconds, and the largest resident size meanwhile.

    The size is that of the whole process, with network and vectors; None where it is not known.
    """

    size_bytes: int
    seconds: float
    peak_gb: float | None


@dataclass(frozen=True)
class Point:
    """One setting of one engine, to be measured before the next one is made.

    Attributes:
        engine, setting: names.
        answer: searches.
        build: of the index.
        reads: (Q,) postings that each query reads, of an inverted index over codes.
    """

    engine: str
    setting: str
    answer: Answer
    build: Build
    reads: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Vectors:
    """Query vectors (Q, d) and item vectors (I + 1, d), row 0 is no item; both float32."""

    queries: NDArray[np.float32]
    items: NDArray[np.float32]


def built(make: Callable[[], Any], size_bytes: Callable[[Any], int]) -> tuple[Any, Build]:
    """What ``make`` returns, and what it took."""
    known = reset_peak_memory()
    started = time.perf_counter()
    made = make()
    seconds, peak = time.perf_counter() - started, peak_resident_gb() if known else None
    return made, Build(size_bytes(made), seconds, peak)


def popularity_point(dataset: Dataset) -> Point:
    """The items with the most training interactions, the same for everyone."""
    counts = np.bincount(dataset.train.items, minlength=dataset.num_items + 1)
    best = np.lexsort((np.arange(len(counts)), -counts))[:K].astype(np.int64)

    def answer(rows: slice) -> NDArray[np.int64]:
        return np.repeat(best[None], rows.stop - rows.start, 0)

    return Point("popularity", "", answer, Build(8 * K, 0.0, None))


# ---- engines over vectors


def exact_points(vectors: Vectors) -> Iterator[Point]:
    """Every dot product."""
    index = DenseIndex(vectors.items)

    def answer(rows: slice) -> NDArray[np.int64]:
        return index.search(vectors.queries[rows], K).item_ids

    yield Point("two-tower", "exact", answer, Build(vectors.items.nbytes, 0.0, None))


def hnswlib_points(vectors: Vectors) -> Iterator[Point]:
    """Graph search by hnswlib."""
    import hnswlib

    count, width = len(vectors.items) - 1, vectors.items.shape[1]

    def make() -> Any:
        graph = hnswlib.Index(space="ip", dim=width)
        graph.init_index(count, M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION, random_seed=0)
        graph.add_items(vectors.items[1:], np.arange(1, count + 1), num_threads=1)
        return graph

    def answer(rows: slice) -> NDArray[np.int64]:
        return graph.knn_query(vectors.queries[rows], k=K, num_threads=1)[0].astype(np.int64)

    graph, build = built(make, _saved_bytes)
    for effort in EF_SEARCH:
        graph.set_ef(effort)
        yield Point("hnswlib", f"ef={effort}", answer, build)


def _saved_bytes(graph: Any) -> int:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "graph"
        graph.save_index(str(path))
        return path.stat().st_size


def faiss_hnsw_points(vectors: Vectors) -> Iterator[Point]:
    """Graph search by faiss."""
    import faiss

    faiss.omp_set_num_threads(1)

    def make() -> Any:
        index = faiss.IndexHNSWFlat(vectors.items.shape[1], HNSW_M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        index.add(vectors.items[1:])
        return index

    index, build = built(make, lambda made: faiss.serialize_index(made).nbytes)
    for effort in EF_SEARCH:
        index.hnsw.efSearch = effort
        yield Point("faiss-hnsw", f"ef={effort}", _faiss_answer(index, vectors), build)


def faiss_ivf_points(vectors: Vectors) -> Iterator[Point]:
    """Inverted files of vectors by faiss, trained on as many vectors as its k-means asks for."""
    import faiss

    faiss.omp_set_num_threads(1)
    count, width = len(vectors.items) - 1, vectors.items.shape[1]
    lists = max(1, min(round(IVF_LISTS_PER_ROOT * count**0.5), count // IVF_POINTS_PER_LIST))

    def make() -> Any:
        index = faiss.index_factory(width, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        rows = np.random.default_rng(0).permutation(count)[: IVF_POINTS_PER_LIST * lists]
        index.train(np.ascontiguousarray(vectors.items[1:][np.sort(rows)]))
        index.add(vectors.items[1:])
        return index

    index, build = built(make, lambda made: faiss.serialize_index(made).nbytes)
    for probes in NPROBE:
        index.nprobe = min(probes, lists)
        yield Point("faiss-ivf", f"nprobe={index.nprobe}", _faiss_answer(index, vectors), build)


def _faiss_answer(index: Any, vectors: Vectors) -> Answer:
    def answer(rows: slice) -> NDArray[np.int64]:
        found = index.search(vectors.queries[rows], K)[1]  # row i is item i + 1, -1 is none
        return np.where(found < 0, -1, found + 1).astype(np.int64)

    return answer


# ---- engines over codes


def sparcode_points(run: Run, queries: QuerySet, index: InvertedIndex, build: Build) -> Iterator[Point]:
    """Posting lists, and their best items rescored, with more and more probes.

    The second stage is that of ``eval.rescore``; it reads item vectors as well.
    """
    network = run.network
    scorer, ranking = network_candidates(network, run.dataset.num_items, RESCORED), CandidateRanking()
    with_vectors = Build(build.size_bytes + scorer.size_bytes, build.seconds, build.peak_gb)
    lengths = index.list_lengths()
    for probes in PROBES:
        network.quantizer.probes = probes
        ranker = IndexRanker(network, index, BATCH, 1)
        encoded = ranker.encode(queries)
        reads = lengths[encoded[0]].sum(1)

        def search(rows: slice, k: int, ranker: IndexRanker = ranker, encoded: Any = encoded) -> Any:
            return ranker.search(tuple(part[rows] for part in encoded), queries, k, exclude_seen=False)

        def lists(rows: slice, search: Any = search) -> NDArray[np.int64]:
            return search(rows, K).item_ids

        def rescored(rows: slice, search: Any = search, encoded: Any = encoded) -> NDArray[np.int64]:
            found = search(rows, RESCORED).item_ids
            return ranking.best(found, scorer.scores(encoded[2][rows], found), K).item_ids

        yield Point("sparcode", f"probes={probes}", lists, build, reads)
        yield Point("sparcode, rescored", f"probes={probes}", rescored, with_vectors, reads)


VECTOR_ENGINES: dict[str, tuple[str, Callable[[Vectors], Iterator[Point]]]] = {
    "hnswlib": ("hnswlib", hnswlib_points),
    "faiss-hnsw": ("faiss", faiss_hnsw_points),
    "faiss-ivf": ("faiss", faiss_ivf_points),
}
"""By name: the module that is needed, and what makes the points."""
