"""Composition of crosses: configuration and training data -> table."""

from __future__ import annotations

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
from sparcode.evaluation.rankers import CrossRanker
from sparcode.progress import Progress


def fit_crosses(config: Config, dataset: Dataset) -> CrossTable:
    """The table of the crosses section, whose kind is decided; with weight 1 where it does not name one."""
    section = config.crosses
    if section.kind == "following" and not dataset.ordered:
        raise ConfigError(
            f"crosses of following items need an order, data set {dataset.name} has none",
            where="crosses.kind",
            expected="ridge or none",
            received="following",
        )
    with Progress(f"fitting crosses by {section.kind}"):
        rows = _weights(config, dataset)
    length = section.max_history or config.data.max_history
    return CrossTable(
        rows,
        length,
        config.data.max_history,
        section.age_decay,
        section.weight or 1.0,
    )


def _weights(config: Config, dataset: Dataset) -> csr_matrix:
    """Item-to-item weights of the training data."""
    section, train, num_items = config.crosses, dataset.train, dataset.num_items
    if section.kind == "ridge":
        ridge = RidgeOptions(
            section.ridge, section.neighbours, section.user_power, section.item_power, section.known_items
        )
        return ridge_weights(train.indptr, train.items, num_items, ridge)
    names = FollowingOptions.__dataclass_fields__
    options = FollowingOptions(**{name: getattr(section, name) for name in names})
    return following_weights(train.indptr, train.items, num_items, options)


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
