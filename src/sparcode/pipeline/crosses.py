"""Composition of crosses: configuration and training data -> table, its weight chosen on validation users."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from sparcode.config.schema import Config
from sparcode.crosses import (
    CrossTable,
    FollowingOptions,
    RidgeOptions,
    following_weights,
    ridge_weights,
)
from sparcode.data.dataset import Dataset
from sparcode.errors import ConfigError
from sparcode.evaluation.cross_weight import choose_cross_weight
from sparcode.evaluation.rankers import SCORE_BATCH, CrossRanker
from sparcode.files import write_json
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.model_inputs import validation_queries
from sparcode.training.world import World

CHOICE_FILE = "crosses.json"
"""File of a run directory that says which weight was chosen, for what, and what it gained."""

_LOG = logging.getLogger(__name__)


def fit_crosses(config: Config, dataset: Dataset) -> CrossTable:
    """The table of the crosses section, with weight 1 where it does not name one."""
    section, train, num_items = config.crosses, dataset.train, dataset.num_items
    if section.kind == "following" and not dataset.ordered:
        raise ConfigError(
            f"crosses of following items need an order, data set {dataset.name} has none",
            where="crosses.kind",
            expected="ridge or none",
            received="following",
        )
    rows: csr_matrix
    if section.kind == "ridge":
        ridge = RidgeOptions(
            section.ridge, section.neighbours, section.user_power, section.item_power, section.known_items
        )
        rows = ridge_weights(train.indptr, train.items, num_items, ridge)
    else:
        names = FollowingOptions.__dataclass_fields__
        options = FollowingOptions(**{name: getattr(section, name) for name in names})
        rows = following_weights(train.indptr, train.items, num_items, options)
    length = section.max_history or config.data.max_history
    return CrossTable(
        rows,
        length,
        config.data.max_history,
        section.age_decay,
        section.weight or 1.0,
    )


@dataclass(frozen=True)
class TrainedModel:
    """A network whose crosses are wanted.

    Attributes:
        config: its configuration.
        dataset: its data.
        network: with the parameters that are served.
        step: training step that they are of.
    """

    config: Config
    dataset: Dataset
    network: MatchingNetwork
    step: int


def run_crosses(model: TrainedModel, run_dir: Path, world: World) -> CrossTable | None:
    """The crosses of a trained model, or None if it has none.

    Their weight is the configured one, or else the one that ranks the validation users best when it is added
    to the network's scores. It is kept in ``crosses.json`` of the run, beside all that it depends on. The
    validation users are divided among the workers.
    """
    config, dataset = model.config, model.dataset
    if config.crosses.kind == "none":
        return None
    crosses = fit_crosses(config, dataset)
    _LOG.info("crosses: %s, %d weights of %d items", config.crosses.kind, crosses.rows.nnz, dataset.num_items)
    if config.crosses.weight:
        return crosses
    chosen_for = {
        **config.crosses.model_dump(mode="json", exclude={"weight", "top_l"}),
        "probes": config.index.probes,
        "monitor": config.train.monitor,
        "first_items": config.eval.first_items,
        "step": model.step,
    }
    choice = _recorded(run_dir / CHOICE_FILE, chosen_for)
    missing = world.gather_sizes(int(choice is None)).any()  # a worker without the file needs the others
    if choice is None or missing:
        choice = _choose(model, crosses, world)
        if world.first:
            write_json(run_dir / CHOICE_FILE, {"chosen_for": chosen_for, **choice})
    return replace(crosses, weight=choice["weight"])


def _recorded(path: Path, chosen_for: dict[str, Any]) -> dict[str, Any] | None:
    """The choice on file if it was made for the same; anything else is chosen again."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("chosen_for") == chosen_for else None


def _choose(model: TrainedModel, crosses: CrossTable, world: World) -> dict[str, Any]:
    every = validation_queries(model.config, model.dataset, crosses.history_length)
    metric = model.config.train.monitor
    scorer = ExhaustiveScorer(model.network, model.dataset.num_items, SCORE_BATCH)
    queries = every.part(world.share(len(every)))
    choice = choose_cross_weight(scorer.scores, crosses, queries, [metric], world)
    _LOG.info(
        "crosses: weight %.4g chosen on %d validation users, %s %.4f instead of %.4f",
        choice.weight,
        choice.num_queries,
        metric,
        choice.metrics[metric],
        choice.values[0][metric],
    )
    tried = [{"weight": weight, **value} for weight, value in zip(choice.weights, choice.values, strict=True)]
    return {"weight": choice.weight, "tried": tried}


def cross_baseline(crosses: CrossTable | None) -> CrossRanker:
    """The ranker by crosses alone.

    Raises:
        ConfigError: the configuration has none.
    """
    if crosses is None:
        raise ConfigError(
            "there are no crosses to rank by",
            where="crosses.kind",
            expected="ridge or following",
            received="none",
        )
    return CrossRanker(crosses)


def cross_summary(config: Config, crosses: CrossTable) -> dict[str, Any]:
    """The part of an evaluation report that says what crosses were added."""
    return {
        "kind": config.crosses.kind,
        "weight": crosses.weight,
        "num_weights": int(crosses.rows.nnz),
        "max_history": crosses.history_length,
        "age_decay": crosses.age_decay,
    }
