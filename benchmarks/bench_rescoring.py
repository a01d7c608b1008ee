"""What does it cost to rescore the best R items of a search by exact dot products and whole crosses?

    python benchmarks/bench_rescoring.py --json rescoring.json

Candidates are random items of generated catalogues; with crosses half of them are items of the query's own
lists. Vectors have 64 normally distributed numbers, lists of crosses 100 weights, one thread, k = 50.
``single_us`` is the median over calls of one query from Python, ``batch_us`` the median over batches of 64,
for each query; ``p10`` is the tenth percentile of the same calls, nearer to what they take where nothing else
runs. ``history`` is the number of history items whose lists are added; 0 = without crosses.
``rms_error`` and ``max_error`` compare dot products with those of float32, in standard deviations of a
query's scores; int8 (one scale for each item) stands in the first table alone, for comparison.
Some queries of every row are checked against NumPy in the run.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from reporting import add_output_options, machine, print_table, seconds_of, write_report

from sparcode.index.postings import Postings, make_postings
from sparcode.index.search.rescoring import CandidateParts, CandidateRanking, HistoryLists, half_parts
from sparcode.types import SearchResult

WIDTH, K, BATCH, ROUNDS, CHECKED = 64, 50, 64, 5, 3
LIST_LENGTH = 100
HISTORIES = (0, 20, 100)
COLUMNS = [
    "items",
    "parts",
    "MB",
    "R",
    "history",
    "single_us",
    "single_p10_us",
    "batch_us",
    "batch_p10_us",
]


@dataclass(frozen=True, eq=False)
class Workload:
    """Queries with candidates, and what they are rescored by."""

    queries: NDArray[np.float32]
    item_ids: NDArray[np.int64]
    parts: CandidateParts
    ranking: CandidateRanking
    history: HistoryLists | None

    def rescore(self, rows: slice) -> SearchResult:
        """The best K candidates of some queries."""
        ids, history = self.item_ids[rows], self.history
        if history is not None:
            history = HistoryLists(history.terms[rows], history.weights[rows])
        return self.ranking.best(ids, self.parts.scores(self.queries[rows], ids), K, history)


def main() -> None:
    """Print the tables."""
    arguments = _arguments()
    sizes = [10_000] if arguments.small else arguments.sizes
    num_queries = BATCH if arguments.small else 16 * BATCH
    report: dict[str, Any] = {"machine": machine(), "k": K, "batch": BATCH, "width": WIDTH, "rows": []}
    report["rounding"] = _rounding()
    print_table(report["rounding"], ["parts", "rms_error", "max_error"])
    for size in sizes:
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((size + 1, WIDTH), dtype=np.float32)
        lists = make_lists(rng, size)
        kinds = {"float16": half_parts(vectors), "float32": vectors}
        parts = {name: CandidateParts(values) for name, values in kinds.items()}
        for depth, history in itertools.product(arguments.depths, HISTORIES):
            for name, work in _workloads(rng, (num_queries, depth, history), parts, lists):
                _check(work, kinds[name], lists)
                report["rows"].append(
                    {
                        "items": size,
                        "parts": name,
                        "MB": parts[name].size_bytes / 1e6,
                        "R": depth,
                        "history": history,
                        **_measure(work),
                    }
                )
        write_report(arguments.json, report)
    print_table(report["rows"], COLUMNS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_output_options(parser, plot=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--depths", type=int, nargs="+", default=[200, 500, 1_000], help="candidates, R")
    return parser.parse_args()


def make_lists(rng: np.random.Generator, num_items: int) -> Postings:
    """A list of LIST_LENGTH weights for every item."""
    gaps = rng.integers(1, num_items // LIST_LENGTH + 1, (num_items, LIST_LENGTH), dtype=np.int32)
    items = np.cumsum(gaps, axis=1, dtype=np.int32)
    items += (rng.random(num_items) * (num_items - items[:, -1])).astype(np.int32)[:, None]
    borders = np.arange(num_items + 1) * LIST_LENGTH
    weights = rng.random(items.size, dtype=np.float32) + np.float32(1e-3)
    return make_postings(borders, items.reshape(-1), weights, num_items)


def _workloads(
    rng: np.random.Generator, shape: tuple[int, int, int], parts: dict[str, CandidateParts], lists: Postings
) -> Iterator[tuple[str, Workload]]:
    """The same queries for each kind of parts; ``shape``: queries, candidates, history items."""
    count, depth, length = shape
    queries = rng.standard_normal((count, WIDTH), dtype=np.float32)
    terms = rng.integers(0, lists.num_items, (count, length))
    item_ids = np.stack([_candidates(rng, own, depth, lists) for own in terms])
    history = HistoryLists(terms, np.ones(terms.shape, np.float32)) if length else None
    ranking = CandidateRanking(lists)
    for name, values in parts.items():
        yield name, Workload(queries, item_ids, values, ranking, history)


def _candidates(
    rng: np.random.Generator, terms: NDArray[np.int64], depth: int, lists: Postings
) -> NDArray[np.int64]:
    """(R,) distinct items in random order, half of them of the lists if there are any."""
    own = np.concatenate([lists.posting_list(int(term))[0] for term in terms] or [np.zeros(0, np.int32)])
    crossed = rng.permutation(np.unique(own))[: depth // 2]
    others = rng.integers(1, lists.num_items + 1, 2 * depth)
    distinct = np.setdiff1d(others, crossed)
    return rng.permutation(np.concatenate([crossed, rng.permutation(distinct)[: depth - len(crossed)]]))


def _check(work: Workload, vectors: NDArray[np.floating], lists: Postings) -> None:
    """Compare some answers with NumPy.

    Raises:
        RuntimeError: they differ.
    """
    found = work.rescore(slice(0, CHECKED))
    for row in range(CHECKED):
        ids = work.item_ids[row]
        scores = vectors[ids].astype(np.float64) @ work.queries[row]
        for term in () if work.history is None else work.history.terms[row]:
            items, weights = lists.posting_list(int(term))
            dense = dict(zip(items.tolist(), weights.tolist(), strict=True))
            scores += [dense.get(int(item), 0.0) for item in ids]
        if not np.allclose(found.scores[row], np.sort(scores)[::-1][:K], rtol=1e-4, atol=1e-4):
            raise RuntimeError(f"query {row} is rescored wrongly")


def _measure(work: Workload) -> dict[str, float]:
    """Microseconds for a query, alone and in a batch, over rounds through all queries."""
    starts = itertools.cycle(range(len(work.queries)))
    singles = ROUNDS * len(work.queries)
    single = seconds_of(lambda: work.rescore(slice(first := next(starts), first + 1)), singles)
    firsts = itertools.cycle(range(0, len(work.queries), BATCH))
    batches = ROUNDS * (len(work.queries) // BATCH)
    batch = seconds_of(lambda: work.rescore(slice(first := next(firsts), first + BATCH)), batches)
    return {
        "single_us": float(np.median(single) * 1e6),
        "single_p10_us": float(np.quantile(single, 0.1) * 1e6),
        "batch_us": float(np.median(batch) / BATCH * 1e6),
        "batch_p10_us": float(np.quantile(batch, 0.1) / BATCH * 1e6),
    }


def _rounding() -> list[dict[str, Any]]:
    """Errors of dot products by rounded vectors, in standard deviations of the scores of a query."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((10_000, WIDTH), dtype=np.float32)
    queries = rng.standard_normal((64, WIDTH), dtype=np.float32)
    steps = np.abs(vectors).max(axis=1, keepdims=True) / 127
    rounded = {"float16": half_parts(vectors).astype(np.float32), "int8": np.rint(vectors / steps) * steps}
    exact = queries @ vectors.T
    rows = []
    for name, values in rounded.items():
        errors = np.abs(queries @ values.T - exact) / exact.std(axis=1, keepdims=True)
        rms, largest = float(np.sqrt((errors**2).mean())), float(errors.max())
        rows.append({"parts": name, "rms_error": rms, "max_error": largest})
    return rows


if __name__ == "__main__":
    main()
