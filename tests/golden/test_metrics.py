"""Metrics against values worked out by hand; the arithmetic stands beside each."""

import math

import numpy as np
import pytest

from sparcode.errors import DataError, UsageError
from sparcode.evaluation.metrics import (
    RANKING_METRICS,
    index_recall_at_k,
    parse_metric,
    per_user_metrics,
    ranking_metrics,
)

# User 0 ranks 5 3 9 1 and wants {3, 1, 8}: hits at ranks 2 and 4.
# User 1 ranks 2 4 6 (then padding) and wants {6}, listed twice: hit at rank 3.
# User 2 ranks 7 8 1 2 and wants nothing: not counted.
# User 3 ranks 1 2 3 4 and wants {9}: no hit.
RANKED = np.array([[5, 3, 9, 1], [2, 4, 6, -1], [7, 8, 1, 2], [1, 2, 3, 4]])
INDPTR = np.array([0, 3, 5, 5, 6])
ITEMS = np.array([3, 1, 8, 6, 6, 9])

G2, G3, G4 = 1 / math.log2(3), 1 / math.log2(4), 1 / math.log2(5)

GOLDEN = {
    "precision@2": [1 / 2, 0, math.nan, 0],
    "precision@4": [2 / 4, 1 / 4, math.nan, 0],
    "precision@10": [2 / 10, 1 / 10, math.nan, 0],
    "recall@2": [1 / 3, 0, math.nan, 0],
    "recall@4": [2 / 3, 1, math.nan, 0],
    "recall@10": [2 / 3, 1, math.nan, 0],
    "hit_rate@2": [1, 0, math.nan, 0],
    "hit_rate@4": [1, 1, math.nan, 0],
    "hit_rate@10": [1, 1, math.nan, 0],
    "mrr@2": [1 / 2, 0, math.nan, 0],
    "mrr@4": [1 / 2, 1 / 3, math.nan, 0],
    "mrr@10": [1 / 2, 1 / 3, math.nan, 0],
    "ndcg@2": [G2 / (1 + G2), 0, math.nan, 0],  # at k = 2 no more than two of the three targets fit
    "ndcg@4": [(G2 + G4) / (1 + G2 + G3), G3, math.nan, 0],
    "ndcg@10": [(G2 + G4) / (1 + G2 + G3), G3, math.nan, 0],
}


@pytest.mark.parametrize("key", GOLDEN)
def test_each_user_by_hand(key: str) -> None:
    name, k = parse_metric(key)
    values = per_user_metrics(RANKED, INDPTR, ITEMS, [k], [name])
    np.testing.assert_allclose(values[key], GOLDEN[key], rtol=1e-12)


@pytest.mark.parametrize("key", GOLDEN)
def test_average_is_over_the_three_users_with_targets(key: str) -> None:
    averages = ranking_metrics(RANKED, INDPTR, ITEMS, [2, 4, 10])
    assert averages.keys() == GOLDEN.keys()
    assert averages[key] == pytest.approx(np.nansum(GOLDEN[key]) / 3, rel=1e-12)


def test_padding_is_never_a_hit_nor_a_target() -> None:
    ranked = np.array([[0, -1, 4], [0, 0, -1]])
    values = per_user_metrics(ranked, [0, 3, 5], [0, -1, 4, 0, -1], [3])
    assert values["recall@3"][0] == 1.0  # item 4 is the one real target
    assert values["mrr@3"][0] == pytest.approx(1 / 3)
    assert math.isnan(values["recall@3"][1])  # its targets are padding only


def test_hits_of_one_user_are_not_hits_of_another() -> None:
    values = per_user_metrics([[1, 2], [3, 4]], [0, 1, 2], [3, 1], [2])
    assert values["hit_rate@2"].tolist() == [0.0, 0.0]


def test_perfect_ranking_scores_one_and_no_metric_exceeds_it() -> None:
    averages = ranking_metrics([[4, 2, 7]], [0, 3], [7, 4, 2], [3])
    assert averages == {f"{name}@3": 1.0 for name in RANKING_METRICS}


def test_empty_ranking_scores_zero() -> None:
    averages = ranking_metrics(np.empty((1, 0), dtype=np.int64), [0, 1], [7], [3])
    assert set(averages.values()) == {0.0}


def test_no_user_with_a_target_is_refused() -> None:
    with pytest.raises(DataError, match="no user has a target"):
        ranking_metrics([[1]], [0, 0], np.empty(0, dtype=np.int64), [1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 1]], [0, 1], [1], [1]), "ranked twice"),
        (([[1, 2]], [0, 1, 2], [1, 2], [1]), "number of users"),
        (([[1, 2]], [0, 2], [1], [1]), "target_indptr"),
        (([[1.0, 2.0]], [0, 1], [1], [1]), "must be integers"),
        (([[1, 2]], [0, 1], [1], [0]), "unknown metric"),
        (([[1, 2]], [0, 1], [1], [1], ["auc"]), "unknown metric"),
    ],
)
def test_wrong_input_is_named(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ranking_metrics(*arguments)


def test_metric_keys() -> None:
    assert parse_metric("ndcg@50") == ("ndcg", 50)
    for wrong in ("ndcg", "ndcg@0", "ndcg@-1", "auc@5", "ndcg@5 "):
        with pytest.raises(UsageError, match="unknown metric"):
            parse_metric(wrong)


def test_index_recall_by_hand() -> None:
    exact_ids = [[1, 2, 3], [4, 5, 6]]
    exact_scores = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]
    # k = 2: the first query found 1 of {1, 2}, the second both.
    assert index_recall_at_k([[1, 3], [5, 4]], exact_ids, exact_scores) == pytest.approx(3 / 4)
    assert index_recall_at_k([[1, 3], [5, 4]], exact_ids, exact_scores, k=1) == pytest.approx(1 / 2)


def test_index_recall_accepts_any_of_tied_items_but_not_lower_ones() -> None:
    exact_ids, exact_scores = [[1, 2, 3, 4]], [[3.0, 2.0, 2.0, 1.0]]
    assert index_recall_at_k([[1, 3]], exact_ids, exact_scores) == 1.0
    assert index_recall_at_k([[2, 3]], exact_ids, exact_scores) == 1.0
    assert index_recall_at_k([[1, 4]], exact_ids, exact_scores) == 0.5
    assert (
        index_recall_at_k([[1, 4]], exact_ids, exact_scores, tolerance=0.5) == 1.0
    )  # 1.0 >= 2.0 - 0.5 * 2.0
    assert index_recall_at_k([[1, 4]], exact_ids, exact_scores, tolerance=0.4) == 0.5


def test_index_recall_ignores_empty_places_and_repeats() -> None:
    exact_ids, exact_scores = [[1, 2], [-1, -1], [7, -1]], [[2.0, 1.0], [-np.inf] * 2, [1.0, -np.inf]]
    assert index_recall_at_k([[1, 1], [3, 4], [7, -1]], exact_ids, exact_scores) == pytest.approx(
        (0.5 + 1) / 2
    )


def test_index_recall_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(UsageError, match="differ in shape"):
        index_recall_at_k([[1]], [[1, 2]], [[1.0]])
    with pytest.raises(UsageError, match="k out of range"):
        index_recall_at_k([[1, 2, 3]], [[1, 2]], [[2.0, 1.0]])
    with pytest.raises(DataError, match="no query"):
        index_recall_at_k([[1]], [[-1]], [[-np.inf]])
