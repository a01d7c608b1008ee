"""Coverage, novelty, popularity, cold users and tail items by hand; per-user metrics in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sparcode.errors import DataError
from sparcode.evaluation.beyond_accuracy import beyond_accuracy, tail_of
from sparcode.evaluation.per_user import PerUser, read_per_user, write_per_user
from sparcode.evaluation.query_set import QuerySet

COUNTS = np.array([0, 8, 4, 2, 1, 1, 0])
"""Items 1 .. 6 with 16 interactions. A head of 12.8 needs items 1, 2 and 3, with 14 of them."""

QUERIES = QuerySet(
    users=np.array([0, 1, 2, 3]),
    history=np.zeros((4, 2), np.int32),
    user_rows=(),
    seen=[np.arange(1, 1 + length, dtype=np.int32) for length in (1, 4, 5, 5)],
    target_indptr=np.array([0, 1, 3, 4, 5]),
    target_items=np.array([3, 4, 1, 5, 2], np.int32),
)
RANKED = np.array([[3, 1], [1, 2], [1, -1], [1, 4]])


def test_coverage_novelty_and_popularity_by_hand() -> None:
    report = beyond_accuracy(RANKED, QUERIES, COUNTS, (1, 2))
    assert report["coverage@1"] == pytest.approx(2 / 6)
    assert report["coverage@2"] == pytest.approx(4 / 6)
    bits = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}  # -log2 of 8, 4, 2 and 1 of 16
    assert report["novelty@1"] == pytest.approx((bits[3] + 3 * bits[1]) / 4)
    assert report["novelty@2"] == pytest.approx((4 * bits[1] + bits[2] + bits[3] + bits[4]) / 7)
    percentile = {1: 600 / 6, 2: 500 / 6, 3: 400 / 6, 4: 250 / 6}  # items 4 and 5 share ranks 2 and 3
    assert report["popularity_percentile@1"] == pytest.approx((percentile[3] + 3 * percentile[1]) / 4)
    assert report["popularity_percentile@2"] == pytest.approx(
        (4 * percentile[1] + sum(percentile.values()) - percentile[1]) / 7
    )


def test_an_item_that_nobody_has_is_as_new_as_one_that_one_user_has() -> None:
    report = beyond_accuracy(np.array([[6], [5], [6], [5]]), QUERIES, COUNTS, (1,))
    assert report["novelty@1"] == pytest.approx(4.0)


def test_lists_without_any_item_have_neither_novelty_nor_popularity() -> None:
    report = beyond_accuracy(np.full((4, 2), -1), QUERIES, COUNTS, (2,))
    assert report["coverage@2"] == 0.0
    assert report["novelty@2"] is report["popularity_percentile@2"] is None


def test_cold_users_are_those_up_to_the_quartile_of_history_lengths() -> None:
    cold = beyond_accuracy(RANKED, QUERIES, COUNTS, (1, 2))["cold_users"]
    assert cold == {
        "history_at_most": 1,
        "num_queries": 1,
        "recall@1": 1.0,
        "ndcg@1": 1.0,
        "recall@2": 1.0,
        "ndcg@2": 1.0,
    }
    later = replace(QUERIES, seen=[QUERIES.seen[number] for number in (1, 0, 2, 3)])
    cold = beyond_accuracy(RANKED, later, COUNTS, (1,))["cold_users"]
    assert (cold["num_queries"], cold["recall@1"]) == (1, 0.5)  # the second user, with two targets
    same = replace(QUERIES, seen=[QUERIES.seen[0]] * 4)
    assert beyond_accuracy(RANKED, same, COUNTS, (1,))["cold_users"] is None


def test_the_tail_is_what_the_head_of_80_percent_leaves() -> None:
    assert tail_of(COUNTS).tolist() == [False, False, False, False, True, True, True]
    exact = np.array([0, 8, 1, 1])  # the first item holds exactly 80 %
    assert tail_of(exact).tolist() == [False, False, True, True]


def test_only_tail_targets_count_for_the_tail() -> None:
    tail = beyond_accuracy(RANKED, QUERIES, COUNTS, (2,))["tail_items"]
    assert tail["num_items"] == 3
    assert tail["num_queries"] == 2  # targets 4 and 5; the head target 1 of the second user is left out
    assert tail["recall@2"] == tail["ndcg@2"] == 0.0
    found = np.array([[3, 1], [1, 4], [1, -1], [1, 4]])
    assert beyond_accuracy(found, QUERIES, COUNTS, (2,))["tail_items"]["recall@2"] == 0.5
    head_only = replace(QUERIES, target_items=np.array([1, 2, 3, 1, 2], np.int32))
    assert beyond_accuracy(RANKED, head_only, COUNTS, (2,))["tail_items"] is None


def test_per_user_metrics_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    metrics = {"ndcg@10": np.array([0.25, 1.0]), "recall@10": np.array([0.0, 0.5])}
    write_per_user(path, PerUser(["a", "b"], metrics, {"split": "test"}, {"metrics": {"ndcg@10": 0.625}}))
    back = read_per_user(path)
    assert (back.users, back.belongs_to) == (["a", "b"], {"split": "test"})
    assert back.report["metrics"] == {"ndcg@10": 0.625}
    assert {name: values.tolist() for name, values in back.metrics.items()} == {
        name: values.tolist() for name, values in metrics.items()
    }
    plain = pyarrow.parquet.read_table(path).to_pandas()
    assert list(plain.columns) == ["user", "ndcg@10", "recall@10"]
    assert plain["ndcg@10"].mean() == 0.625


@pytest.mark.parametrize("text", ["", "PAR1 no PAR1"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.parquet"
    with pytest.raises(DataError, match=r"other.parquet: no file of per-user metrics"):
        read_per_user(path)
    path.write_text(text)
    with pytest.raises(DataError, match=r"other.parquet: no file of per-user metrics"):
        read_per_user(path)
