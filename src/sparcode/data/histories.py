"""Histories as fixed-size arrays: right-aligned, the most recent item last, 0 = padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset


def pad_history(items: NDArray[np.integer] | Sequence[int], length: int) -> NDArray[np.int32]:
    """The last ``length`` items, right-aligned in a (length,) int32 row."""
    row = np.zeros(length, np.int32)
    recent = np.asarray(items, dtype=np.int32)[-length:]
    if len(recent):
        row[length - len(recent) :] = recent
    return row


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
    rows = np.zeros((len(users), length), np.int32)
    for place, user in enumerate(users):
        rows[place] = pad_history(user_history(dataset, int(user), split), length)
    return rows
