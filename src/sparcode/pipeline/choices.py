"""Composition of what is chosen after training: probes, temperature, prior strength, weight of the crosses.

Each choice is kept in ``choices.json`` of the run beside all that it depends on, and made once.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.batching import make_batches
from sparcode.data.dataset import Dataset
from sparcode.evaluation.cross_weight import choose_cross_weight
from sparcode.evaluation.index_choice import IndexChoice, IndexSettings, ListSources, SettingsTried
from sparcode.evaluation.rankers import SCORE_BATCH
from sparcode.index import CodeCounts, Posterior
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.model.inference import TrainingTerms
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.crosses import fit_crosses
from sparcode.pipeline.index import build_options
from sparcode.pipeline.model_inputs import batch_options, query_length, user_arrays, validation_queries
from sparcode.pipeline.records import made_once
from sparcode.progress import Progress
from sparcode.training.encoding import TrainingQueries
from sparcode.training.world import World

CHOICE_FILE = "choices.json"
"""File of a run directory that says what was chosen, for what, and what was tried."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A network that is going to be served.

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


@dataclass(frozen=True)
class Served:
    """What a network is served with.

    Attributes:
        crosses: with their weight; None = there are none.
        posterior: correction of the lists of codes; None = lists of the network alone.
        settings: of the index, None for models without one.
    """

    crosses: CrossTable | None = None
    posterior: Posterior | None = None
    settings: IndexSettings | None = None


def choose_served(model: TrainedModel, run_dir: Path, world: World) -> Served:
    """Fit crosses and counts, and choose what the configuration leaves open on the validation users.

    The network's quantizer gets the chosen probes. The validation users are divided among the workers.
    """
    config, network = model.config, model.network
    crosses = None if config.crosses.kind == "none" else fit_crosses(config, model.dataset)
    if crosses is not None:
        _LOG.info(
            "crosses: %s, %d weights of %d items", config.crosses.kind, crosses.rows.nnz, crosses.num_items
        )
    if not isinstance(network, SparCode):
        return Served(_weighted(model, crosses, run_dir, world))
    return _served_codes(model, network, crosses, run_dir, world)


def _served_codes(
    model: TrainedModel, network: SparCode, crosses: CrossTable | None, run_dir: Path, world: World
) -> Served:
    config, tried = model.config, _tried(model.config, network)
    counts = None
    settings = tried.fixed
    if settings is None or (crosses is not None and settings.cross_weight is None):

        def choose() -> dict[str, Any]:
            nonlocal counts
            wanted = any(strength is not None for strength in tried.strengths)
            counts = count_codes(model, network, world) if wanted else None
            return _choose_settings(
                model,
                ListSources(
                    network,
                    model.dataset.num_items,
                    build_options(config, network),
                    counts,
                    list_scale(config, network),
                    None if crosses is None else (replace(crosses, weight=1.0), config.crosses.top_l),
                ),
                tried,
                world,
            )

        settings = IndexSettings(
            **made_once(run_dir / CHOICE_FILE, chosen_for(model), choose, world)["settings"]
        )
    network.quantizer.probes = settings.probes
    network.quantizer.probe_temperature = settings.probe_temperature
    posterior = None
    if settings.prior_strength is not None:
        counts = count_codes(model, network, world) if counts is None else counts
        posterior = Posterior(counts, settings.prior_strength, list_scale(config, network))
    if crosses is not None and settings.cross_weight is not None:
        crosses = replace(crosses, weight=settings.cross_weight)
    return Served(crosses, posterior, settings)


def list_scale(config: Config, network: SparCode) -> float:
    """Of the scores of one list in the softmax of the model, see ``Posterior``."""
    return network.num_tokens / config.model.temperature


def count_codes(model: TrainedModel, network: SparCode, world: World) -> CodeCounts:
    """Counts of what followed the training queries of each code."""
    config = model.config
    every_target = replace(
        batch_options(config), targets_per_sequence=config.data.max_history, vary_history=False
    )
    batches = make_batches(model.dataset, every_target)
    queries = TrainingQueries(batches, user_arrays(config, model.dataset), world)
    cell = TrainingTerms(network, batches.every_position)
    with Progress("counting what follows the codes"):
        counts = queries.count_followers(cell, network.quantizer.num_terms)
    _LOG.info("counted %d pairs of code and item in the training data", len(counts.counts))
    return counts


def _tried(config: Config, network: SparCode) -> SettingsTried:
    """What the configuration leaves to choose."""
    index, tried = config.index, SettingsTried()
    strengths = tried.strengths if network.score.signed else (None,)
    return SettingsTried(
        (index.probes,) if index.probes else tried.probes,
        (index.probe_temperature,) if index.probe_temperature else tried.temperatures,
        strengths if index.prior_strength == 0 else (index.prior_strength,),
        config.crosses.weight or None,
    )


def _choose_settings(
    model: TrainedModel, sources: ListSources, tried: SettingsTried, world: World
) -> dict[str, Any]:
    config, crosses = model.config, None if sources.crosses is None else sources.crosses[0]
    every = validation_queries(config, model.dataset, query_length(config, crosses))
    queries = every.part(world.share(len(every)))
    with Progress("choosing how the index is searched"):
        choice = IndexChoice(sources, queries, config.train.monitor, world, max(tried.probes))
        settings = choice.choose(tried)
    values = {**asdict(settings), config.train.monitor: choice.best_value}
    _LOG.info("index: chosen on %d validation users: %s", len(every), _text(values))
    return {"settings": asdict(settings), "tried": choice.tried}


def _weighted(
    model: TrainedModel, crosses: CrossTable | None, run_dir: Path, world: World
) -> CrossTable | None:
    """Crosses with the configured weight, or else with that which ranks the validation users best."""
    if crosses is None or model.config.crosses.weight:
        return crosses
    table = crosses

    def choose() -> dict[str, Any]:
        return _choose_weight(model, table, world)

    return replace(
        crosses, weight=made_once(run_dir / CHOICE_FILE, chosen_for(model), choose, world)["weight"]
    )


def _choose_weight(model: TrainedModel, crosses: CrossTable, world: World) -> dict[str, Any]:
    every = validation_queries(model.config, model.dataset, crosses.history_length)
    metric = model.config.train.monitor
    scorer = ExhaustiveScorer(model.network, model.dataset.num_items, SCORE_BATCH)
    queries = every.part(world.share(len(every)))
    with Progress("choosing the weight of the crosses"):
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


def chosen_for(model: TrainedModel) -> dict[str, Any]:
    """All that a choice depends on."""
    config = model.config
    lists = config.index.model_dump(
        mode="json", include={"top_l", "probes", "probe_temperature", "prior_strength"}
    )
    crosses = config.crosses.model_dump(mode="json")
    if config.crosses.kind == "none":
        crosses = {"kind": "none"}
    return {
        "crosses": crosses,
        "index": lists if isinstance(model.network, SparCode) else {},
        "monitor": config.train.monitor,
        "validation_users": config.train.validation_users,
        "first_items": config.eval.first_items,
        "step": model.step,
    }


def _text(values: dict[str, Any]) -> str:
    named = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {value:.4g}" for name, value in named.items())
