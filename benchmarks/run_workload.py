"""A trained run, and the two-tower run to compare with, as a workload of ``bench_search.py``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_engines import Workload

from sparcode.config.loader import load_config
from sparcode.errors import UsageError
from sparcode.evaluation.code_scorer import CodeScorer
from sparcode.evaluation.query_set import QuerySet
from sparcode.model.inference import CodeEncoder, VectorEncoder
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matchers.two_tower import TwoTower
from sparcode.pipeline import runs
from sparcode.pipeline.model_inputs import queries_of, query_length
from sparcode.pipeline.runs import Run
from sparcode.training.encoding import encode_queries

FIDELITY_QUERIES = 100


def run_workload(run_dir: Path, two_tower_run: Path, count: int, k: int) -> tuple[Workload, dict[str, Any]]:
    """The first ``count`` test queries of a sparcode run; seen items are not excluded.

    The lists are plain and every token asks for one code, whatever the run is served with: packed lists are
    an engine of the benchmark, and the number of lists shall be that of the tokens.

    Args:
        run_dir: run directory of a sparcode model.
        two_tower_run: run directory of a two-tower model on the same data set.
        count: number of queries.
        k: results per query.

    Returns:
        The workload, and facts for the report.

    Raises:
        UsageError: a run of another model.
    """
    run, rival = _open(run_dir), _open(two_tower_run)
    if not isinstance(run.network, SparCode) or not isinstance(rival.network, TwoTower):
        raise UsageError(
            "benchmark needs a sparcode run and a two-tower run",
            received=f"{run.config.model.name} and {rival.config.model.name}",
        )
    with tempfile.TemporaryDirectory(prefix="sparcode-") as scratch:
        index = runs.build_run_index(run, Path(scratch)).index
    queries = first_queries(run, count)
    term_ids, weights, _ = encode_queries(CodeEncoder(run.network), queries.history, queries.user_rows, count)
    others = first_queries(rival, count)
    (vectors,) = encode_queries(VectorEncoder(rival.network), others.history, others.user_rows, count)
    scorer = CodeScorer(run.network, run.dataset.num_items, 1, run.served.posterior)

    def exhaustive(rows: slice) -> NDArray[np.float32]:
        places = range(*rows.indices(len(queries)))
        return np.concatenate(
            [
                scorer.scores(queries.history[p : p + 1], [r[p : p + 1] for r in queries.user_rows])
                for p in places
            ]
        )

    work = Workload(
        index,
        term_ids.astype(np.int64),
        item_vectors(rival.network),
        np.ascontiguousarray(vectors),
        k,
        exhaustive,
        weights,
    )
    return work, {"dataset": run.dataset.name, "index_options": run.config.index.model_dump()}


def first_queries(run: Run, count: int) -> QuerySet:
    """The first ``count`` test queries of a run, with histories as its encoder reads them."""
    length = query_length(run.config, None)
    return queries_of(run.config, run.dataset, "test", length).take(count)


def _open(run_dir: Path) -> Run:
    config = load_config(run_dir / "config.yaml")
    plain = config.index.model_copy(update={"packing": "none", "probes": 1})
    return runs.open_run(config.model_copy(update={"index": plain}), run_dir)
