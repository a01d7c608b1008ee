"""How good crosses are alone, how long they take and how short their lists may be.

``python benchmarks/bench_crosses.py --config_path configs/ml-1m/sparcode_dnn.yaml --dense 700 --set
crosses.kind=ridge --vary crosses.ridge=20,40 --lists 25,50,100``

One row for every combination of the ``--vary`` settings, on validation users (``--split test`` once they are
chosen). ``--dense`` adds the regression on all items with weights of either sign for some penalties
("Embarrassingly Shallow Autoencoders for Sparse Data", Steck 2019), with ``crosses.user_power`` of the
configuration and with 0; it needs 24 bytes for every pair of items. ``--lists`` adds rows for the best
weights of every list alone: as they are (``cut``), and less the best one that is left out (``floor``).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reporting import machine, peak_memory_gb, print_table, write_report
from scipy.sparse import csr_matrix

from sparcode.config.loader import load_config
from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.dataset import Dataset
from sparcode.evaluation.metrics import ranking_metrics
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import CrossRanker
from sparcode.pipeline.crosses import fit_crosses
from sparcode.pipeline.decided import decided
from sparcode.pipeline.model_inputs import queries_of
from sparcode.pipeline.runs import load_data

METRICS = ("recall@10", "recall@20", "recall@50", "ndcg@10", "ndcg@20", "ndcg@50")
COLUMNS = ["setting", "list", *METRICS, "seconds", "weights", "longest", "peak_gb"]


def main() -> None:
    """Print the table."""
    arguments = _arguments()
    config = load_config(arguments.config_path, arguments.set)
    dataset = load_data(config)
    config = decided(config, dataset)
    length = config.crosses.max_history or config.data.max_history
    queries = queries_of(config, dataset, arguments.split, length)
    rows = []
    for setting, crosses, seconds in _tables(arguments, config, dataset):
        for name, table in _cuts(crosses.rows, arguments.lists):
            rows.append(
                {
                    "setting": setting,
                    "list": name,
                    **_metrics(CrossTable(table, length, length, crosses.age_decay), queries),
                    "seconds": round(seconds, 1),
                    "weights": int(table.nnz),
                    "longest": int(np.diff(table.indptr).max()),
                    "peak_gb": round(peak_memory_gb(), 2),
                }
            )
            print(rows[-1], flush=True)  # a long table shows how far it is
    print_table(rows, COLUMNS)
    write_report(arguments.json, {"machine": machine(), "split": arguments.split, "rows": rows})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config_path", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="a key of all rows")
    parser.add_argument("--vary", action="append", default=[], help="a key and its values, by commas")
    parser.add_argument("--dense", type=_numbers, default=[], help="penalties, by commas")
    parser.add_argument("--lists", type=_numbers, default=[], help="lengths, by commas")
    parser.add_argument("--split", choices=("valid", "test"), default="valid")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _tables(
    arguments: argparse.Namespace, config: Config, dataset: Dataset
) -> Iterator[tuple[str, CrossTable, float]]:
    """Name, table and seconds of every row."""
    for strength, power in itertools.product(arguments.dense, sorted({0.0, config.crosses.user_power})):
        started = time.perf_counter()
        table = CrossTable(csr_matrix(_dense(dataset, strength, power)), 1, 1)
        yield f"dense {strength:g} user_power {power:g}", table, time.perf_counter() - started
    keys = [text.partition("=")[0] for text in arguments.vary]
    for values in itertools.product(*(text.partition("=")[2].split(",") for text in arguments.vary)):
        settings = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
        varied = load_config(arguments.config_path, [*arguments.set, *settings])
        started = time.perf_counter()
        table = fit_crosses(varied, dataset)
        name = " ".join(setting.removeprefix("crosses.") for setting in settings) or "as configured"
        yield name, table, time.perf_counter() - started


def _dense(dataset: Dataset, strength: float, power: float) -> np.ndarray:
    """(I + 1, I + 1) weights of either sign: P / -diag(P) by columns, P = (X'WX + strength * I)^-1."""
    train = dataset.train
    users = np.repeat(np.arange(dataset.num_users), train.counts())
    seen = csr_matrix((np.ones(len(users)), (users, train.items - 1)), (dataset.num_users, dataset.num_items))
    seen.data[:] = 1.0
    counts = np.maximum(np.asarray(seen.sum(1)), 1.0)
    weights = counts**-power * counts.sum() / (counts ** (1 - power)).sum()
    inverse = np.linalg.inv(
        (seen.T @ seen.multiply(weights)).toarray() + strength * np.eye(dataset.num_items)
    )
    inverse /= -np.diag(inverse)
    np.fill_diagonal(inverse, 0.0)
    return np.pad(inverse.astype(np.float32), ((1, 0), (1, 0)))


def _cuts(rows: csr_matrix, lengths: list[float]) -> Iterator[tuple[str, csr_matrix]]:
    yield "all", rows
    for length in map(int, lengths):
        kept, floors = np.zeros(rows.nnz, bool), np.zeros(rows.nnz, np.float32)
        for start, stop in itertools.pairwise(rows.indptr):
            order = start + np.argsort(-rows.data[start:stop], kind="stable")
            kept[order[:length]] = True
            floors[order] = rows.data[order[length]] if stop - start > length else 0.0
        borders = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
        for name, values in (("cut", rows.data), ("floor", rows.data - floors)):
            yield f"{name} {length}", csr_matrix((values[kept], rows.indices[kept], borders), rows.shape)


def _metrics(crosses: CrossTable, queries: QuerySet) -> dict[str, Any]:
    found = CrossRanker(crosses).rank(queries, 50, True).item_ids
    values = ranking_metrics(found, queries.target_indptr, queries.target_items, (10, 20, 50))
    return {name: round(values[name], 4) for name in METRICS}


if __name__ == "__main__":
    main()
