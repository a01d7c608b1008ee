"""Tiny configurations and in-memory data sets shared by the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.config.keys import iter_keys
from sparcode.config.schema import Config
from sparcode.data.dataset import Dataset, Interactions
from sparcode.types import FeatureSpec

DEFAULT_NAMES = {"model": "sparcode", "model.encoder": "dnn", "model.scorer": "dot"}

TINY: dict[str, Any] = {
    "data.max_history": 6,
    "model.embedding_size": 8,
    "model.num_query_tokens": 3,
    "model.token_size": 4,
    "model.encoder.hidden_size": 8,
    "model.quantizer.num_codebooks": 2,
    "model.quantizer.codebook_size": 4,
    "model.scorer.hidden_size": 6,
    "train.batch_size": 16,
    "train.targets_per_sequence": 4,
    "train.learning_rate": 0.01,
    "train.loss.num_negatives": 8,
    "train.monitor": "ndcg@10",
    "crosses.kind": "none",
    "index.probes": 1,
    "index.probe_temperature": 1.0,
    "index.prior_strength": None,
    "eval.ks": (5, 10),
}
"""L = 6, d = 8, K_u = 3, D = 4, M = 2, N = 4."""


def tiny_config(values: dict[str, Any] | None = None) -> Config:
    """The tiny configuration with some dotted keys changed; what TINY says of other models is left out."""
    values = values or {}
    names = {f"{kind}.name": values.get(f"{kind}.name", name) for kind, name in DEFAULT_NAMES.items()}
    known = {
        key.path
        for key in iter_keys()
        if not key.needs or names[key.needs.split(" ", 1)[0]] in key.needs.split(" ", 1)[1].split(" | ")
    }
    tree: dict[str, Any] = {}
    for key, value in {**{key: TINY[key] for key in TINY if key in known}, **values}.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return Config.model_validate(tree)


def interactions(rows: Iterable[Sequence[int]]) -> Interactions:
    """Interactions with one list of items per user."""
    lists = [list(row) for row in rows]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64)
    return Interactions(indptr, np.array([item for row in lists for item in row], np.int32))


def tiny_dataset(
    *,
    num_users: int = 40,
    num_items: int = 30,
    ordered: bool = True,
    features: bool = True,
    query_kind: str = "history",
) -> Dataset:
    """Users who walk around a ring of items, so that the next item follows from the history.

    User u has 5 to 12 consecutive items; the last is the test target, the one before the validation target.
    """
    rng = np.random.default_rng(5)
    starts, lengths = rng.integers(0, num_items, num_users), rng.integers(5, 13, num_users)
    walks = [
        [1 + (start + step) % num_items for step in range(length)]
        for start, length in zip(starts, lengths, strict=True)
    ]
    train, valid, test = (
        interactions(walk[part] for walk in walks) for part in (slice(0, -2), slice(-2, -1), slice(-1, None))
    )
    item_features, user_features = _features() if features else ((), ())
    return Dataset(
        name="ring",
        protocol="leave_one_out",
        ordered=ordered,
        query_kind=query_kind,
        num_users=num_users,
        num_items=num_items,
        fingerprint="ring",
        counts={},
        train=train,
        valid=valid,
        test=test,
        item_features=item_features,
        user_features=user_features,
        item_arrays=_arrays(item_features, num_items + 1, True, 1),
        user_arrays=_arrays(user_features, num_users, False, 2),
        item_ids=[f"item{number}" for number in range(1, num_items + 1)],
        user_ids=[f"user{number}" for number in range(num_users)],
    )


def _features() -> tuple[tuple[FeatureSpec, ...], tuple[FeatureSpec, ...]]:
    items = (
        FeatureSpec("category", "categorical", 5),
        FeatureSpec("tags", "multi", 7, 3),
        FeatureSpec("content", "dense", 4, 4),
    )
    users = (FeatureSpec("age", "categorical", 4), FeatureSpec("profile", "dense", 3, 3))
    return items, users


def _arrays(specs: Sequence[FeatureSpec], rows: int, padding_row: bool, seed: int) -> dict[str, np.ndarray]:
    """Random feature rows; categorical and multi values include 0 = missing."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for spec in specs:
        if spec.kind == "dense":
            values = rng.normal(size=(rows, spec.size)).astype(np.float32)
        else:
            shape = (rows,) if spec.kind == "categorical" else (rows, spec.width)
            values = rng.integers(0, spec.size, shape).astype(np.int32)
        if padding_row:
            values[0] = 0
        arrays[spec.name] = values
    return arrays


def write_ring(path: Path, num_users: int = 60, num_items: int = 30) -> None:
    """Write a user-lines file in which every user has 5 to 12 consecutive items of a ring."""
    rng = np.random.default_rng(6)
    lines = []
    for user in range(num_users):
        start, length = rng.integers(0, num_items), rng.integers(5, 13)
        lines.append(" ".join(map(str, [user, *((start + np.arange(length)) % num_items)])))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ring_config(directory: Path, values: dict[str, Any] | None = None) -> Config:
    """A tiny configuration of the ring file below ``directory``, which is written when it is missing."""
    raw = directory / "ring.txt"
    if not raw.exists():
        write_ring(raw)
    data = {
        "data.name": "ring",
        "data.source": "user_lines",
        "data.path": str(raw),
        "data.dataset_dir": str(directory / "ring"),
    }
    return tiny_config({**data, **(values or {})})
