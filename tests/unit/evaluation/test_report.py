"""Reports: metrics of a ranker by hand, fidelity, latency and the printed table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sparcode.errors import OutputError
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.report import fidelity, latency, relevance
from sparcode.evaluation.report_text import byte_text, render
from sparcode.files import check_writable
from sparcode.training.world import World
from sparcode.types import SearchResult

QUERIES = QuerySet(
    users=np.array([4, 9]),
    history=np.zeros((2, 3), np.int32),
    user_rows=(),
    seen=[np.array([1], np.int32), np.array([2], np.int32)],
    target_indptr=np.array([0, 1, 3]),
    target_items=np.array([5, 7, 8], np.int32),
)


class Fixed:
    """A ranker with given lists; remembers what it was asked for."""

    name = "fixed"

    def __init__(self, ids: list[list[int]], scores: list[list[float]] | None = None) -> None:
        self._ids = np.array(ids, np.int64)
        width = self._ids.shape[1]
        self._scores = np.array(scores or [list(range(width, 0, -1))] * len(ids), np.float32)
        self.asked: list[tuple[int, bool]] = []

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        self.asked.append((k, exclude_seen))
        return SearchResult(self._ids[:, :k], self._scores[:, :k])

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, np.ndarray]:
        return {"encode": np.array([2.0, 4.0, 3.0]), "search": np.array([0.1, 0.3, 0.2])}


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_relevance_by_hand(exclude_seen: bool) -> None:
    ranker = Fixed([[5, 3, 4, 6], [7, 1, 8, 3]])
    metrics = relevance(ranker, QUERIES, (2, 4), exclude_seen, World())
    assert ranker.asked == [(4, exclude_seen)]
    assert metrics["recall@2"] == pytest.approx((1 + 0.5) / 2)
    assert metrics["recall@4"] == 1.0
    assert metrics["precision@4"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert metrics["hit_rate@2"] == 1.0
    assert metrics["mrr@4"] == 1.0
    ideal = 1 + 1 / np.log2(3)
    assert metrics["ndcg@4"] == pytest.approx((1 + (1 + 1 / np.log2(4)) / ideal) / 2)
    assert set(metrics) == {
        f"{name}@{k}" for name in ("precision", "recall", "ndcg", "hit_rate", "mrr") for k in (2, 4)
    }


def test_fidelity_of_an_equal_ranking_is_one() -> None:
    exact = Fixed([[5, 3, 4, 6], [7, 1, 8, 3]])
    assert fidelity(Fixed([[5, 3], [7, 1]], [[4, 3], [4, 3]]), exact, QUERIES, 2, True) == {
        "index_recall@2": 1.0,
        "max_score_error": 0.0,
        "recall_change@2": 0.0,
        "ndcg_change@2": 0.0,
        "index_ndcg@2": pytest.approx(0.8065735963827292),
    }


def test_the_price_of_pruning_is_stated_in_relevance() -> None:
    exact = Fixed([[5, 3, 4, 6], [7, 1, 8, 3]])
    found = fidelity(Fixed([[3, 4], [8, 1]], [[4, 3], [4, 3]]), exact, QUERIES, 2, True)
    both = [
        relevance(Fixed(ids), QUERIES, (2,), True, World()) for ids in ([[3, 4], [8, 1]], [[5, 3], [7, 1]])
    ]
    for name in ("recall", "ndcg"):
        change = both[0][f"{name}@2"] - both[1][f"{name}@2"]
        assert change < 0
        assert found[f"{name}_change@2"] == pytest.approx(change)


def test_fidelity_sees_a_missing_item_and_a_wrong_score() -> None:
    exact = Fixed([[5, 3, 4, 6], [7, 1, 8, 3]])
    found = Fixed([[5, 6], [7, 1]], [[4, 1], [3.5, 3]])
    report = fidelity(found, exact, QUERIES, 2, True)
    assert report["index_recall@2"] == pytest.approx(0.75)
    assert report["max_score_error"] == pytest.approx(0.5)


def test_the_floors_of_signed_lists_are_no_error() -> None:
    """They lower all scores of a query alike: what is left is what can change an order."""
    exact = Fixed([[5, 3, 4, 6, 1, 2], [7, 1, 8, 3, 2, 4]], [[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]])
    floors = Fixed([[5, 3, 4], [7, 1, 8]], [[-24, -25, -26], [1, 0, -1]])
    assert fidelity(floors, exact, QUERIES, 3, True, signed=True)["max_score_error"] == 0.0
    assert fidelity(floors, exact, QUERIES, 3, True)["max_score_error"] == 30.0
    wrong = Fixed([[5, 3, 4], [7, 1, 8]], [[-24, -25, -26.25], [1, 0, -1]])
    assert fidelity(wrong, exact, QUERIES, 3, True, signed=True)["max_score_error"] == 0.25


def test_fidelity_lets_ties_count_and_asks_no_one_for_zero_scores() -> None:
    exact = Fixed([[5, 3, 4, 6], [7, 1, 8, 3]], [[4, 3, 3, 1], [2, 0, 0, 0]])
    found = Fixed([[5, 4], [7, -1]], [[4, 3], [2, -np.inf]])
    assert fidelity(found, exact, QUERIES, 2, True)["index_recall@2"] == 1.0


def test_latency_is_median_and_99th_percentile() -> None:
    summary = latency(Fixed([[1]]), QUERIES, 1, True, threads=2)
    assert summary == {
        "encode_p50": 3.0,
        "search_p50": 0.2,
        "search_p99": pytest.approx(0.298),
        "threads": 2,
        "batch": 1,
    }


REPORT = {
    "dataset": "ring",
    "model": "sparcode",
    "encoder": "dnn",
    "retriever": "index",
    "split": "test",
    "seed": 3,
    "num_queries": 6040,
    "num_items": 3260,
    "metrics": {"mrr@10": 1.0, "recall@10": 0.125, "ndcg@10": 0.5, "recall@50": 0.25, "ndcg@50": 0.75},
    "beyond_accuracy": {
        "coverage@10": 0.1,
        "popularity_percentile@10": 99.0,
        "coverage@50": 0.425,
        "popularity_percentile@50": 91.4,
        "tail_items": {"num_items": 30, "recall@10": 0.25},
        "cold_users": None,
    },
    "fidelity": {"index_recall@50": 0.975, "ndcg_change@50": -0.0025},
    "size_bytes": 1_234_567,
    "index": {
        "num_postings": 123456,
        "size_bytes": 1_234_567,
        "postings_read_p50": 1600,
        "encoding": "plain",
    },
    "latency_ms": {"encode_p50": 1.25, "search_p50": 0.0456, "search_p99": 0.1, "threads": 1},
}


def test_the_report_is_a_table_and_a_few_lines() -> None:
    assert render(json.loads(json.dumps(REPORT))).splitlines() == [
        "ring, test split: 6,040 queries, 3,260 items",
        "sparcode (dnn), seed 3, by index",
        "",
        "              @10        @50",
        "recall     0.1250     0.2500",
        "ndcg       0.5000     0.7500",
        "mrr        1.0000",
        "",
        "top 50 of all: 42.5 % of the items, popularity percentile 91",
        "index: 1.23 MB, 123,456 postings, a query reads 1,600",
        "against scoring every item: 97.5 % of the top 50 found, NDCG@50 -0.0025",
        "time of a query, median: encode 1.25 ms, search 0.0456 ms",
    ]
    assert "by index, best 200 rescored" in render({**REPORT, "rescore": 200})


def test_what_is_not_in_a_report_is_left_out() -> None:
    bare = {**REPORT, "beyond_accuracy": {}, "fidelity": {}, "index": {}, "latency_ms": {}}
    assert render(bare).splitlines()[-1] == "size: 1.23 MB"
    assert render({**bare, "size_bytes": None}).splitlines()[-1].startswith("mrr")


def test_every_figure_is_in_the_verbose_report() -> None:
    lines = render(REPORT, verbose=True).splitlines()
    assert "index.num_postings = 123,456" in lines
    assert "index.encoding = plain" in lines
    assert "latency_ms.search_p99 = 0.1" in lines
    assert "metrics.recall@10 = 0.125" in lines
    assert "beyond_accuracy.tail_items.recall@10 = 0.25" in lines
    assert not any("cold_users" in line for line in lines)


def test_many_cut_offs_stay_within_eighty_columns() -> None:
    metrics = {f"recall@{k}": 0.5 for k in (1000, *range(1, 12))}
    lines = render({**REPORT, "metrics": metrics}).splitlines()
    assert max(map(len, lines)) <= 80
    assert "@1000" in " ".join(lines)
    assert sum(line.startswith("recall") for line in lines) == 2


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_500_000, "1.5 MB"),
        (999_600, "1 MB"),
        (8e9, "8 GB"),
    ],
)
def test_bytes_have_units(size: int, text: str) -> None:
    assert byte_text(int(size)) == text


def test_json_path_is_checked_before_the_work(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError, match="file"):
        check_writable(file / "below" / "report.json")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path)
    check_writable(tmp_path / "new" / "report.json")
    assert list((tmp_path / "new").iterdir()) == []
