"""Composition of training: configuration -> data, network, batches, validation, loop."""

from __future__ import annotations

import logging

# sets MindSpore's environment variables: before anything that imports MindSpore
from sparcode.training import runtime  # isort: skip

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.config.arguments import TrainArguments
from sparcode.config.by_size import filled_from
from sparcode.config.loader import config_differences, dump_config
from sparcode.config.run import RUN_CONFIG_NAME
from sparcode.config.run_choice import BEST, FINISHED_NAME, LAST
from sparcode.config.schema import Config
from sparcode.data.batching import BatchSource, make_batches
from sparcode.data.dataset import Dataset
from sparcode.data.samplers import CandidateSampler
from sparcode.errors import CheckpointError, ConfigError, OutputError
from sparcode.evaluation.validation import ValidationOptions, Validator
from sparcode.files import write_json, write_text
from sparcode.model.factory import build_network
from sparcode.model.inference import TrainingTokens
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.choices import TrainedModel, choose_served
from sparcode.pipeline.crosses import fit_crosses
from sparcode.pipeline.decided import decided
from sparcode.pipeline.model_inputs import batch_options, query_length, user_arrays, validation_queries
from sparcode.pipeline.runs import data_shape, load_data_together
from sparcode.pipeline.summary import log_summary, summarize, warn_of_index_loss
from sparcode.progress import Progress
from sparcode.training.callbacks import prepare_run_directory
from sparcode.training.checkpoint import load_into, read_checkpoint, stored_config
from sparcode.training.encoding import TrainingQueries
from sparcode.training.loop import LoopState, Trainer, TrainerParts
from sparcode.training.step import StepInputs
from sparcode.training.world import World

_LOG = logging.getLogger(__name__)

VALIDATION_PROBES = 4
"""Probes of validations during training, where the index section leaves them to be chosen."""

PLACES = ("data.path", "data.dataset_dir")
"""Keys that say where the data lies; a run may be resumed after it has moved."""


@dataclass(frozen=True)
class Fitted:
    """A network that has been trained by gradients; ``state.best`` is the metric of its best checkpoint."""

    config: Config
    dataset: Dataset
    network: MatchingNetwork
    world: World
    state: LoopState


def fit_run(arguments: TrainArguments, after_epoch: Callable[[dict[str, Any]], None] | None = None) -> Fitted:
    """Train into ``arguments.output_dir``; with ``resume`` continue from its last checkpoint.

    What the network is served with is not chosen.

    Args:
        arguments: of train.py.
        after_epoch: gets the record of every epoch; what it raises ends the training.
    """
    config, run_dir = arguments.config, arguments.output_dir
    world = runtime.configure(config.device, config.seed)
    if world.first:
        prepare_run_directory(run_dir)
    config = _resumed(config, run_dir) if arguments.resume else _new(config, run_dir)
    dataset = load_data_together(config, world)
    config = decided(config, dataset)
    network = build_network(config.model, data_shape(config, dataset))
    if isinstance(network, SparCode):
        # of training and validation; what is served is chosen at the end
        network.quantizer.probes = config.index.probes or min(VALIDATION_PROBES, config.model.codes_per_token)
        network.quantizer.probe_temperature = config.index.probe_temperature or 1.0
        network.quantizer.mixes_probes = network.adds_tokens
    _LOG.info(
        "%s on %s: %d users, %d items, %d training interactions, %d weights",
        config.model.name,
        dataset.name,
        dataset.num_users,
        dataset.num_items,
        len(dataset.train.items),
        sum(int(np.prod(parameter.shape)) for parameter in network.trainable_params()),
    )
    batches = make_batches(dataset, batch_options(config))
    arrays = user_arrays(config, dataset)
    queries = TrainingQueries(batches, arrays, world)
    parts = TrainerParts(
        network,
        batches,
        step_inputs(config, dataset, network, batches),
        make_validator(config, dataset, network, world),
        lambda: queries.sample_tokens(
            TrainingTokens(network, batches.every_position), network.quantizer.codebook_size
        ),
        dataset.fingerprint,
        world,
        after_epoch,
    )
    if world.first and not arguments.resume:
        write_text(run_dir / RUN_CONFIG_NAME, dump_config(config))
    return Fitted(config, dataset, network, world, Trainer(config, parts, run_dir).fit(arguments.resume))


def train_run(arguments: TrainArguments) -> None:
    """Train as ``fit_run`` does, and choose what the best checkpoint is served with."""
    fitted, run_dir = fit_run(arguments), arguments.output_dir
    config, dataset, network, world = fitted.config, fitted.dataset, fitted.network, fitted.world
    state = fitted.state
    best = run_dir / BEST
    parameters, meta = read_checkpoint(best)
    load_into(best, parameters, [network])
    model = TrainedModel(config, dataset, network, meta.step)
    served = choose_served(model, run_dir, world)
    with Progress("measuring the baselines on validation users"):
        summary = summarize(model, served, run_dir, world)
    if world.first:
        log_summary(summary, config, state.best_epoch)
        warn_of_index_loss(summary, config, served)
        write_json(run_dir / FINISHED_NAME, {"epochs": state.epoch, "best_epoch": state.best_epoch})
    _LOG.info(
        "done: best %s %.4f at epoch %d; run directory %s",
        config.train.monitor,
        state.best,
        state.best_epoch,
        run_dir,
    )
    world.leave()


def _new(config: Config, run_dir: Path) -> Config:
    """The configuration of a run in a directory that holds none.

    Raises:
        OutputError
    """
    if (run_dir / LAST).exists():
        raise OutputError(
            "the run directory already holds a run",
            where=run_dir,
            remedy="add --resume, delete it, or choose another --output_dir",
        )
    return config


def _resumed(config: Config, run_dir: Path) -> Config:
    """The configuration of a run that continues: what it leaves to the data is as the run has it.

    Raises:
        CheckpointError: there is no checkpoint, or one of another configuration.
    """
    last = run_dir / LAST
    _, meta = read_checkpoint(last)
    stored = stored_config(last, meta)
    config = filled_from(config, stored)
    differing = [
        key
        for key in config_differences(stored, config)
        if key.startswith(("seed", "model.", "train.", "data.")) and key not in PLACES
    ]
    if differing:
        raise CheckpointError(
            "the checkpoint was written by another configuration",
            where=last,
            received=f"different {', '.join(differing)}",
            remedy="resume with the configuration of the run (config.yaml beside it)",
        )
    return config


def step_inputs(
    config: Config, dataset: Dataset, network: MatchingNetwork, batches: BatchSource
) -> StepInputs:
    """What turns the batches into the tensors of a training step."""
    counts = np.bincount(dataset.train.items, minlength=dataset.num_items + 1)
    layers = network.encoder.noise_layers
    noise = (layers, batches.rows_per_batch, config.data.max_history, config.model.embedding_size)
    has_codes = isinstance(network, SparCode)
    return StepInputs(
        config.seed,
        CandidateSampler(config.train.loss, counts),
        noise,
        network.quantizer.rows if has_codes else 0,
        network.num_tokens // network.quantizer.num_slots if has_codes else 1,
        user_arrays(config, dataset),
        config.train.quantized_share,
    )


def make_validator(config: Config, dataset: Dataset, network: MatchingNetwork, world: World) -> Validator:
    """What measures the network on the sample of validation users, with the crosses that it is served with.

    Raises:
        ConfigError: no user has a validation target.
    """
    crosses = None if config.crosses.kind == "none" else replace(fit_crosses(config, dataset), weight=1.0)
    queries = validation_queries(config, dataset, query_length(config, crosses))
    if not len(queries):
        raise ConfigError(
            "no user has a validation target",
            where="data.protocol",
            remedy="choose a protocol or ratio that leaves validation targets",
        )
    _LOG.info(
        "validation: %d users, %s, probes %d, crosses %s",
        len(queries),
        config.train.monitor,
        network.quantizer.probes if isinstance(network, SparCode) else 0,
        config.crosses.kind,
    )
    weights = [config.crosses.weight] if config.crosses.weight else None
    options = ValidationOptions(config.train.monitor, config.eval.ks, weights)
    return Validator(network, queries, options, crosses, world)
