"""Composition of a trained run: configuration and run directory -> data, network, crosses, index, ranker."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

# sets MindSpore's environment variables: before anything that imports MindSpore
from sparcode.training import runtime  # isort: skip

from sparcode.config.loader import config_differences
from sparcode.config.run import check_data_found
from sparcode.config.run_choice import BEST
from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.dataset import Dataset, prepare_dataset
from sparcode.errors import CheckpointError, ConfigError
from sparcode.evaluation.ann import HnswSearch, IvfSearch
from sparcode.evaluation.rankers import (
    ExhaustiveRanker,
    IndexRanker,
    PopularityRanker,
    Ranker,
    VectorRanker,
)
from sparcode.evaluation.rescoring_ranker import RescoringRanker, VectorCandidates, network_candidates
from sparcode.index import BuildResult
from sparcode.index.search.dense import DenseIndex
from sparcode.model.factory import DataShape, build_network
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.choices import Served, TrainedModel, choose_served
from sparcode.pipeline.crosses import cross_baseline
from sparcode.pipeline.decided import decided
from sparcode.pipeline.index import ListExtras, build_network_index
from sparcode.progress import Progress
from sparcode.training.checkpoint import load_into, read_checkpoint, stored_config
from sparcode.training.world import World

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A trained model with its data."""

    config: Config
    dataset: Dataset
    network: MatchingNetwork
    world: World
    served: Served = field(default_factory=Served)
    step: int = 0

    @property
    def model(self) -> TrainedModel:
        """Network, data and configuration."""
        return TrainedModel(self.config, self.dataset, self.network, self.step)

    @property
    def crosses(self) -> CrossTable | None:
        """With their weight; None = the model has none."""
        return self.served.crosses


# ---- construction


def load_data(config: Config) -> Dataset:
    """The data set of a configuration, checked against what its encoder needs.

    Raises:
        ConfigError: encoder and data set do not fit.
    """
    with Progress(f"reading data set {config.data.name}"):
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


def load_data_together(config: Config, world: World) -> Dataset:
    """As ``load_data`` in every worker of a job; the first one makes the data set when it is missing."""
    if not world.first:
        world.wait()
        return load_data(config)
    dataset = load_data(config)
    world.wait()
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


# ---- after training


def open_run(config: Config, run_dir: Path) -> Run:
    """Load data and the best checkpoint of a run.

    Raises:
        CheckpointError: missing, damaged, or not of this configuration and data set.
        ConfigError: the data are not found.
    """
    check_data_found(config, run_dir)
    world = runtime.configure(config.device, config.seed)
    path = run_dir / BEST
    parameters, meta = read_checkpoint(path)
    stored = stored_config(path, meta)
    differing = [key for key in config_differences(stored, config) if key.startswith("model.")]
    if differing:
        raise CheckpointError(
            "the checkpoint was written by another configuration",
            where=path,
            received=f"different {differing}",
        )
    dataset = load_data_together(config, world)
    if meta.fingerprint != dataset.fingerprint:
        raise CheckpointError(
            "the checkpoint was trained on another data set",
            where=path,
            expected=f"fingerprint {meta.fingerprint}",
            received=f"{dataset.fingerprint} in {config.data.dataset_dir}",
            remedy="point data.dataset_dir at the data set of the run",
        )
    with Progress("building the network"):
        network = build_network(config.model, data_shape(config, dataset))
    load_into(path, parameters, [network])
    config = decided(config, dataset)
    served = choose_served(TrainedModel(config, dataset, network, meta.step), run_dir, world)
    return Run(config, dataset, network, world, served, meta.step)


def build_run_index(run: Run, parts: Path) -> BuildResult:
    """Build the inverted index of a trained sparcode model as the index section says, with part files."""
    network = run.network
    if not isinstance(network, SparCode):
        raise ConfigError(
            "only a sparcode model has an index", where="model.name", received=run.config.model.name
        )
    extras = ListExtras(run.crosses, run.served.posterior)
    return build_network_index(network, run.config, parts, run.world, extras)


def exact_ranker(run: Run, quantize: bool = True) -> ExhaustiveRanker:
    """What scores every item as the run is served, or without quantization."""
    return ExhaustiveRanker(
        run.network, run.dataset.num_items, quantize, run.crosses, run.served.posterior if quantize else None
    )


def make_ranker(run: Run, retriever: str, parts: Path) -> tuple[Ranker, BuildResult | None]:
    """The ranker that ``--retriever`` names, and the index build behind it, with part files."""
    network, section, num_items = run.network, run.config.eval, run.dataset.num_items
    if retriever == "popularity":
        return PopularityRanker(run.dataset), None
    if retriever == "crosses":
        return cross_baseline(run.crosses), None
    if retriever == "index":
        built = build_run_index(run, parts)
        index = IndexRanker(network, built.index, section.batch_size, section.threads, run.crosses)
        if not section.rescore:
            return index, built
        scorer = network_candidates(network, num_items, section.rescore)
        return RescoringRanker(index, scorer, section.rescore, run.crosses), built
    if run.config.model.name == "two_tower":
        kinds = {"exact": DenseIndex, "hnsw": HnswSearch, "ivf": IvfSearch}
        vectors = item_vectors(network)
        search = VectorRanker(network, kinds[retriever](vectors), retriever, section.batch_size, run.crosses)
        if not section.rescore:
            return search, None
        return RescoringRanker(search, VectorCandidates(vectors), section.rescore, run.crosses), None
    return exact_ranker(run), None
