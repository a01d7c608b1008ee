"""Composition of what a training ends with: the model beside popularity and crosses alone, and its index.

Measured on the validation users by full ranking and kept in ``summary.json`` of the run.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.evaluation.baselines import (
    CROSSES,
    INDEX,
    MODEL,
    POPULARITY,
    WITH_CROSSES,
    below_baseline,
    table_of_rows,
)
from sparcode.evaluation.cross_weight import choose_cross_weight
from sparcode.evaluation.index_choice import IndexChoice, ListSources
from sparcode.evaluation.index_loss import TOLERATED, IndexKeys, IndexLoss, index_loss_warning
from sparcode.evaluation.metrics import RANKING_METRICS, parse_metric
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import SCORE_BATCH, CrossRanker, ExhaustiveRanker, PopularityRanker
from sparcode.evaluation.report import relevance
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.model.matchers.sparcode import SparCode
from sparcode.pipeline.choices import Served, TrainedModel, chosen_for, list_scale
from sparcode.pipeline.index import build_options
from sparcode.pipeline.model_inputs import query_length, validation_queries
from sparcode.pipeline.records import made_once
from sparcode.training.world import World

SUMMARY_FILE = "summary.json"
"""File of a run directory with metrics of the model, its index and the baselines on validation users."""

_LOG = logging.getLogger(__name__)


def summarize(model: TrainedModel, served: Served, run_dir: Path, world: World) -> dict[str, Any]:
    """Rows of metrics on the validation users, measured once for what is served.

    Returns:
        ``users``, ``rows`` by name with the row of what is served last, and ``complete_lists``: metrics of
        the codes without cut lists, where the index loses much of the model's own NDCG, else None.
    """

    def measure() -> dict[str, Any]:
        queries = validation_queries(model.config, model.dataset, query_length(model.config, served.crosses))
        rows = _rows(model, served, queries, world)
        ndcg = _ndcg(model.config)
        complete = None
        if INDEX in rows and IndexLoss(ndcg, rows[INDEX][ndcg], 0.0, _exact(rows)[ndcg]).share > TOLERATED:
            ranker = ExhaustiveRanker(
                model.network, model.dataset.num_items, True, served.crosses, served.posterior
            )
            complete = relevance(ranker, queries, _ks(model.config), True, world)
        return {"users": len(queries), "rows": rows, "complete_lists": complete}

    return made_once(run_dir / SUMMARY_FILE, {**chosen_for(model), "ks": _ks(model.config)}, measure, world)


def log_summary(summary: dict[str, Any], config: Config, best_epoch: int) -> None:
    """Log the table, and a warning when the model is below a baseline."""
    monitor, rows = config.train.monitor, summary["rows"]
    names = [f"{name}@{k}" for k in (min(_ks(config)), max(_ks(config))) for name in ("recall", "ndcg")]
    metrics = list(dict.fromkeys([monitor, *names]))
    _LOG.info("on %d validation users:", summary["users"])
    for line in table_of_rows(rows, metrics):
        _LOG.info("%s", line)
    warning = below_baseline(rows, monitor, best_epoch, config.train.epochs)
    if warning:
        _LOG.warning("%s", warning)


def warn_of_index_loss(summary: dict[str, Any], config: Config, served: Served) -> None:
    """Log a warning when the index loses much of the model's own NDCG on the validation users.

    Rescoring is not part of the summary: with ``eval.rescore`` evaluation alone can tell.
    """
    rows, complete, ndcg = summary["rows"], summary["complete_lists"], _ndcg(config)
    if complete is None or config.eval.rescore:
        return
    loss = IndexLoss(ndcg, rows[INDEX][ndcg], complete[ndcg], _exact(rows)[ndcg])
    warning = index_loss_warning(loss, index_keys(config, served))
    if warning:
        _LOG.warning("on validation users %s", warning)


def index_keys(config: Config, served: Served) -> IndexKeys:
    """The keys that decide what an index loses, of a sparcode model."""
    return IndexKeys(
        config.index.top_l,
        None if served.crosses is None else config.crosses.top_l,
        config.index.max_bytes,
        config.index.probes if served.settings is None else served.settings.probes,
        config.model.quantizer.codebook_size,  # type: ignore[attr-defined]
        config.eval.rescore,
    )


def _rows(
    model: TrainedModel, served: Served, queries: QuerySet, world: World
) -> dict[str, dict[str, float]]:
    ks, crosses, network = _ks(model.config), served.crosses, model.network
    rows = {POPULARITY: relevance(PopularityRanker(model.dataset), queries, ks, True, world)}
    if crosses is not None:
        rows[CROSSES] = relevance(CrossRanker(crosses), queries, ks, True, world)
        scorer = ExhaustiveScorer(network, model.dataset.num_items, SCORE_BATCH)
        keys = [f"{name}@{k}" for k in ks for name in RANKING_METRICS]
        own = queries.part(world.share(len(queries)))
        both = choose_cross_weight(
            scorer.scores, _unweighted(crosses), own, keys, world, [0.0, crosses.weight]
        )
        rows[MODEL], rows[WITH_CROSSES] = both.values
    else:
        ranker = ExhaustiveRanker(network, model.dataset.num_items, False)
        rows[MODEL] = relevance(ranker, queries, ks, True, world)
    if isinstance(network, SparCode):
        rows[INDEX] = _index_row(model, network, served, queries, world)
    return rows


def _index_row(
    model: TrainedModel, network: SparCode, served: Served, queries: QuerySet, world: World
) -> dict[str, float]:
    """Metrics from the lists that the queries ask for."""
    config, crosses, settings = model.config, served.crosses, served.settings
    if settings is None:
        raise TypeError("a sparcode model is served with settings")
    sources = ListSources(
        network,
        model.dataset.num_items,
        build_options(config, network),
        None if served.posterior is None else served.posterior.counts,
        list_scale(config, network),
        None if crosses is None else (_unweighted(crosses), config.crosses.top_l),
    )
    own = queries.part(world.share(len(queries)))
    choice = IndexChoice(sources, own, config.train.monitor, world, settings.probes)
    weight = None if crosses is None else crosses.weight
    return choice.metrics(replace(settings, cross_weight=weight), _ks(config))


def _unweighted(crosses: CrossTable) -> CrossTable:
    return replace(crosses, weight=1.0)


def _exact(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """The network's own row, with crosses if there are any."""
    return rows.get(WITH_CROSSES, rows[MODEL])


def _ks(config: Config) -> list[int]:
    return sorted({*config.eval.ks, parse_metric(config.train.monitor)[1]})


def _ndcg(config: Config) -> str:
    return f"ndcg@{parse_metric(config.train.monitor)[1]}"
