"""Composition of queries: what the networks of a configuration read of users, in training and evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.batching import BatchOptions
from sparcode.data.dataset import Dataset
from sparcode.evaluation.query_set import QuerySet, query_set

VALIDATION_STREAM = 11
"""Seed of the sample of validation users, the same for every run so that runs compare."""


def user_feature_names(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """User features that the encoder reads, in input order."""
    specs = dataset.user_features if config.data.use_user_features else ()
    return tuple(spec.name for spec in specs)


def user_arrays(config: Config, dataset: Dataset) -> list[NDArray]:
    """Arrays (U, ...) of the user features that the encoder reads, in input order."""
    return [np.asarray(dataset.user_arrays[name]) for name in user_feature_names(config, dataset)]


def batch_options(config: Config, rows: int = 0) -> BatchOptions:
    """Sizes of the training batches, with ``train.batch_size`` rows unless their number is given."""
    train = config.train
    rows = rows or train.batch_size
    return BatchOptions(
        rows, config.data.max_history, train.targets_per_sequence, config.seed, train.vary_history
    )


def query_length(config: Config, crosses: CrossTable | None) -> int:
    """Items of a history that queries carry."""
    return config.data.max_history if crosses is None else crosses.history_length


def queries_of(config: Config, dataset: Dataset, split: str, length: int) -> QuerySet:
    """Evaluation queries of a split with histories of ``length`` items, of ``eval.max_users`` users."""
    names = user_feature_names(config, dataset)
    return _known(config, query_set(dataset, split, length, names, config.eval.max_users))


def validation_queries(config: Config, dataset: Dataset, length: int) -> QuerySet:
    """Queries of the sample of validation users that checkpoints are chosen on."""
    names, count = user_feature_names(config, dataset), config.train.validation_users
    return _known(config, query_set(dataset, "valid", length, names, count, VALIDATION_STREAM))


def _known(config: Config, queries: QuerySet) -> QuerySet:
    first = config.eval.first_items
    return queries if first is None else queries.with_first_items(first)
