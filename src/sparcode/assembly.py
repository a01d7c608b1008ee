"""Composition root: configuration -> data, network, training, index, evaluation, bundle.

The only module that knows every room. Nothing here is an algorithm; look into the rooms for those.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# sets MindSpore's environment variables: before anything that imports MindSpore
from sparcode.training import runtime  # isort: skip

import numpy as np
from numpy.typing import NDArray

from sparcode.assembly_index import build_network_index, index_parts, index_summary
from sparcode.config.arguments import EvalArguments, ExportArguments, TrainArguments
from sparcode.config.loader import config_differences, dump_config
from sparcode.config.schema import Config
from sparcode.data.batching import BatchOptions, BatchSource, make_batches
from sparcode.data.dataset import Dataset, prepare_dataset
from sparcode.data.samplers import CandidateSampler
from sparcode.errors import CheckpointError, ConfigError, OutputError
from sparcode.evaluation import report as reports
from sparcode.evaluation.ann import ExactSearch, HnswSearch, IvfSearch
from sparcode.evaluation.metrics import ranking_metrics
from sparcode.evaluation.queries import QuerySet, encode_queries, query_set
from sparcode.evaluation.rankers import (
    ExhaustiveRanker,
    IndexRanker,
    PopularityRanker,
    Ranker,
    VectorRanker,
    item_vectors,
)
from sparcode.index import BuildResult
from sparcode.model.factory import DataShape, build_network
from sparcode.model.inference import TokenEncoder
from sparcode.model.matching import MatchingNetwork
from sparcode.model.sparcode import SparCode
from sparcode.training.callbacks import prepare_run_directory
from sparcode.training.checkpoint import load_into, read_checkpoint
from sparcode.training.loop import Trainer, TrainerParts
from sparcode.training.step import StepInputs

_LOG = logging.getLogger(__name__)

KMEANS_QUERIES = 20_000
"""Queries on whose tokens the codebooks are fitted."""

PLACES = ("data.path", "data.dataset_dir")
"""Keys that say where the data lies; a run may be resumed after it has moved."""

VALIDATION_STREAM = 11
"""Seed of the sample of validation users, the same for every run so that runs compare."""


@dataclass(frozen=True)
class Run:
    """A trained model with its data."""

    config: Config
    dataset: Dataset
    network: MatchingNetwork


# ---- construction


def load_data(config: Config) -> Dataset:
    """The data set of a configuration, checked against what its encoder needs.

    Raises:
        ConfigError: encoder and data set do not fit.
    """
    dataset = prepare_dataset(config.data)
    encoder = config.model.encoder.name
    if encoder != "dnn" and not dataset.ordered:
        raise ConfigError(
            f"encoder {encoder} reads the order of the history, data set {dataset.name} has none",
            where="model.encoder.name",
            expected="dnn for data without timestamps",
            received=encoder,
        )
    if dataset.query_kind == "features" and not (config.data.use_user_features and dataset.user_features):
        raise ConfigError(
            f"queries of data set {dataset.name} are user features alone",
            where="data.use_user_features",
            expected=True,
            received=False,
        )
    return dataset


def data_shape(config: Config, dataset: Dataset) -> DataShape:
    """What the network needs to know of the data."""
    return DataShape(
        num_items=dataset.num_items,
        history_length=config.data.max_history,
        item_features=dataset.item_features if config.data.use_item_features else (),
        user_features=dataset.user_features if config.data.use_user_features else (),
        item_arrays=dataset.item_arrays,
        use_item_ids=config.data.use_item_ids,
    )


def _user_feature_names(config: Config, dataset: Dataset) -> tuple[str, ...]:
    specs = dataset.user_features if config.data.use_user_features else ()
    return tuple(spec.name for spec in specs)


def queries_of(
    config: Config, dataset: Dataset, split: str, max_users: int, seed: int | None = None
) -> QuerySet:
    """Evaluation queries of a split as the encoder reads them."""
    names = _user_feature_names(config, dataset)
    return query_set(dataset, split, config.data.max_history, names, max_users, seed)


# ---- training


def train_run(arguments: TrainArguments) -> None:
    """Train into ``arguments.output_dir``; with ``resume`` continue from its last checkpoint."""
    config, run_dir = arguments.config, arguments.output_dir
    runtime.configure(config.device, config.seed)
    _check_run_directory(arguments)
    dataset = load_data(config)
    network = build_network(config.model, data_shape(config, dataset))
    _LOG.info(
        "%s on %s: %d users, %d items, %d training interactions, %d weights",
        config.model.name,
        dataset.name,
        dataset.num_users,
        dataset.num_items,
        len(dataset.train.items),
        sum(int(np.prod(parameter.shape)) for parameter in network.trainable_params()),
    )
    options = BatchOptions(
        config.train.batch_size, config.data.max_history, config.train.targets_per_sequence, config.seed
    )
    batches = make_batches(dataset, options)
    parts = TrainerParts(
        network,
        batches,
        _step_inputs(config, dataset, network, batches),
        _Validator(config, dataset, network),
        lambda: _sample_tokens(config, dataset, network, batches),
        dataset.fingerprint,
    )
    if not arguments.resume:
        (run_dir / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    state = Trainer(config, parts, run_dir).fit(arguments.resume)
    _LOG.info(
        "done: best %s %.4f at epoch %d; run directory %s",
        config.train.monitor,
        state.best,
        state.best_epoch,
        run_dir,
    )


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
        for key in config_differences(Config.model_validate(meta.config, strict=False), arguments.config)
        if key.startswith(("seed", "model.", "train.", "data."))
        and key not in ("data.path", "data.dataset_dir")
    ]
    if differing:
        raise CheckpointError(
            "the checkpoint was written by another configuration",
            where=last,
            received=f"different {', '.join(differing)}",
            remedy="resume with the configuration of the run (config.yaml beside it)",
        )


def _step_inputs(
    config: Config, dataset: Dataset, network: MatchingNetwork, batches: BatchSource
) -> StepInputs:
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
        [np.asarray(dataset.user_arrays[name]) for name in _user_feature_names(config, dataset)],
    )


class _Validator:
    """Full ranking of the validation split by the network, in the phase the training is in."""

    def __init__(self, config: Config, dataset: Dataset, network: MatchingNetwork) -> None:
        self._config, self._dataset, self._network = config, dataset, network
        self._queries = queries_of(config, dataset, "valid", config.train.validation_users, VALIDATION_STREAM)
        if not len(self._queries):
            raise ConfigError(
                "no user has a validation target",
                where="data.protocol",
                remedy="choose a protocol or ratio that leaves validation targets",
            )
        monitored = int(config.train.monitor.split("@")[1])
        self._ks = sorted({*config.eval.ks, monitored})
        self._rankers: dict[bool, ExhaustiveRanker] = {}

    def __call__(self, quantized: bool) -> dict[str, float]:
        if quantized not in self._rankers:
            self._rankers[quantized] = ExhaustiveRanker(self._network, self._dataset.num_items, quantized)
        ranker = self._rankers[quantized]
        ranker.refresh()
        result = ranker.rank(self._queries, max(self._ks), exclude_seen=True)
        return ranking_metrics(
            result.item_ids, self._queries.target_indptr, self._queries.target_items, self._ks
        )


def _sample_tokens(
    config: Config, dataset: Dataset, network: MatchingNetwork, batches: BatchSource
) -> NDArray[np.float32]:
    """Tokens (Q, K_u, D) of histories from the first training batches."""
    cell = TokenEncoder(network)
    names = _user_feature_names(config, dataset)
    pieces: list[NDArray[np.float32]] = []
    wanted = KMEANS_QUERIES
    for batch in batches.epoch(0):
        real = np.unique(batch.query_index[batch.weights > 0] // batch.history.shape[1])
        rows = [np.asarray(dataset.user_arrays[name][batch.users[real]]) for name in names]
        pieces.extend(encode_queries(cell, batch.history[real], rows, config.train.batch_size))
        wanted -= len(pieces[-1])
        if wanted <= 0:
            break
    return np.concatenate(pieces)


# ---- after training


def open_run(config: Config, run_dir: Path) -> Run:
    """Load data and the best checkpoint of a run.

    Raises:
        CheckpointError: missing, damaged, or not of this configuration and data set.
    """
    runtime.configure(config.device, config.seed)
    path = run_dir / "checkpoints" / "best.ckpt"
    parameters, meta = read_checkpoint(path)
    stored = Config.model_validate(meta.config, strict=False)
    differing = [key for key in config_differences(stored, config) if key.startswith("model.")]
    if differing:
        raise CheckpointError(
            "the checkpoint was written by another configuration",
            where=path,
            received=f"different {differing}",
        )
    dataset = load_data(config)
    if meta.fingerprint != dataset.fingerprint:
        raise CheckpointError(
            "the checkpoint was trained on another data set",
            where=path,
            expected=f"fingerprint {meta.fingerprint}",
            received=f"{dataset.fingerprint} in {config.data.dataset_dir}",
            remedy="point data.dataset_dir at the data set of the run",
        )
    network = build_network(config.model, data_shape(config, dataset))
    load_into(path, parameters, [network])
    if isinstance(network, SparCode):
        network.quantizer.probes = config.index.probes  # training asks for the nearest code alone
    return Run(config, dataset, network)


def build_run_index(run: Run, parts: Path) -> BuildResult:
    """Build the inverted index of a trained sparcode model as the index section says, with part files."""
    network = run.network
    if not isinstance(network, SparCode):
        raise ConfigError(
            "only a sparcode model has an index", where="model.name", received=run.config.model.name
        )
    features = _user_feature_names(run.config, run.dataset)
    return build_network_index(network, run.config, run.dataset, features, parts)


def make_ranker(run: Run, retriever: str, parts: Path) -> tuple[Ranker, BuildResult | None]:
    """The ranker that ``--retriever`` names, and the index build behind it, with part files."""
    network, section = run.network, run.config.eval
    if retriever == "popularity":
        return PopularityRanker(run.dataset), None
    if retriever == "index":
        built = build_run_index(run, parts)
        return IndexRanker(network, built.index, section.batch_size, section.threads), built
    if run.config.model.name == "two_tower":
        kinds = {"exact": ExactSearch, "hnsw": HnswSearch, "ivf": IvfSearch}
        search = kinds[retriever](item_vectors(network, run.dataset.num_items))
        return VectorRanker(network, search, retriever, section.batch_size), None
    return ExhaustiveRanker(network, run.dataset.num_items), None


def evaluate_run(arguments: EvalArguments) -> dict[str, Any]:
    """Evaluate a run and write ``--json``; the report is documented in docs/evaluation_protocol.md."""
    with index_parts(arguments.run_dir) as parts:
        return _evaluate_run(arguments, parts)


def _evaluate_run(arguments: EvalArguments, parts: Path) -> dict[str, Any]:
    config = arguments.config
    if arguments.json_path is not None:
        reports.check_json_path(arguments.json_path)
    run = open_run(config, arguments.run_dir)
    queries = queries_of(config, run.dataset, arguments.split, config.eval.max_users)
    ks, seen = config.eval.ks, config.eval.exclude_seen
    ranker, built = make_ranker(run, arguments.retriever, parts)
    _LOG.info("ranking %d queries by %s", len(queries), arguments.retriever)
    baseline = arguments.retriever == "popularity"
    report: dict[str, Any] = {
        "dataset": run.dataset.name,
        "model": "popularity" if baseline else config.model.name,
        "encoder": "none" if baseline else config.model.encoder.name,
        "retriever": arguments.retriever,
        "split": arguments.split,
        "seed": config.seed,
        "num_queries": len(queries),
        "num_items": run.dataset.num_items,
        "metrics": reports.relevance(ranker, queries, ks, seen),
        "fidelity": {},
        "index": {},
        "latency_ms": {},
    }
    if built is not None and isinstance(ranker, IndexRanker):
        report["index"] = index_summary(built)
        report["index"]["redirected_terms"] = ranker.redirected_share(queries)
        if config.eval.fidelity_queries:
            exact = ExhaustiveRanker(run.network, run.dataset.num_items)
            sample = queries.take(config.eval.fidelity_queries)
            report["fidelity"] = reports.fidelity(
                ranker, exact, sample, max(ks), seen, config.model.signed_scores
            )
    if config.eval.latency_queries:
        sample = queries.take(config.eval.latency_queries)
        report["latency_ms"] = reports.latency(ranker, sample, max(ks), seen, config.eval.threads)
    if arguments.json_path is not None:
        reports.write_json(arguments.json_path, report)
    return report


def export_run(arguments: ExportArguments) -> Any:
    """Export a run as a deployment bundle, verified by reloading it."""
    from sparcode.serving.exporter import ExportRequest, export_bundle

    run = open_run(arguments.config, arguments.run_dir)
    network = run.network
    has_codes = isinstance(network, SparCode)
    codebooks = network.term_codebooks() if has_codes else None
    with index_parts(arguments.run_dir) as parts:
        index = build_run_index(run, parts).index if has_codes else None
        request = ExportRequest(network, run.dataset, run.config, index, codebooks, arguments.output)
        return export_bundle(request)
