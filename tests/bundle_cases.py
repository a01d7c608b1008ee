"""A tiny data set and untrained networks, exported once per process, for the tests of bundles."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sparcode.training import runtime  # noqa: F401  isort: skip  - before MindSpore

import numpy as np

from sparcode.config.schema import Config
from sparcode.data.dataset import Dataset
from sparcode.data.interactions import Interactions
from sparcode.index import BuildOptions, CodeCounts, InvertedIndex, Posterior, append_lists, build_index
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.pipeline.crosses import fit_crosses
from sparcode.pipeline.index import cross_index
from sparcode.serving.export.exporter import BundleReport, ExportRequest, export_bundle
from sparcode.types import FeatureSpec

NUM_ITEMS, NUM_USERS, LENGTH = 20, 6, 5
LONGER = 6  # history items that are terms of their own, where there are crosses

ITEM_FEATURES = (
    FeatureSpec("genre", "multi", size=4, width=2),
    FeatureSpec("year", "categorical", size=3),
    FeatureSpec("content", "dense", size=3, width=3),
)
USER_FEATURES = (
    FeatureSpec("age", "categorical", size=3),
    FeatureSpec("tags", "multi", size=4, width=2),
    FeatureSpec("profile", "dense", size=2, width=2),
)


def external(item: int) -> str:
    """External id of an internal one; no order or arithmetic in common with it."""
    return f"i{(item * 7) % 23:02d}"


def tiny_dataset(query_kind: str = "history") -> Dataset:
    """Six users with three to eight training items; item 1 is trained five times, items 16 to 20 never."""
    rng = np.random.default_rng(3)
    train = [np.r_[1, 2 + rng.permutation(14)[: 2 + user]].astype(np.int32) for user in range(NUM_USERS)]
    train[5] = train[5][1:]
    return Dataset(
        name="tiny",
        protocol="leave_one_out",
        ordered=True,
        query_kind=query_kind,
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        fingerprint="0" * 64,
        counts={"users": NUM_USERS, "items": NUM_ITEMS},
        train=_interactions(train),
        valid=_interactions([np.array([16], np.int32)] * NUM_USERS),
        test=_interactions([np.array([17], np.int32)] * 4 + [np.zeros(0, np.int32)] * 2),
        item_features=ITEM_FEATURES,
        user_features=USER_FEATURES,
        item_arrays={
            "genre": _with_padding(np.sort(rng.integers(0, 4, (NUM_ITEMS, 2)), axis=1)[:, ::-1], np.int32),
            "year": _with_padding(rng.integers(0, 3, NUM_ITEMS), np.int32),
            "content": _with_padding(rng.normal(size=(NUM_ITEMS, 3)), np.float32),
        },
        user_arrays={
            "age": rng.integers(0, 3, NUM_USERS).astype(np.int32),
            "tags": np.array([[1, 2], [3, 0], [0, 0], [2, 3], [1, 0], [2, 0]], np.int32),
            "profile": rng.normal(size=(NUM_USERS, 2)).astype(np.float32),
        },
        item_ids=[external(item) for item in range(1, NUM_ITEMS + 1)],
        user_ids=[f"u{user}" for user in range(NUM_USERS)],
        user_vocab={"age": ["", "18", "25"], "tags": ["", "rock", "jazz", "folk"]},
        item_vocab={"genre": ["", "Drama", "Comedy", "War"], "year": ["", "1999", "2001"]},
    )


def _interactions(rows: list[np.ndarray]) -> Interactions:
    indptr = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return Interactions(indptr, np.concatenate(rows).astype(np.int32))


def _with_padding(rows: np.ndarray, dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros((1, *rows.shape[1:])), rows]).astype(dtype)


@dataclass(frozen=True)
class Case:
    """What distinguishes one exported bundle from another."""

    model: str = "sparcode"
    encoder: str = "dnn"
    scorer: str = "mlp"
    features: bool = True
    query_kind: str = "history"
    top_l: int = 0
    shared: bool = False
    signed: bool = False
    item_ids: bool = True
    crosses: str = "none"
    rescore: int = 0
    strength: float | None = None


def make_config(case: Case) -> Config:
    return Config.model_validate(
        {
            "data": {
                "max_history": LENGTH,
                "use_user_features": case.features,
                "use_item_features": case.features,
                "use_item_ids": case.item_ids,
            },
            "model": {
                "name": case.model,
                "embedding_size": 8,
                "encoder": {"name": case.encoder, "hidden_size": 8},
                **(_interaction(case) if case.model in ("sparcode", "all_to_all") else {}),
            },
            "crosses": {
                "kind": case.crosses,
                "weight": 6.0,
                "max_history": LONGER,
                "age_decay": 0.75,
                "ridge": 0.5,
            },
            "eval": {"ks": [5, 10], "rescore": case.rescore},
        }
    )


def _interaction(case: Case) -> dict[str, object]:
    """Keys of models with tokens and a scorer."""
    scorer = {"name": case.scorer} if case.scorer == "dot" else {"name": case.scorer, "hidden_size": 4}
    keys = {"num_query_tokens": 3, "token_size": 4, "signed_scores": case.signed, "scorer": scorer}
    if case.model == "sparcode":
        keys["quantizer"] = {"num_codebooks": 2, "codebook_size": 4, "shared": case.shared}
    return keys


def make_network(case: Case, dataset: Dataset) -> MatchingNetwork:
    item_specs, user_specs = (ITEM_FEATURES, USER_FEATURES) if case.features else ((), ())
    shape = DataShape(NUM_ITEMS, LENGTH, item_specs, user_specs, dataset.item_arrays, case.item_ids)
    return with_random_parameters(build_network(make_config(case).model, shape))


def with_random_parameters(network: MatchingNetwork) -> MatchingNetwork:
    network.set_train(False)
    rng = np.random.default_rng(11)  # MindSpore's own initialisers depend on what ran before in this process
    for parameter in network.get_parameters():
        if parameter.name != "score.bias":
            values = rng.normal(0, 0.5, parameter.shape).astype(np.float32)
            if parameter.name == "tower.id_table":
                values[0] = 0
            parameter.set_data(type(parameter)(values))
    if isinstance(network, SparCode):
        network.quantizer.fit(rng.normal(size=(32, 3, 4)).astype(np.float32), 0)
    return network


def make_posterior(strength: float, num_terms: int) -> Posterior:
    """A correction by random counts, for most of the terms."""
    rng = np.random.default_rng(12)
    terms, items = rng.integers(0, num_terms, 300), rng.integers(1, NUM_ITEMS + 1, 300)
    return Posterior(CodeCounts.added_up(terms, items, rng.random(300), num_terms), strength, 2.0)


def make_request(case: Case, output: Path) -> ExportRequest:
    dataset = tiny_dataset(case.query_kind)
    network = make_network(case, dataset)
    config = make_config(case)
    crosses = None if case.crosses == "none" else fit_crosses(config, dataset)
    index: InvertedIndex | None = None
    codebooks = posterior = None
    if isinstance(network, SparCode):
        codebooks = network.term_codebooks()
        options = BuildOptions(top_l=case.top_l, signed=case.signed)
        if case.strength is not None:
            posterior = make_posterior(case.strength, network.quantizer.num_terms)
        scorer = NetworkBlockScorer(network, NUM_ITEMS)
        index = build_index(scorer, codebooks, options, posterior=posterior).index
        if crosses is not None:
            index = append_lists(index, crosses.row_blocks(), 0, signed=False)
    else:
        index = cross_index(config, crosses)
    return ExportRequest(network, dataset, config, index, codebooks, output, crosses, posterior)


@dataclass(frozen=True)
class Exported:
    request: ExportRequest
    report: BundleReport

    @property
    def path(self) -> Path:
        return self.request.output


@cache
def exported(case: Case) -> Exported:
    """The bundle of a case, made once; tests must not change it."""
    scratch = Path(tempfile.mkdtemp(prefix="sparcode-test-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    request = make_request(case, scratch / "bundle")
    return Exported(request, export_bundle(request))


def copy_of(case: Case, target: Path) -> Path:
    """A copy of a bundle for a test to spoil."""
    shutil.copytree(exported(case).path, target)
    return target


def with_output(request: ExportRequest, output: Path) -> ExportRequest:
    return replace(request, output=output)
