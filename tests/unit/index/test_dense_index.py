"""Exact dot-product search: the result rule and filters of the inverted index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparcode.errors import UsageError
from sparcode.index.search import dense
from sparcode.index.search.dense import DenseIndex

# items 1 to 4; row 0 is padding with the largest product of all
VECTORS = np.array([[9, 9], [1, 0], [0, 1], [1, 0], [-1, 2]], np.float32)


def test_best_items_first_with_ties_by_id_and_padding_never() -> None:
    result = DenseIndex(VECTORS).search([[1, 0.5], [-1, 0]], 5)
    assert result.item_ids.tolist() == [[1, 3, 2, 4, -1], [4, 2, 1, 3, -1]]
    assert result.scores.tolist() == [[1, 1, 0.5, 0, -np.inf], [1, 0, -1, -1, -np.inf]]
    assert (result.item_ids.dtype, result.scores.dtype) == (np.int64, np.float32)


def test_exclude_and_allow_per_query_and_shared() -> None:
    index, queries = DenseIndex(VECTORS), np.float32([[1, 0], [1, 0]])
    found = index.search(queries, 2, exclude=[np.array([1]), None], allow=[None, np.array([2, 4, 4])])
    assert found.item_ids.tolist() == [[3, 2], [2, 4]]
    assert index.search(queries, 2, exclude=np.array([1, 3, -1])).item_ids.tolist() == [[2, 4]] * 2
    assert index.search(queries, 2, allow=[np.array([], int)] * 2).item_ids.tolist() == [[-1, -1]] * 2


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        ([[1, 2, 3]], 1, "differ in width"),
        ([1, 2], 1, "differ in width"),
        ([[1, 2]], 0, "k out of range"),
        ([[1, np.nan]], 1, "queries are not finite"),
    ],
)
def test_bad_searches_are_refused(queries: Any, k: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DenseIndex(VECTORS).search(queries, k)


@pytest.mark.parametrize(
    "vectors",
    [VECTORS[0], VECTORS[:1], VECTORS.astype(np.float64), np.float32([[0, 0], [np.inf, 0]])],
)
def test_bad_vectors_are_refused(vectors: Any) -> None:
    with pytest.raises(UsageError, match="item_vectors are"):
        DenseIndex(vectors)


@given(
    seed=st.integers(0, 2**16), num_items=st.integers(1, 12), block=st.integers(1, 40), k=st.integers(1, 15)
)
def test_any_block_size_agrees_with_sorting_all_scores(seed: int, num_items: int, block: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (num_items + 1, 2)).astype(np.float32)  # small integers: exact, many ties
    queries = rng.integers(-2, 3, (4, 2)).astype(np.float32)
    exclude = [rng.integers(1, num_items + 1, rng.integers(0, 4)) for _ in queries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_BLOCK_SCORES", block)
        result = DenseIndex(vectors).search(queries, k, exclude=exclude)
    for row, query in enumerate(queries):
        scores = {item: float(vectors[item] @ query) for item in range(1, num_items + 1)}
        ranked = sorted(set(scores) - set(exclude[row].tolist()), key=lambda item: (-scores[item], item))[:k]
        assert result.item_ids[row].tolist() == ranked + [-1] * (k - len(ranked))
        assert result.scores[row, : len(ranked)].tolist() == [scores[item] for item in ranked]
