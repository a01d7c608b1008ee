"""Planted leaks are found in histories and features; sound data and accidents are not reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import interactions, tiny_dataset
from sparcode.data.dataset import Dataset
from sparcode.data.leaks import find_leaks
from sparcode.types import FeatureSpec


def large(num_users: int = 400) -> Dataset:
    return tiny_dataset(num_users=num_users, num_items=50, features=False)


def with_feature(dataset: Dataset, kind: str, rows: np.ndarray) -> Dataset:
    """A user feature whose stored value v is called as item v, as a "last clicked item" would be."""
    spec = FeatureSpec("clicked", kind, 51, 1 if kind == "categorical" else rows.shape[1])
    return replace(
        dataset,
        user_features=(spec,),
        user_arrays={"clicked": rows.astype(np.int32)},
        user_vocab={"clicked": ["", *dataset.item_ids]},
    )


def targets(dataset: Dataset, split: str) -> np.ndarray:
    return (dataset.valid if split == "valid" else dataset.test).items


@pytest.mark.parametrize("split", ["valid", "test"])
def test_sound_data_have_no_leak(split: str) -> None:
    leaks = find_leaks(tiny_dataset(), split)
    assert (leaks.targets, leaks.in_history, leaks.in_features) == (40, 0, {})
    assert leaks.text() == ""


@pytest.mark.parametrize(("split", "expected"), [("valid", 1), ("test", 2)])
def test_a_target_planted_in_the_history_is_found(split: str, expected: int) -> None:
    """User 0 has validation target 4 in train; user 1 has test target 9 in train, user 2 in validation."""
    dataset = replace(
        tiny_dataset(num_users=4),
        train=interactions([[4, 1, 2], [9, 3], [5], [9, 4, 7, 8]]),
        valid=interactions([[4], [6], [7], []]),
        test=interactions([[8], [9, 10], [7], [30]]),
    )
    leaks = find_leaks(dataset, split)
    assert leaks.in_history == expected
    assert f"{expected} in the user's own history" in leaks.text()
    feature_only = find_leaks(replace(dataset, query_kind="features"), split)
    assert feature_only.in_history == 0  # such queries read no history


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("kind", ["categorical", "multi"])
def test_a_target_planted_in_a_user_feature_is_found(kind: str, split: str) -> None:
    dataset = large()
    own = targets(dataset, split)
    rows = own if kind == "categorical" else np.stack([np.zeros_like(own), np.full_like(own, 3), own], 1)
    leaks = find_leaks(with_feature(dataset, kind, rows), split)
    assert leaks.in_features == {"clicked": 400}
    assert leaks.text() == "of 400 targets, 400 in user feature 'clicked'"


def test_a_leak_of_some_users_is_found_and_an_accident_is_not() -> None:
    dataset = large()
    rows = np.random.default_rng(0).integers(0, 51, 400)
    assert find_leaks(with_feature(dataset, "categorical", rows), "test").in_features == {}
    rows[:60] = dataset.test.items[:60]
    assert find_leaks(with_feature(dataset, "categorical", rows), "test").in_features["clicked"] >= 60


def test_a_feature_that_names_every_item_to_everyone_tells_nothing() -> None:
    dataset = large()
    rows = np.tile(np.arange(1, 51), (400, 1))
    assert find_leaks(with_feature(dataset, "multi", rows), "test").in_features == {}
