"""Composition of evaluation: a trained run -> rankings, metrics, the report."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from sparcode.config.arguments import EvalArguments
from sparcode.config.run_choice import BEST
from sparcode.data.leaks import find_leaks
from sparcode.errors import ConfigError
from sparcode.evaluation import report as reports
from sparcode.evaluation.baselines import CROSSES, POPULARITY
from sparcode.evaluation.beyond_accuracy import beyond_accuracy
from sparcode.evaluation.index_loss import IndexLoss, index_loss_warning
from sparcode.evaluation.metrics import per_user_metrics, ranking_metrics
from sparcode.evaluation.per_user import PerUser, write_per_user
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import IndexRanker, PopularityRanker, Ranker
from sparcode.evaluation.rescoring_ranker import RescoringRanker
from sparcode.files import check_writable, file_sha256, write_json
from sparcode.index import BuildResult
from sparcode.pipeline.crosses import cross_baseline, cross_summary, fit_crosses
from sparcode.pipeline.index import PARTS, index_summary
from sparcode.pipeline.model_inputs import queries_of, query_length
from sparcode.pipeline.runs import Run, exact_ranker, make_ranker, open_run
from sparcode.pipeline.summary import index_keys
from sparcode.progress import Progress

_LOG = logging.getLogger(__name__)


def evaluate_run(arguments: EvalArguments) -> dict[str, Any]:
    """Evaluate a run and write what was asked for; the report is documented in docs/evaluation_protocol.md.

    Several workers build the index and rank together; the first one alone measures the rest and writes.
    """
    for path in (arguments.json_path, arguments.per_user_path):
        if path is not None:
            check_writable(path)
    run = open_run(arguments.config, arguments.run_dir)
    evaluation = measure(run, arguments)
    if run.world.first:
        if arguments.per_user_path is not None:
            write_per_user(arguments.per_user_path, evaluation)
        if arguments.json_path is not None:
            write_json(arguments.json_path, evaluation.report)
    run.world.leave()
    return evaluation.report


def evaluate_beside(
    arguments: EvalArguments, baselines: bool = True
) -> tuple[PerUser, dict[str, dict[str, float]]]:
    """Evaluate a run for every user, and the baselines on the same queries; nothing is written.

    Args:
        arguments: of eval.py.
        baselines: whether they are measured.

    Returns:
        The evaluation, and metrics of popularity and (unless ``crosses.kind`` is none) of crosses alone.

    Raises:
        ConfigError: no user has a target in the split.
        CheckpointError, DataError: what the run refers to is missing or damaged.
    """
    run = open_run(arguments.config, arguments.run_dir)
    evaluation = measure(run, arguments)
    rankers: dict[str, Ranker] = {POPULARITY: PopularityRanker(run.dataset)} if baselines else {}
    crosses = run.crosses
    if baselines and run.config.crosses.kind != "none":
        crosses = crosses or fit_crosses(run.config, run.dataset)  # the model may be served without them
        rankers[CROSSES] = cross_baseline(crosses)
    section, length = run.config.eval, query_length(run.config, crosses)
    queries = queries_of(run.config, run.dataset, arguments.split, length)
    with Progress("measuring the baselines"):
        rows = {
            name: reports.relevance(ranker, queries, section.ks, section.exclude_seen, run.world)
            for name, ranker in rankers.items()
        }
    run.world.leave()
    return evaluation, rows


def measure(run: Run, arguments: EvalArguments) -> PerUser:
    """Rank for every user of a split, and measure accuracy, fidelity and time.

    Args:
        run: opened with ``arguments.config``.
        arguments: of eval.py; no file is written.

    Raises:
        ConfigError: no user has a target in the split, or there are no crosses to rank by.
    """
    section = run.config.eval
    queries = _queries_with_targets(run, arguments.split)
    ranker, built = make_ranker(run, arguments.retriever, arguments.run_dir / PARTS)
    with Progress(f"ranking for {len(queries):,} queries by {arguments.retriever}"):
        ranked = reports.ranked_items(ranker, queries, max(section.ks), section.exclude_seen, run.world)
    metrics = per_user_metrics(ranked, queries.target_indptr, queries.target_items, section.ks)
    item_counts = np.bincount(run.dataset.train.items, minlength=run.dataset.num_items + 1)
    report = {
        **_description(arguments, run, len(queries)),
        "metrics": {name: float(values.mean()) for name, values in metrics.items()},
        "beyond_accuracy": beyond_accuracy(ranked, queries, item_counts, section.ks),
        "fidelity": {},
        "size_bytes": getattr(ranker, "size_bytes", None),
        "index": {},
        "latency_ms": {},
    }
    if run.world.first:
        report |= _measured(run, ranker, built, queries)
    users = [run.dataset.user_ids[user] for user in queries.users]
    return PerUser(users, metrics, identity(arguments, run.dataset.fingerprint), report)


def identity(arguments: EvalArguments, fingerprint: str) -> dict[str, Any]:
    """All that an evaluation depends on: two of the same identity have the same results.

    Args:
        arguments: of the evaluation.
        fingerprint: of the data set that the run was trained on.
    """
    sections = {"device", "crosses", "index", "eval"}
    return {
        "checkpoint": file_sha256(arguments.run_dir / BEST),
        "fingerprint": fingerprint,
        "retriever": arguments.retriever,
        "split": arguments.split,
        "config": arguments.config.model_dump(mode="json", include=sections),
    }


def _measured(run: Run, ranker: Ranker, built: BuildResult | None, queries: QuerySet) -> dict[str, Any]:
    """The parts of the report that one worker measures alone: index, fidelity, time of a query."""
    section = run.config.eval
    found: dict[str, Any] = {}
    first = ranker.first if isinstance(ranker, RescoringRanker) else ranker
    if built is not None and isinstance(first, IndexRanker):
        found["index"] = {**index_summary(built), **_reads(first, queries)}
        if section.fidelity_queries:
            with Progress("comparing the index with scoring every item"):
                found["fidelity"] = _fidelity(run, ranker, queries)
    if section.latency_queries:
        sample = queries.take(section.latency_queries)
        with Progress("timing single queries"):
            found["latency_ms"] = reports.latency(
                ranker, sample, max(section.ks), section.exclude_seen, section.threads
            )
    return found


def _description(arguments: EvalArguments, run: Run, num_queries: int) -> dict[str, Any]:
    """The part of the report that says what was evaluated, and what of the data set is known to leak."""
    config = arguments.config
    leaks = find_leaks(run.dataset, arguments.split)
    if leaks.text():
        _LOG.warning("data set %s leaks: %s", run.dataset.name, leaks.text())
    baseline = arguments.retriever if arguments.retriever in ("popularity", "crosses") else None
    return {
        "dataset": run.dataset.name,
        "model": baseline or config.model.name,
        "encoder": "none" if baseline else config.model.encoder.name,
        "retriever": arguments.retriever,
        "rescore": config.eval.rescore,
        "split": arguments.split,
        "seed": config.seed,
        "num_queries": num_queries,
        "num_items": run.dataset.num_items,
        "first_items": config.eval.first_items,
        "crosses": None if run.crosses is None else cross_summary(config, run.crosses),
        "settings": None if run.served.settings is None else asdict(run.served.settings),
        "leaks": {"in_history": leaks.in_history, "in_features": leaks.in_features},
    }


def _reads(ranker: IndexRanker, queries: QuerySet) -> dict[str, int]:
    """Postings that queries read."""
    reads = ranker.postings_read(queries)
    return {f"postings_read_p{part}": round(float(np.percentile(reads, part))) for part in (50, 99)}


def _fidelity(run: Run, ranker: Ranker, queries: QuerySet) -> dict[str, float]:
    """The index against exhaustive scoring by the same network: without quantization where it rescores.

    An index that loses much of what the network has without quantization is worth a warning.
    """
    section = run.config.eval
    exact = exact_ranker(run, quantize=not section.rescore)
    sample, k = queries.take(section.fidelity_queries), max(section.ks)
    signed = run.network.score.signed
    found = reports.fidelity(ranker, exact, sample, k, section.exclude_seen, signed)
    index = found[f"index_ndcg@{k}"]
    complete = own = index - found[f"ndcg_change@{k}"]
    if not section.rescore:
        ids = exact_ranker(run, quantize=False).rank(sample, k, section.exclude_seen).item_ids
        own = ranking_metrics(ids, sample.target_indptr, sample.target_items, (k,))[f"ndcg@{k}"]
    warning = index_loss_warning(
        IndexLoss(f"ndcg@{k}", index, complete, own), index_keys(run.config, run.served)
    )
    if warning:
        _LOG.warning("on %d queries %s", len(sample), warning)
    return {**found, f"model_ndcg@{k}": own}


def _queries_with_targets(run: Run, split: str) -> QuerySet:
    """Queries of a split.

    Raises:
        ConfigError: no user has a target in it.
    """
    config = run.config
    queries = queries_of(config, run.dataset, split, query_length(config, run.crosses))
    if not len(queries):
        raise ConfigError(
            f"no user of data set {run.dataset.name} has a target in the {split} split",
            where="data.protocol",
            expected="a protocol or ratio that leaves targets",
            received=f"{config.data.protocol}, ratios {config.data.valid_ratio} and {config.data.test_ratio}",
        )
    return queries
