"""What do updates of an index cost, and what do searches cost after them?

    python benchmarks/bench_update.py --json update.json --plot update.png

A generated catalogue (``catalogues.py``) is changed in steps of 1,000 items, each step timed from the call to
the moment that searches see it, scoring for all terms included; searches are timed before and after every
step, as single calls from Python and in batches of 256, on one thread. Then the state is saved, changed and
saved again, and compacted. After the last step the answers of some queries are worked out from the lists of
the base and the scores of what was changed, and must be the same bit for bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from catalogues import POPULARITY_WEIGHT, WIDTH, Catalogue, Shape
from reporting import add_output_options, machine, peak_memory_gb, print_table, seconds_of, write_report

from sparcode.index import LiveIndex

BATCH = 256
CHECKED_QUERIES = 20
COLUMNS = ["step", "seconds", "segments", "dead", "postings", "single_us", "single_p99_us", "batch_us"]


class VectorScorer:
    """Scores of some items, by the rule of the generated catalogue (a ``BlockScorer``).

    Remembers the scores of ``watched`` terms: the last bit of a product depends on the shape of its block.
    """

    def __init__(self, vectors: NDArray[np.float32], watched: NDArray[np.int64]) -> None:
        self.vectors, self._watched, self._next_term = vectors, watched, 0
        self.seen: dict[int, NDArray[np.float32]] = {}

    @property
    def num_items(self) -> int:
        return len(self.vectors)

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        bias = np.full((len(tokens), 1), 10 * POPULARITY_WEIGHT, np.float32)
        scores = np.concatenate([tokens, bias], axis=1) @ self.vectors[start - 1 : stop - 1].T
        for term in self._watched[np.isin(self._watched - self._next_term, np.arange(len(tokens)))]:
            self.seen[int(term)] = scores[term - self._next_term].copy()
        self._next_term += len(tokens)
        return scores


class Bench:
    """A catalogue that changes, and what its lists must hold."""

    def __init__(self, shape: Shape, items_a_step: int, k: int) -> None:
        self.catalogue = Catalogue(shape)
        self.live = LiveIndex(self.catalogue.index, self.catalogue.tokens[None, None])
        self.queries = self.catalogue.queries(2 * BATCH)
        self.rng = np.random.default_rng(5)
        self.step, self.k = items_a_step, k
        self.watched = np.unique(self.queries[:CHECKED_QUERIES])
        self.changed: dict[int, dict[int, np.float32]] = {}
        self.rows: list[dict[str, Any]] = []

    def measure(self, name: str, call: Callable[[], object]) -> None:
        """Run a step, then time searches."""
        seconds = float(seconds_of(call, 1)[0])
        segments = self.live.snapshot().segments
        self._search()
        batch = seconds_of(lambda: self._search(slice(BATCH)), 5).min() / BATCH
        single = self._single_calls()
        row = {
            "step": name,
            "seconds": seconds,
            "segments": len(segments),
            "dead": sum(segment.num_dead for segment in segments),
            "postings": sum(segment.index.num_postings for segment in segments),
            "single_us": float(np.median(single)) * 1e6,
            "single_p99_us": float(np.percentile(single, 99)) * 1e6,
            "batch_us": batch * 1e6,
        }
        self.rows.append(row)

    def _search(self, rows: slice = slice(None)) -> None:
        self.live.search(self.queries[rows], self.k)

    def _single_calls(self) -> NDArray[np.float64]:
        taken = np.empty(len(self.queries))
        for place in range(len(taken)):
            started = time.perf_counter()
            self._search(slice(place, place + 1))
            taken[place] = time.perf_counter() - started
        return taken

    def add(self) -> None:
        first = self.live.num_items + 1
        self._put(np.arange(first, first + self.step), self.live.add)

    def rescore(self) -> None:
        self._put(self._some_live(), self.live.rescore)

    def remove(self) -> None:
        items = self._some_live()
        self.live.remove(items)
        self.changed |= {item: {} for item in items.tolist()}

    def _some_live(self) -> NDArray[np.int64]:
        every = np.arange(1, self.live.num_items + 1)
        return np.sort(self.rng.choice(every[self.live.contains(every)], self.step, replace=False))

    def _put(self, items: NDArray[np.int64], put: Callable[..., None]) -> None:
        """New items look like some of the old ones, so that they belong to as many lists."""
        vectors = self.catalogue.item_vectors[self.rng.integers(1, self.catalogue.shape.num_items, self.step)]
        vectors[:, :WIDTH] += self.rng.normal(0, 0.01, (self.step, WIDTH)).astype(np.float32)
        scorer = VectorScorer(vectors, self.watched)
        put(items, scorer)
        for place, item in enumerate(items.tolist()):
            self.changed[item] = {term: scores[place] for term, scores in scorer.seen.items()}

    def check(self) -> None:
        """Compare answers with lists put together term by term.

        Raises:
            SystemExit: they differ.
        """
        found = self.live.search(self.queries[:CHECKED_QUERIES], self.k)
        for query, terms in enumerate(self.queries[:CHECKED_QUERIES]):
            totals = self._totals(terms)
            best = np.lexsort((np.arange(len(totals)), -totals))[: self.k]
            best = best[totals[best] > 0]
            same = np.array_equal(found.item_ids[query, : len(best)], best)
            if not same or not np.array_equal(found.scores[query, : len(best)], totals[best]):
                sys.exit(f"error: query {query} is answered otherwise than by a rebuilt index")

    def _totals(self, terms: NDArray[np.int64]) -> NDArray[np.float32]:
        """(num_items + 1,) float32 scores of one query."""
        index = self.catalogue.index
        floors = np.zeros(index.num_terms, np.float32) if index.floors is None else index.floors
        changed = np.array(list(self.changed), dtype=np.int64)
        totals = np.zeros(self.live.num_items + 1, dtype=np.float32)
        for term in terms.tolist():
            items, scores = index.posting_list(term)
            old = ~np.isin(items, changed)
            totals[items[old]] += scores[old]
            for item, by_term in self.changed.items():
                if by_term:
                    totals[item] += max(by_term[term] - floors[term], np.float32(0))
        return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_output_options(parser)
    parser.add_argument("--num_items", type=int, default=1_000_000)
    parser.add_argument("--num_terms", type=int, default=16_384)
    parser.add_argument("--list_length", type=int, default=1_000)
    parser.add_argument("--items_a_step", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=8, help="steps of adding in a row")
    parser.add_argument("--k", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.num_items, arguments.num_terms, arguments.items_a_step = 20_000, 512, 100
    shape = Shape(arguments.num_items, arguments.num_terms, arguments.list_length)
    report: dict[str, Any] = {"machine": machine(), "shape": vars(shape), "k": arguments.k}
    started = time.perf_counter()
    bench = Bench(shape, arguments.items_a_step, arguments.k)
    report["generated_in_seconds"] = time.perf_counter() - started
    _run(bench, arguments.steps)
    report |= {
        "items_a_step": arguments.items_a_step,
        "steps": bench.rows,
        "peak_memory_gb": peak_memory_gb(),
    }
    print_table(bench.rows, COLUMNS)
    print(f"{CHECKED_QUERIES} queries are answered as by a rebuilt index")
    write_report(arguments.json, report)
    if arguments.plot:
        from plots import draw_update

        draw_update(report, arguments.plot)


def _run(bench: Bench, steps: int) -> None:
    bench.live.search(bench.queries, bench.k)  # warms up
    bench.measure("base", lambda: None)
    for number in range(steps):
        bench.measure(f"add {number + 1}", bench.add)
    bench.measure("remove", bench.remove)
    bench.measure("rescore", bench.rescore)
    bench.check()
    with tempfile.TemporaryDirectory(prefix="sparcode-") as directory:
        bench.measure("first save", lambda: bench.live.save(directory))
        bench.measure("add more", bench.add)
        bench.measure("next save", lambda: bench.live.save(directory))
        codebooks = bench.catalogue.tokens[None, None]
        bench.measure("load", lambda: LiveIndex.load(directory, codebooks, verify=False))
    bench.measure("compact", bench.live.compact)
    bench.check()


if __name__ == "__main__":
    main()
