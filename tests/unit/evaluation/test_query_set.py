"""Queries of a split: who is asked for, what they have seen, what they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor, nn

from helpers import interactions, tiny_dataset
from sparcode.data.dataset import Dataset
from sparcode.evaluation.query_set import query_set
from sparcode.training.encoding import encode_queries


@pytest.fixture
def dataset() -> Dataset:
    splits = {
        "train": interactions([[1, 2, 3, 4, 5], [6], [7, 8], [9]]),
        "valid": interactions([[10], [], [11], []]),
        "test": interactions([[12, 13], [], [], [14]]),
    }
    return replace(tiny_dataset(num_users=4), **splits)


def test_only_users_with_a_target_are_queries(dataset: Dataset) -> None:
    queries = query_set(dataset, "test", 3, [])
    assert len(queries) == 2
    assert queries.users.tolist() == [0, 3]
    assert queries.target_indptr.tolist() == [0, 2, 3]
    assert queries.target_items.tolist() == [12, 13, 14]
    assert query_set(dataset, "valid", 3, []).users.tolist() == [0, 2]


def test_seen_items_reach_beyond_the_window_of_the_encoder(dataset: Dataset) -> None:
    queries = query_set(dataset, "test", 3, [])
    assert queries.history.tolist() == [[4, 5, 10], [0, 0, 9]]
    assert [items.tolist() for items in queries.seen] == [[1, 2, 3, 4, 5, 10], [9]]
    assert [items.tolist() for items in query_set(dataset, "valid", 3, []).seen] == [[1, 2, 3, 4, 5], [7, 8]]


def test_user_features_come_in_the_order_asked_for(dataset: Dataset) -> None:
    queries = query_set(dataset, "test", 3, ["profile", "age"])
    np.testing.assert_array_equal(queries.user_rows[0], dataset.user_arrays["profile"][[0, 3]])
    np.testing.assert_array_equal(queries.user_rows[1], dataset.user_arrays["age"][[0, 3]])


def test_the_first_users_or_a_sample_in_user_order() -> None:
    dataset = tiny_dataset()
    first = query_set(dataset, "test", 3, [], max_users=7)
    assert first.users.tolist() == list(range(7))
    sample = query_set(dataset, "test", 3, [], max_users=7, seed=1)
    assert len(np.unique(sample.users)) == 7
    assert (np.diff(sample.users) > 0).all()
    assert sample.users.tolist() != first.users.tolist()
    np.testing.assert_array_equal(sample.users, query_set(dataset, "test", 3, [], max_users=7, seed=1).users)
    assert len(query_set(dataset, "test", 3, [], max_users=1000, seed=1)) == dataset.num_users
    for place, user in enumerate(sample.users):
        start, stop = sample.target_indptr[place : place + 2]
        np.testing.assert_array_equal(sample.target_items[start:stop], dataset.test.of(int(user)))


def test_no_target_in_any_history_and_a_planted_one_is_noticed() -> None:
    def leaking(data: Dataset) -> int:
        queries = query_set(data, "test", 6, [])
        return sum(
            bool(set(queries.seen[place]) & set(data.test.of(int(user))))
            for place, user in enumerate(queries.users)
        )

    dataset = tiny_dataset()
    assert leaking(dataset) == 0
    assert leaking(replace(dataset, valid=dataset.test)) == dataset.num_users


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_taking_the_first_queries(dataset: Dataset, count: int) -> None:
    queries = query_set(dataset, "test", 3, ["age"]).take(count)
    kept = min(count, 2)
    assert len(queries) == len(queries.history) == len(queries.seen) == len(queries.user_rows[0]) == kept
    assert queries.target_indptr.tolist() == [0, 2, 3][: kept + 1]
    assert queries.target_items.tolist() == [12, 13, 14][: [0, 2, 3][kept]]


def test_a_split_without_targets_has_no_queries(dataset: Dataset) -> None:
    empty = replace(dataset, test=interactions([[], [], [], []]))
    queries = query_set(empty, "test", 3, [])
    assert len(queries) == 0
    assert queries.history.shape == (0, 3)


class Echo(nn.Cell):
    def construct(self, history: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        return history * 2, history.sum(1) + row


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_encoding_in_batches_keeps_order_and_drops_the_filling(batch_size: int) -> None:
    history = np.arange(30, dtype=np.int32).reshape(10, 3)
    row = np.arange(10, dtype=np.int32) * 100
    doubled, total = encode_queries(Echo(), history, [row], batch_size)
    np.testing.assert_array_equal(doubled, history * 2)
    np.testing.assert_array_equal(total, history.sum(1) + row)


def test_cold_queries_know_the_first_items_only() -> None:
    full = query_set(tiny_dataset(features=False), "test", 3, [])
    for count in (0, 1, 2):
        cold = full.with_first_items(count)
        assert cold.history.shape == full.history.shape
        assert cold.history.dtype == np.int32
        for row, items, known in zip(cold.history, full.seen, cold.seen, strict=True):
            assert row.tolist() == [0] * (3 - count) + items[:count].tolist()
            assert known is items
