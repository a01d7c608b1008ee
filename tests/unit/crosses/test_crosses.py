"""Tables of crosses against slow oracles, and what they add to scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sparcode.crosses import CrossTable, FollowingOptions, following_weights, ridge_weights
from sparcode.crosses.fitting import MAX_RIDGE_ITEMS
from sparcode.errors import ConfigError

NUM_ITEMS = 9


def random_interactions(repeats: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    lengths = [0, 1, *rng.integers(2, 8, 25)]
    rows = [rng.choice(NUM_ITEMS, n, replace=repeats) + 1 for n in lengths]
    return np.cumsum([0, *lengths]), np.concatenate(rows).astype(np.int32)


@pytest.mark.parametrize("repeats", [False, True])
def test_ridge_solves_a_regression_for_each_item_without_itself(repeats: bool) -> None:
    indptr, items = random_interactions(repeats)
    matrix = np.zeros((len(indptr) - 1, NUM_ITEMS + 1))
    for user in range(len(indptr) - 1):
        matrix[user, items[indptr[user] : indptr[user + 1]]] = 1
    strength = 2.5
    expected = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for item in range(1, NUM_ITEMS + 1):
        others = [other for other in range(1, NUM_ITEMS + 1) if other != item]
        gram = matrix[:, others].T @ matrix[:, others] + strength * np.eye(len(others))
        expected[others, item] = np.linalg.solve(gram, matrix[:, others].T @ matrix[:, item])
    found = ridge_weights(indptr, items, NUM_ITEMS, strength).toarray()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("known", [1, 2, 3])
def test_ridge_for_few_known_items_is_the_regression_over_all_choices_of_them(known: int) -> None:
    indptr, items = random_interactions()
    rows, targets = [], []
    for user in range(len(indptr) - 1):
        own = items[indptr[user] : indptr[user + 1]]
        choices = list(itertools.combinations(own, min(known, len(own))))
        for choice in choices:  # every choice, so that their weights add up to one for each user
            row, target = np.zeros(NUM_ITEMS + 1), np.zeros(NUM_ITEMS + 1)
            row[list(choice)] = target[own] = len(choices) ** -0.5
            rows.append(row)
            targets.append(target)
    inputs, outputs = np.array(rows), np.array(targets)
    expected = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for item in range(1, NUM_ITEMS + 1):
        others = [other for other in range(1, NUM_ITEMS + 1) if other != item]
        gram = inputs[:, others].T @ inputs[:, others] + 0.5 * np.eye(len(others))
        expected[others, item] = np.linalg.solve(gram, inputs[:, others].T @ outputs[:, item])
    found = ridge_weights(indptr, items, NUM_ITEMS, 0.5, known).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_as_many_known_items_as_there_are_give_the_weights_of_whole_histories() -> None:
    indptr, items = random_interactions(repeats=True)
    whole = ridge_weights(indptr, items, NUM_ITEMS, 2.5).toarray()
    np.testing.assert_allclose(
        ridge_weights(indptr, items, NUM_ITEMS, 2.5, NUM_ITEMS).toarray(), whole, atol=1e-6
    )
    assert np.abs(ridge_weights(indptr, items, NUM_ITEMS, 2.5, 1).toarray() - whole).max() > 0.01


def test_following_counts_pairs_in_the_direction_of_time() -> None:
    indptr, items = random_interactions()
    options = FollowingOptions(window=3, gap_decay=0.5, source_power=0.6, target_power=0.2, smoothing=2.0)
    counts = np.bincount(items, minlength=NUM_ITEMS + 1) + 2.0
    expected = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for user in range(len(indptr) - 1):
        history = items[indptr[user] : indptr[user + 1]]
        for place, earlier in enumerate(history):
            for gap, later in enumerate(history[place + 1 : place + 4], start=1):
                discount = counts[earlier] ** 0.6 * counts[later] ** 0.2
                expected[earlier, later] += 0.5 ** (gap - 1) / discount
    found = following_weights(indptr, items, NUM_ITEMS, options).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_item_does_not_follow_itself() -> None:
    options = FollowingOptions(window=2, gap_decay=1.0, source_power=0.0, target_power=0.0, smoothing=1.0)
    found = following_weights(np.array([0, 3]), np.array([1, 1, 2], np.int32), 2, options).toarray()
    assert found[1, 1] == 0
    assert found[1, 2] == 2


def test_what_a_history_adds() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 5)).astype(np.float32)
    rows[0], rows[:, 0] = 0, 0
    table = CrossTable(csr_matrix(rows), True, history_length=4, encoder_length=2, age_decay=0.5, weight=3.0)
    np.testing.assert_allclose(table.history_weights(), [0.375, 0.75, 1.5, 3.0])
    found = table.scores(np.array([[0, 4, 2, 2], [0, 0, 0, 0]], np.int32))
    np.testing.assert_allclose(found[0], 0.75 * rows[4] + 4.5 * rows[2], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_array_equal(np.concatenate(list(table.row_blocks())), rows[1:, 1:])


def test_a_dense_matrix_of_a_large_catalogue_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"crosses\.kind"):
        ridge_weights(np.array([0, 1]), np.array([1], np.int32), MAX_RIDGE_ITEMS + 1, 1.0)
