"""Histories of users as they stand when a split is predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset
from sparcode.padding import pad_histories


def user_history(dataset: Dataset, user: int, split: str) -> NDArray[np.int32]:
    """All items that a user is known to have when ``split`` is predicted, oldest first.

    valid: the training items; test: training and validation items. Empty for feature-only queries.
    """
    if dataset.query_kind == "features":
        return np.zeros(0, np.int32)
    if split == "valid":
        return dataset.train.of(user)
    return np.concatenate([dataset.train.of(user), dataset.valid.of(user)])


def history_batch(dataset: Dataset, users: NDArray[np.integer], split: str, length: int) -> NDArray[np.int32]:
    """Histories (B, length) int32 of users (B,) as they stand when ``split`` is predicted."""
    return pad_histories((user_history(dataset, int(user), split) for user in users), length)
