"""Rescoring by hand: order, ties, rows of different length."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.index import InvertedIndex
from sparcode.index.search.rescoring import listed_scores, rescore
from sparcode.types import SearchResult

FOUND = SearchResult(
    np.array([[4, 9, 2, 7], [5, 3, -1, -1], [-1, -1, -1, -1]], np.int64),
    np.array([[9, 8, 7, 6], [5, 4, -np.inf, -np.inf], [-np.inf] * 4], np.float32),
)
NEW = {2: 1.0, 3: -2.0, 4: 0.5, 5: -3.0, 7: 1.0, 9: 4.0}


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_new_scores_decide(k: int) -> None:
    asked = []

    def score(row: int, ids: np.ndarray) -> np.ndarray:
        asked.append((row, ids.tolist()))
        return np.array([NEW[int(item)] for item in ids], np.float32)

    found = rescore(FOUND, score, k)
    assert asked == [(0, [4, 9, 2, 7]), (1, [5, 3])]
    expected = [[9, 2, 7, 4], [3, 5, -1, -1], [-1] * 4]  # 2 and 7 tie
    for row, (ids, best) in enumerate(zip(found.item_ids, expected, strict=True)):
        assert ids.tolist() == (best + [-1] * 2)[:k]
        for item, score_found in zip(ids, found.scores[row], strict=True):
            assert score_found == (NEW[int(item)] if item > 0 else -np.inf)
    assert found.item_ids.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_scores_of_listed_items_in_the_order_asked_for() -> None:
    index = InvertedIndex.from_postings([0, 2, 4], [1, 4, 2, 4], [1.0, 2.0, 3.0, 0.5], num_items=5)
    asked = np.array([[4, 3, 1, -1], [2, -1, -1, -1], [5, 4, 2, 1]])
    found = listed_scores(
        index.search, np.array([[0, 1], [1, -1], [1, 1]]), np.array([[1, 2], [4, 9], [1, 1]]), asked
    )
    assert found.tolist() == [[3.0, 0.0, 1.0, 0.0], [12.0, 0.0, 0.0, 0.0], [0.0, 1.0, 6.0, 0.0]]


def test_kept_scores_are_added_to_new_ones() -> None:
    found = SearchResult(np.array([[7, 5, -1]]), np.array([[3.0, 2.0, -np.inf]], np.float32))
    best = rescore(found, lambda row, ids: ids.astype(np.float32), 2, np.array([[0.0, 4.0, 9.0]], np.float32))
    assert best.item_ids.tolist() == [[5, 7]]
    assert best.scores.tolist() == [[9.0, 7.0]]
