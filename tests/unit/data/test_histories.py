"""Histories: alignment, and what a user is known to have when a split is predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import interactions, tiny_dataset
from sparcode.data.dataset import Dataset
from sparcode.data.histories import history_batch, user_history
from sparcode.padding import pad_histories, pad_history


@given(st.lists(st.integers(1, 1000), max_size=12), st.integers(1, 8))
def test_the_most_recent_items_stand_at_the_right(items: list[int], length: int) -> None:
    row = pad_history(items, length)
    kept = items[-length:]
    assert row.dtype == np.int32
    assert row.tolist() == [0] * (length - len(kept)) + kept


@pytest.fixture
def dataset() -> Dataset:
    splits = {
        "train": interactions([[3, 1, 2], [], [7]]),
        "valid": interactions([[4], [8], []]),
        "test": interactions([[5, 6], [9], [10]]),
    }
    return replace(tiny_dataset(num_users=3), **splits)


def test_validation_sees_train_and_test_sees_train_and_validation(dataset: Dataset) -> None:
    assert [user_history(dataset, user, "valid").tolist() for user in range(3)] == [[3, 1, 2], [], [7]]
    assert [user_history(dataset, user, "test").tolist() for user in range(3)] == [[3, 1, 2, 4], [8], [7]]


def test_rows_of_many_are_the_rows_of_each() -> None:
    rows = pad_histories([[1, 2, 3, 4], [], np.array([5])], 3)
    assert rows.tolist() == [[2, 3, 4], [0, 0, 0], [0, 0, 5]]
    assert pad_histories([], 3).shape == (0, 3)


def test_batches_are_right_aligned_for_the_users_asked_for(dataset: Dataset) -> None:
    rows = history_batch(dataset, np.array([2, 0]), "test", 3)
    assert rows.tolist() == [[0, 0, 7], [1, 2, 4]]
    assert rows.dtype == np.int32


@pytest.mark.parametrize("split", ["valid", "test"])
def test_no_test_item_is_in_any_history(split: str) -> None:
    dataset = tiny_dataset()
    for user in range(dataset.num_users):
        known = set(user_history(dataset, user, split).tolist())
        assert not known & set(dataset.test.of(user).tolist())
        if split == "valid":
            assert not known & set(dataset.valid.of(user).tolist())


def test_feature_queries_have_no_history() -> None:
    dataset = tiny_dataset(query_kind="features")
    assert user_history(dataset, 0, "test").tolist() == []
    assert not history_batch(dataset, np.arange(4), "test", 5).any()
