"""How fast is a search, and how exact, next to the libraries that one would use instead?

    python benchmarks/bench_search.py --json search.json --plot search.png
    python benchmarks/bench_search.py --run_dir RUN --two_tower_run RUN2 --json real.json

Every engine answers the same queries in one process, one after the other, first on one thread, then on two;
each setting is warmed up, then timed in rounds that go through all queries: single calls from Python (batch
1) and batches of 256. Recall is counted against the exact answer of the engine's own model: the posting
lists, or inner products. ``index_recall`` of the lists themselves, against scoring every item for every
token, stands beside. Without ``--run_dir`` the catalogue is generated (``catalogues.py``): ``--sizes`` items,
16,384 lists of 1,000 postings, 4 lists a query.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from catalogues import Catalogue, Shape
from reporting import (
    add_output_options,
    machine,
    peak_memory_gb,
    print_table,
    read_bandwidth,
    seconds_of,
    write_report,
)
from search_engines import ENGINES, NEEDS, Point, Workload, make_points, top_k

BATCH = 256
ROUNDS = 5
SLOW_QUERIES = 8
TRUTH_QUERIES = 100


def main() -> None:
    arguments = _arguments()
    report: dict[str, Any] = {"machine": machine(), "k": arguments.k, "batch": BATCH, "workloads": []}
    report["read_bandwidth_gb_per_s"] = read_bandwidth() / 1e9
    print(f"one thread reads {report['read_bandwidth_gb_per_s']:.1f} GB/s from memory")
    if arguments.run_dir:
        from run_workload import run_workload

        runs = (arguments.run_dir, arguments.two_tower_run)
        workloads = [(arguments.run_dir.name, lambda: run_workload(*runs, BATCH, arguments.k))]
    else:
        sizes = [20_000] if arguments.small else arguments.sizes
        workloads = [(f"{size:,} items", lambda size=size: _generated(size, arguments)) for size in sizes]
    for name, make in workloads:
        _measure(name, make, arguments, report)
    if arguments.plot:
        from plots import draw_search

        draw_search(report, arguments.plot)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_output_options(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument(
        "--ann_up_to", type=int, default=1_000_000, help="largest catalogue for other engines"
    )
    parser.add_argument("--num_tokens", type=int, default=4, help="lists of a query")
    parser.add_argument("--list_length", type=int, default=1_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--run_dir", type=Path, help="a trained sparcode run instead of a generated catalogue"
    )
    parser.add_argument(
        "--two_tower_run", type=Path, help="with --run_dir: the run behind the vector engines"
    )
    arguments = parser.parse_args()
    if (arguments.run_dir is None) != (arguments.two_tower_run is None):
        parser.error("--run_dir and --two_tower_run belong together")
    return arguments


def _generated(size: int, arguments: argparse.Namespace) -> tuple[Workload, dict[str, Any]]:
    terms = 1_024 if arguments.small else 16_384
    catalogue = Catalogue(Shape(size, terms, arguments.list_length))
    queries = catalogue.queries(BATCH, arguments.num_tokens)

    def exhaustive(rows: slice) -> NDArray[np.float32]:
        return np.stack([catalogue.exhaustive(terms) for terms in queries.term_ids[rows]])

    work = Workload(
        catalogue.index, queries.term_ids, catalogue.item_vectors, queries.vectors, arguments.k, exhaustive
    )
    return work, {"list_length": arguments.list_length}


def _measure(name: str, make: Any, arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """Add a workload to the report, which is written after every engine: a long run may be cut short."""
    started = time.perf_counter()
    work, facts = make()
    found = work.search(slice(0, SLOW_QUERIES))
    wanted = np.stack([top_k(scores, work.k) for scores in work.exhaustive(slice(0, SLOW_QUERIES))])
    facts["index_recall"] = _recall(found, wanted)
    lengths = work.index.list_lengths()[work.term_ids].sum(axis=1)
    floor = float(np.median(lengths)) * 8 / (report["read_bandwidth_gb_per_s"] * 1e9) * 1e6
    result = {
        "name": name,
        "num_items": work.index.num_items,
        "num_postings": work.index.num_postings,
        "num_tokens": work.term_ids.shape[1],
        "postings_per_query": float(np.median(lengths)),
        "bytes_floor_us": floor,
        **facts,
        "points": [],
    }
    print(
        f"\n{name}: {result['postings_per_query']:,.0f} postings a query = {floor:.2f} us of reading; {facts}"
    )
    truths = {"lists": work.search(slice(0, len(work.term_ids))), "vectors": _exact_vectors(work)}
    large = work.index.num_items > arguments.ann_up_to
    engines = [e for e in arguments.engines if _usable(e) and not (large and e != "sparcode")]
    report["workloads"].append(result)
    result["setup_seconds"] = time.perf_counter() - started
    for point in make_points(work, engines):
        rows = _time_point(point, work, truths, arguments.threads)
        result["points"].extend(rows)
        write_report(arguments.json, report)
        for row in rows:
            print(
                f"  {row['engine']:<16}{row['setting']:<24} {row['threads']} thread(s)"
                f"  single {row['single_p50_us']:>10,.1f} us (p99 {row['single_p99_us']:,.1f})"
                f"  batch {row['batch_us']:>10,.1f} us/query  recall@{work.k} {row['recall']}"
            )
    result["peak_memory_gb"] = peak_memory_gb()
    _print_summary(result)
    write_report(arguments.json, report)


def _usable(engine: str) -> bool:
    needed = NEEDS.get(engine)
    if needed and importlib.util.find_spec(needed) is None:
        print(f"  {engine} is left out: {needed} is not installed (pip install -e .[bench])")
        return False
    return True


def _exact_vectors(work: Workload) -> NDArray[np.int64]:
    best = []
    for vector in work.vectors[:TRUTH_QUERIES]:
        scores = work.item_vectors @ vector
        scores[0] = -np.inf
        best.append(top_k(scores, work.k))
    return np.stack(best)


def _recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of the true items of a row that were found."""
    shares = []
    for got, wanted in zip(found, truth, strict=False):
        wanted = wanted[wanted >= 0]
        if len(wanted):
            shares.append(np.isin(wanted, got).mean())
    return round(float(np.mean(shares)), 4)


def _time_point(point: Point, work: Workload, truths: dict[str, Any], threads: list[int]) -> list[dict]:
    from threadpoolctl import threadpool_limits

    count = SLOW_QUERIES if point.slow else len(work.term_ids)
    found = point.batch(slice(0, count))  # also the warm-up
    truth = truths.get(point.truth)
    rows = []
    for number in threads:
        point.set_threads(number)
        with threadpool_limits(number):
            point.batch(slice(0, count))
            singles = np.concatenate(
                [
                    [seconds_of(lambda q=q: point.batch(slice(q, q + 1)), 1)[0] for q in range(count)]
                    for _ in range(1 if point.slow else ROUNDS)
                ]
            )
            batches = seconds_of(lambda: point.batch(slice(0, count)), 3 if point.slow else ROUNDS)
        rows.append(
            {
                "engine": point.engine,
                "setting": point.setting,
                "threads": number,
                "recall": None if truth is None else _recall(found, truth),
                "single_p50_us": float(np.percentile(singles, 50) * 1e6),
                "single_p99_us": float(np.percentile(singles, 99) * 1e6),
                "batch_us": float(np.median(batches) / count * 1e6),
                "size_bytes": point.size_bytes,
            }
        )
    return rows


def _print_summary(result: dict[str, Any]) -> None:
    """Our engine against the fastest other setting that reaches a recall."""
    ours = [row for row in result["points"] if row["engine"] == "sparcode" and row["threads"] == 1]
    if not ours:
        return
    summary = {"batch_over_bytes_floor": ours[0]["batch_us"] / result["bytes_floor_us"]}
    for least in (0.95, 0.99):
        rivals = [
            row
            for row in result["points"]
            if row["engine"] in ("hnswlib", "faiss-hnsw") and row["threads"] == 1 and row["recall"] >= least
        ]
        for kind in ("single_p50_us", "batch_us"):
            if rivals:
                best = min(rivals, key=lambda row: row[kind])
                summary[f"hnsw_at_{least}_{kind}_ratio"] = best[kind] / ours[0][kind]
    result["summary"] = summary
    print_table([summary], list(summary))


if __name__ == "__main__":
    main()
