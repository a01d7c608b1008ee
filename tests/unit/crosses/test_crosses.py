"""Tables of crosses against slow oracles, and what they add to scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.sparse import csr_matrix

from sparcode.crosses import CrossTable, FollowingOptions, RidgeOptions, following_weights, ridge_weights

NUM_ITEMS = 9


def random_interactions(repeats: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    lengths = [0, 1, *rng.integers(2, 8, 25)]
    rows = [rng.choice(NUM_ITEMS, n, replace=repeats) + 1 for n in lengths]
    return np.cumsum([0, *lengths]), np.concatenate(rows).astype(np.int32)


def regression(
    inputs: np.ndarray, outputs: np.ndarray, near: list[list[int]], strength: float, power: float = 0.0
) -> np.ndarray:
    """Column i: the non-negative least squares of outputs[:, i] on inputs[:, near[i]], by another solver."""
    expected = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for item in range(1, NUM_ITEMS + 1):
        columns = near[item]
        penalties = strength * (inputs[:, columns] ** 2).sum(0) ** power
        system = np.vstack([inputs[:, columns], np.diag(penalties**0.5)])
        target = np.concatenate([outputs[:, item], np.zeros(len(columns))])
        expected[columns, item] = nnls(system, target)[0]
    return expected


def all_others() -> list[list[int]]:
    return [[other for other in range(1, NUM_ITEMS + 1) if other != item] for item in range(NUM_ITEMS + 1)]


def user_matrix(indptr: np.ndarray, items: np.ndarray) -> np.ndarray:
    matrix = np.zeros((len(indptr) - 1, NUM_ITEMS + 1))
    for user in range(len(indptr) - 1):
        matrix[user, items[indptr[user] : indptr[user + 1]]] = 1
    return matrix


@pytest.mark.parametrize("power", [0.0, 0.7])
@pytest.mark.parametrize("repeats", [False, True])
def test_ridge_solves_a_regression_for_each_item_without_itself(repeats: bool, power: float) -> None:
    indptr, items = random_interactions(repeats)
    matrix = user_matrix(indptr, items)
    counts = matrix.sum(1)
    weights = np.maximum(counts, 1) ** -power
    weights *= counts.sum() / (weights @ counts)
    weighted = matrix * weights[:, None] ** 0.5
    expected = regression(weighted, weighted, all_others(), 2.5, power / 2)
    options = RidgeOptions(2.5, neighbours=NUM_ITEMS, user_power=power, item_power=power / 2)
    found = ridge_weights(indptr, items, NUM_ITEMS, options).toarray()
    assert found.dtype == np.float32
    assert ((expected == 0) & (matrix.T @ matrix > 0)).sum() > NUM_ITEMS + 3  # weights that would be negative
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_ridge_with_few_neighbours_is_the_regression_on_them() -> None:
    indptr, items = random_interactions()
    matrix = user_matrix(indptr, items)
    shared = matrix.T @ matrix
    keys = shared / np.maximum(np.diag(shared), 1)[:, None] ** 0.5
    np.fill_diagonal(keys, 0)
    near = [[] if not item else sorted(np.argsort(-keys[:, item])[:4]) for item in range(NUM_ITEMS + 1)]
    least = [np.sort(keys[:, item])[::-1][3:5] for item in range(1, NUM_ITEMS + 1)]
    near = [
        [other for other in columns if not item or least[item - 1][0] > least[item - 1][1] or
         keys[other, item] > least[item - 1][1]]
        for item, columns in enumerate(near)
    ]  # fmt: skip
    expected = regression(matrix, matrix, near, 0.5)
    found = ridge_weights(indptr, items, NUM_ITEMS, RidgeOptions(0.5, neighbours=4)).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found > 0).sum(0).max() <= 4
    assert (found > 0).sum() > 20


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
    expected = regression(np.array(rows), np.array(targets), all_others(), 0.5)
    options = RidgeOptions(0.5, neighbours=NUM_ITEMS, known_items=known)
    found = ridge_weights(indptr, items, NUM_ITEMS, options).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_as_many_known_items_as_there_are_give_the_weights_of_whole_histories() -> None:
    indptr, items = random_interactions(repeats=True)
    whole, all_known, one = (
        ridge_weights(indptr, items, NUM_ITEMS, RidgeOptions(2.5, NUM_ITEMS, known_items=known)).toarray()
        for known in (0, NUM_ITEMS, 1)
    )
    np.testing.assert_allclose(all_known, whole, atol=1e-4)
    assert np.abs(one - whole).max() > 0.01


@pytest.mark.parametrize("known", [0, 2])
def test_nothing_seen_gives_no_crosses(known: int) -> None:
    options = RidgeOptions(1.0, neighbours=3, user_power=0.5, known_items=known)
    for indptr in (np.array([0]), np.array([0, 0, 0])):
        found = ridge_weights(indptr, np.zeros(0, np.int32), NUM_ITEMS, options)
        assert found.shape == (NUM_ITEMS + 1, NUM_ITEMS + 1)
        assert found.nnz == 0


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
    table = CrossTable(csr_matrix(rows), history_length=4, encoder_length=2, age_decay=0.5, weight=3.0)
    np.testing.assert_allclose(table.history_weights(), [0.375, 0.75, 1.5, 3.0])
    found = table.scores(np.array([[0, 4, 2, 2], [0, 0, 0, 0]], np.int32))
    np.testing.assert_allclose(found[0], 0.75 * rows[4] + 4.5 * rows[2], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_array_equal(np.concatenate(list(table.row_blocks())), rows[1:, 1:])


@pytest.mark.parametrize("strength", [1e-300, 1e-12])
def test_items_that_always_come_together_are_no_trouble(strength: float) -> None:
    """Their gram matrix is singular but for the penalty, which float64 does not see beside their counts."""
    indptr, items = np.arange(0, 31, 3), np.tile([1, 2, 3], 10).astype(np.int32)
    found = ridge_weights(indptr, items, 3, RidgeOptions(strength, neighbours=3)).toarray()
    np.testing.assert_allclose(found[1:, 1:].sum(0), 1, atol=1e-6)  # each is said by the two others
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("top_l", "kept"), [(1, [5]), (2, [5, 4]), (3, [5, 4]), (4, [5, 4, 2, 2]), (9, [5, 4, 2, 2, 1])]
)
def test_short_lists_keep_the_best_weights_as_they_are(top_l: int, kept: list[int]) -> None:
    rows = np.zeros((7, 7), np.float32)
    rows[3, [1, 2, 4, 5, 6]] = [2, 5, 1, 2, 4]
    table = CrossTable(csr_matrix(rows), history_length=1, encoder_length=1)
    found = np.concatenate(list(table.row_blocks(top_l)))
    assert sorted(found[2][found[2] > 0], reverse=True) == kept
    assert np.isin(found[2], [0, *rows[3]]).all()
    assert found[[0, 1, 3, 4, 5]].max() == 0
