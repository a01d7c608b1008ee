"""The second half of ``bench_scale.py``: accuracy, time and bytes of every engine on one trained network.

All engines answer the same queries: the first test users, without anything excluded, with their best ``K``
items. That answer is what is timed, and what ``index_recall@100`` compares with the best 100 of the exact
two-tower. For the metrics on held-out items the items that a user has are dropped from the answer, and the
first 50 of what is left count; nobody has more than 50, so that an exact answer always has so many left.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reporting import seconds_of, write_report
from scale_engines import (
    BATCH,
    VECTOR_ENGINES,
    Build,
    K,
    Point,
    Vectors,
    built,
    exact_points,
    popularity_point,
    sparcode_points,
)
from scale_world import Shape, World

from sparcode.config.loader import load_config
from sparcode.evaluation.metrics import ranking_metrics
from sparcode.evaluation.query_set import QuerySet
from sparcode.model.inference import CodeEncoder, VectorEncoder
from sparcode.model.item_vectors import item_vectors
from sparcode.pipeline.index import index_summary
from sparcode.pipeline.model_inputs import queries_of
from sparcode.pipeline.runs import Run, build_run_index, open_run
from sparcode.training.encoding import encode_queries

CUT = 50
"""Places that the metrics look at."""
ROUNDS = 3
METRICS = ("ndcg@10", "ndcg@50", "recall@50")


def measure_run(place: Path, settings: list[str], num_queries: int) -> dict[str, Any]:
    """Measure all engines on the run of a work directory; ``measured.json`` in it grows row by row.

    Args:
        place: directory with ``world``, ``dataset`` and ``run``.
        settings: ``section.key=value`` for the index and the evaluation.
        num_queries: test users.
    """
    config = load_config(place / "run" / "config.yaml", [*settings, f"eval.max_users={num_queries}"])
    run, opened = built(lambda: open_run(config, place / "run"), lambda run: 0)
    result, build = built(lambda: build_run_index(run, place / "index.parts"), lambda r: r.index.size_bytes)
    choice = {"stage": "choice", "seconds": opened.seconds, "peak_gb": opened.peak_gb}
    summary = {"stage": "index", "seconds": build.seconds, "peak_gb": build.peak_gb, **index_summary(result)}
    queries = queries_of(config, run.dataset, "test", config.data.max_history)
    check_histories(queries)
    report: dict[str, Any] = {
        "num_items": run.dataset.num_items,
        "num_queries": len(queries),
        "counts": run.dataset.counts,
        "index_settings": asdict(run.served.settings),
        "stages": [choice, summary],
        "encoding": encoding_rows(run, queries),
        "rows": [world_row(place / "world", run, queries)],
    }
    truth: NDArray[np.int64] | None = None
    for point in points(run, queries, result.index, build):
        row, answers = measure_point(point, queries, truth)
        truth = answers if point.engine == "two-tower" else truth
        report["rows"].append(row)
        write_report(place / "measured.json", report)
        print(f"  {row['engine']} {row['setting']}: ndcg@50 {row['ndcg@50']:.4f}", flush=True)
    return report


def check_histories(queries: QuerySet) -> None:
    """See that dropping what a user has leaves enough of an answer.

    Raises:
        ValueError: it does not.
    """
    longest = max(map(len, queries.seen))
    if longest > K - CUT:
        raise ValueError(f"a user has {longest} items; {CUT} of {K} results are left up to {K - CUT} only")


def points(run: Run, queries: QuerySet, index: Any, build: Build) -> Iterator[Point]:
    """The exact two-tower first: the others are compared with it."""
    network = run.network
    (vectors,) = encode_queries(VectorEncoder(network), queries.history, queries.user_rows, BATCH)
    both = Vectors(np.ascontiguousarray(vectors), item_vectors(network))
    yield from exact_points(both)
    yield popularity_point(run.dataset)
    yield from sparcode_points(run, queries, index, build)
    for name, (module, make) in VECTOR_ENGINES.items():
        if importlib.util.find_spec(module) is None:
            print(f"  {name} is left out: {module} is not installed (pip install -e .[bench])")
            continue
        yield from make(both)


# ---- what is measured


def measure_point(
    point: Point, queries: QuerySet, truth: NDArray[np.int64] | None
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The row of a point, and its answers (Q, K); ``truth`` (Q, K) are those of the exact engine."""
    count = len(queries)
    blocks = [slice(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    answers = np.concatenate([point.answer(rows) for rows in blocks])
    timed = min(BATCH, count)
    singles = np.concatenate(
        [
            [seconds_of(lambda q=q: point.answer(slice(q, q + 1)), 1)[0] for q in range(timed)]
            for _ in range(ROUNDS)
        ]
    )
    batches = seconds_of(lambda: point.answer(slice(0, timed)), ROUNDS)
    row = {
        "engine": point.engine,
        "setting": point.setting,
        **held_out_metrics(answers, queries),
        "index_recall@100": None if truth is None else recall_of(answers, truth),
        "single_us": float(np.median(singles) * 1e6),
        "single_p99_us": float(np.percentile(singles, 99) * 1e6),
        "batch_us": float(np.median(batches) / timed * 1e6),
        "size_bytes": point.build.size_bytes,
        "build_seconds": point.build.seconds,
        "build_peak_gb": point.build.peak_gb,
        "reads_p50": None,
        "reads_p99": None,
    }
    if point.reads is not None:
        row["reads_p50"], row["reads_p99"] = (float(np.percentile(point.reads, p)) for p in (50, 99))
    return row, answers


def held_out_metrics(answers: NDArray[np.int64], queries: QuerySet) -> dict[str, float]:
    """NDCG and recall of answers (Q, n) on the held-out items, after items that a user has are dropped."""
    kept = without_seen(answers, queries.seen, CUT)
    values = ranking_metrics(kept, queries.target_indptr, queries.target_items, (10, CUT), ("ndcg", "recall"))
    return {name: values[name] for name in METRICS}


def without_seen(answers: NDArray[np.int64], seen: list[NDArray[np.int32]], k: int) -> NDArray[np.int64]:
    """The first k items of each row (Q, n) that are not among the row's seen ones: (Q, k), -1 = none."""
    kept = np.full((len(answers), k), -1, dtype=np.int64)
    for row, (found, known) in enumerate(zip(answers, seen, strict=True)):
        left = found[(found > 0) & ~np.isin(found, known)][:k]
        kept[row, : len(left)] = left
    return kept


def recall_of(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of the true items of a row that were found."""
    shares = [np.isin(wanted[wanted > 0], got).mean() for got, wanted in zip(answers, truth, strict=True)]
    return float(np.mean(shares))


def world_row(directory: Path, run: Run, queries: QuerySet) -> dict[str, Any]:
    """The row of a ranking by the probabilities that interactions were drawn from: nothing ranks better."""
    facts = json.loads((directory / "world.json").read_text(encoding="utf-8"))
    world = World(Shape(facts["num_items"], facts["num_interactions"], facts["seed"]))
    numbers = np.array(run.dataset.item_ids, dtype=np.int64)  # ascending: external ids are ordered as numbers
    best = np.full((len(queries), CUT), -1, dtype=np.int64)
    for row, user in enumerate(queries.users):
        items, shares = world.probabilities(int(run.dataset.user_ids[user]))
        ids = 1 + np.searchsorted(numbers, items[np.argsort(-shares, kind="stable")])
        best[row] = without_seen(ids[None], queries.seen[row : row + 1], CUT)[0]
    return {"engine": "the world itself", "setting": "", **held_out_metrics(best, queries)}


def encoding_rows(run: Run, queries: QuerySet) -> list[dict[str, Any]]:
    """Microseconds to encode a query, alone and in a batch: as a vector, and as codes with their weights."""
    rows = []
    encoders = {"vector": VectorEncoder(run.network), "vector and codes": CodeEncoder(run.network)}
    for name, cell in encoders.items():
        row: dict[str, Any] = {"encoding": name}
        for column, count in (("single_us", 1), ("batch_us", min(BATCH, len(queries)))):
            part = queries.take(count)

            def encode(cell: Any = cell, part: QuerySet = part, count: int = count) -> None:
                encode_queries(cell, part.history, part.user_rows, count)

            encode()
            row[column] = float(np.median(seconds_of(encode, 20)) / count * 1e6)
        rows.append(row)
    return rows
