"""Composition of training: configuration -> data, network, batches, validation, loop."""

from __future__ import annotations

import logging

# sets MindSpore's environment variables: before anything that imports MindSpore
from sparcode.training import runtime  # isort: skip

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparcode.config.arguments import TrainArguments
from sparcode.config.loader import config_differences, dump_config
from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.batching import BatchSource, make_batches
from sparcode.data.dataset import Dataset
from sparcode.data.samplers import CandidateSampler
from sparcode.errors import CheckpointError, ConfigError, OutputError
from sparcode.evaluation.cross_weight import choose_cross_weight
from sparcode.evaluation.metrics import RANKING_METRICS
from sparcode.evaluation.queries import encode_queries
from sparcode.evaluation.rankers import SCORE_BATCH, ExhaustiveRanker
from sparcode.evaluation.report import relevance
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.model.factory import build_network
from sparcode.model.inference import TokenEncoder
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.crosses import TrainedModel, fit_crosses, run_crosses
from sparcode.pipeline.queries import batch_options, query_length, user_feature_names, validation_queries
from sparcode.pipeline.runs import data_shape, load_data_together, load_trained
from sparcode.training.callbacks import prepare_run_directory
from sparcode.training.checkpoint import read_checkpoint, stored_config
from sparcode.training.loop import Trainer, TrainerParts
from sparcode.training.step import StepInputs
from sparcode.training.world import World

_LOG = logging.getLogger(__name__)

KMEANS_QUERIES = 20_000
"""Queries on whose tokens the codebooks are fitted."""

PLACES = ("data.path", "data.dataset_dir")
"""Keys that say where the data lies; a run may be resumed after it has moved."""


def train_run(arguments: TrainArguments) -> None:
    """Train into ``arguments.output_dir``; with ``resume`` continue from its last checkpoint."""
    config, run_dir = arguments.config, arguments.output_dir
    world = runtime.configure(config.device, config.seed)
    if world.first:
        _check_run_directory(arguments)
    dataset = load_data_together(config, world)
    network = build_network(config.model, data_shape(config, dataset))
    if isinstance(network, SparCode):
        network.quantizer.probes = config.index.probes  # of validation: training has the nearest code alone
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
    parts = TrainerParts(
        network,
        batches,
        step_inputs(config, dataset, network, batches),
        _Validator(config, dataset, network, world),
        lambda: sample_tokens(config, dataset, network, batches, world),
        dataset.fingerprint,
        world,
    )
    if world.first and not arguments.resume:
        (run_dir / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    state = Trainer(config, parts, run_dir).fit(arguments.resume)
    if config.crosses.kind != "none":
        best = run_dir / "checkpoints" / "best.ckpt"
        parameters, meta = read_checkpoint(best)
        load_trained(config, network, best, parameters)
        run_crosses(TrainedModel(config, dataset, network, meta.step), run_dir, world)
    _LOG.info(
        "done: best %s %.4f at epoch %d; run directory %s",
        config.train.monitor,
        state.best,
        state.best_epoch,
        run_dir,
    )
    world.leave()


def _check_run_directory(arguments: TrainArguments) -> None:
    """A new run wants a directory without one, a resumed run the same configuration.

    Raises:
        OutputError, CheckpointError
    """
    run_dir = arguments.output_dir
    prepare_run_directory(run_dir)
    last = run_dir / "checkpoints" / "last.ckpt"
    if not arguments.resume:
        if last.exists():
            raise OutputError(
                "the run directory already holds a run",
                where=run_dir,
                remedy="add --resume, delete it, or choose another --output_dir",
            )
        return
    _, meta = read_checkpoint(last)
    differing = [
        key
        for key in config_differences(stored_config(last, meta), arguments.config)
        if key.startswith(("seed", "model.", "train.", "data.")) and key not in PLACES
    ]
    if differing:
        raise CheckpointError(
            "the checkpoint was written by another configuration",
            where=last,
            received=f"different {', '.join(differing)}",
            remedy="resume with the configuration of the run (config.yaml beside it)",
        )


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
        [np.asarray(dataset.user_arrays[name]) for name in user_feature_names(config, dataset)],
        config.train.quantized_share,
    )


class _Validator:
    """Full ranking of the validation split as the model is served, or as its first phase has it.

    Served is with the probes of the index and with crosses. A weight of theirs that is not configured is
    chosen on the same users, as ``run_crosses`` chooses that of the best checkpoint: both have one metric.
    The users are divided among the workers.
    """

    def __init__(self, config: Config, dataset: Dataset, network: MatchingNetwork, world: World) -> None:
        self._config, self._dataset, self._network, self._world = config, dataset, network, world
        self._crosses: CrossTable | None = None
        if config.crosses.kind != "none":
            self._crosses = replace(fit_crosses(config, dataset), weight=1.0)
        self._queries = validation_queries(config, dataset, query_length(config, self._crosses))
        if not len(self._queries):
            raise ConfigError(
                "no user has a validation target",
                where="data.protocol",
                remedy="choose a protocol or ratio that leaves validation targets",
            )
        monitored = int(config.train.monitor.split("@")[1])
        self._ks = sorted({*config.eval.ks, monitored})
        self._measures: dict[bool, Callable[[], dict[str, float]]] = {}
        _LOG.info(
            "validation: %d users, %s, probes %d, crosses %s",
            len(self._queries),
            config.train.monitor,
            config.index.probes if isinstance(network, SparCode) else 0,
            config.crosses.kind,
        )

    def __call__(self, quantized: bool) -> dict[str, float]:
        if quantized not in self._measures:
            self._measures[quantized] = self._measure(quantized)
        return self._measures[quantized]()

    def _measure(self, quantized: bool) -> Callable[[], dict[str, float]]:
        """What measures the present weights; its graphs are compiled once."""
        num_items, crosses = self._dataset.num_items, self._crosses
        network = self._network if quantized else self._network.warm_start()
        if crosses is not None:
            scorer = ExhaustiveScorer(network, num_items, SCORE_BATCH, quantized)
            return lambda: self._with_crosses(scorer, crosses)
        ranker = ExhaustiveRanker(network, num_items, quantized)

        def alone() -> dict[str, float]:
            ranker.refresh()
            return relevance(ranker, self._queries, self._ks, True, self._world)

        return alone

    def _with_crosses(self, scorer: ExhaustiveScorer, crosses: CrossTable) -> dict[str, float]:
        scorer.refresh()
        monitor, given = self._config.train.monitor, self._config.crosses.weight
        keys = [f"{name}@{k}" for name in RANKING_METRICS for k in self._ks]
        keys.sort(key=lambda key: key != monitor)  # the first one decides
        own = self._queries.part(self._world.share(len(self._queries)))
        choice = choose_cross_weight(
            scorer.scores, crosses, own, keys, self._world, [given] if given else None
        )
        return {**choice.metrics, "cross_weight": choice.weight}


def sample_tokens(
    config: Config, dataset: Dataset, network: MatchingNetwork, batches: BatchSource, world: World
) -> NDArray[np.float32]:
    """Tokens (Q, K_u, D) of histories from the first training batches, divided among the workers."""
    names = user_feature_names(config, dataset)
    histories: list[NDArray[np.int32]] = []
    users: list[NDArray[np.int64]] = []
    wanted = KMEANS_QUERIES
    for batch in batches.epoch(0):
        real = np.unique(batch.query_index[batch.weights > 0] // batch.history.shape[1])
        histories.append(batch.history[real])
        users.append(batch.users[real])
        wanted -= len(real)
        if wanted <= 0:
            break
    own = world.share(sum(map(len, users)))
    history, user = np.concatenate(histories)[own], np.concatenate(users)[own]
    rows = [np.asarray(dataset.user_arrays[name][user]) for name in names]
    (tokens,) = encode_queries(TokenEncoder(network), history, rows, config.train.batch_size)
    return world.gather(tokens)
