"""The second stage against plain loops: scores of candidates, their crosses, their order."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index.postings import Postings, make_postings
from sparcode.index.search.rescoring import (
    CandidateParts,
    CandidateRanking,
    HistoryLists,
    half_parts,
    score_each,
)
from sparcode.types import SearchResult

NUM_ITEMS = 300


def make_candidates(rng: np.random.Generator, num_queries: int, count: int) -> NDArray[np.int64]:
    """(B, R) items in any order, with holes of -1 and 0 at any place."""
    rows = np.stack([rng.permutation(NUM_ITEMS)[:count] + 1 for _ in range(num_queries)])
    holes = rng.random(rows.shape)
    return np.where(holes < 0.1, -1, np.where(holes < 0.15, 0, rows))


def make_lists(rng: np.random.Generator, whole: bool = False) -> Postings:
    """Lists of up to 299 crosses for as many items; ``whole``: with weights that floats add up exactly."""
    lists = [np.sort(rng.permutation(NUM_ITEMS)[:length] + 1) for length in rng.integers(0, 300, NUM_ITEMS)]
    count = sum(map(len, lists))
    weights = rng.integers(1, 9, count) if whole else rng.random(count) + 0.01
    borders = np.cumsum([0, *map(len, lists)])
    return make_postings(borders, np.concatenate(lists), weights.astype(np.float32), NUM_ITEMS)


def oracle(
    item_ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    k: int,
    lists: Postings | None = None,
    history: HistoryLists | None = None,
) -> SearchResult:
    """One candidate after the other."""
    found = SearchResult(np.full((len(item_ids), k), -1), np.full((len(item_ids), k), -np.inf, np.float32))
    for row, ids in enumerate(item_ids):
        totals = {int(item): float(scores[row, slot]) for slot, item in enumerate(ids) if item > 0}
        if lists is not None and history is not None:
            for term, weight in zip(history.terms[row], history.weights[row], strict=True):
                if term >= 0:
                    for item, value in zip(*lists.posting_list(int(term)), strict=True):
                        if int(item) in totals:
                            totals[int(item)] += float(weight) * float(value)
        best = sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        for place, (item, total) in enumerate(best):
            found.item_ids[row, place], found.scores[row, place] = item, total
    return found


def assert_same(found: SearchResult, expected: SearchResult) -> None:
    np.testing.assert_array_equal(found.item_ids, expected.item_ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.item_ids.dtype == np.int64
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize("width", [1, 7, 33, 64, 100])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_scores_are_dot_products(width: int, count: int) -> None:
    rng = np.random.default_rng(width + count)
    parts = rng.normal(size=(NUM_ITEMS + 1, width)).astype(np.float32)
    queries = rng.normal(size=(5, width)).astype(np.float32)
    item_ids = make_candidates(rng, 5, count)
    exact = np.einsum("bd,brd->br", queries.astype(np.float64), parts[np.maximum(item_ids, 0)])
    found = CandidateParts(parts).scores(queries, item_ids)
    assert found.dtype == np.float32
    assert (found[item_ids < 1] == -np.inf).all()
    real = item_ids > 0
    np.testing.assert_allclose(found[real], exact[real], rtol=1e-5, atol=1e-5)
    # float16: as of the rounded parts, and off by no more than rounding explains
    halves = half_parts(parts)
    found = CandidateParts(halves).scores(queries, item_ids)
    rounded = np.einsum("bd,brd->br", queries.astype(np.float64), halves[np.maximum(item_ids, 0)])
    np.testing.assert_allclose(found[real], rounded[real], rtol=1e-5, atol=1e-5)
    bound = np.einsum("bd,brd->br", np.abs(queries), np.abs(parts[np.maximum(item_ids, 0)])) / 2048 + 1e-5
    assert (np.abs(found - exact)[real] <= bound[real]).all()


def test_every_float16_is_read_as_it_is() -> None:
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    parts = np.concatenate([[0], values]).astype(np.float16)[:, None]
    found = CandidateParts(parts).scores(np.ones((1, 1), np.float32), np.arange(1, len(parts))[None])
    np.testing.assert_array_equal(found[0], values.astype(np.float32))
    large = CandidateParts(parts).scores(np.full((1, 1), 1e8, np.float32), np.arange(1, len(parts))[None])
    np.testing.assert_allclose(large[0], values.astype(np.float64) * 1e8, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 50, 400])
def test_the_best_candidates_by_descending_score(k: int) -> None:
    rng = np.random.default_rng(k)
    item_ids = make_candidates(rng, 9, 120)
    item_ids[3], item_ids[4, :100] = -1, -1
    scores = np.round(rng.normal(size=item_ids.shape) * 2).astype(
        np.float32
    )  # many ties, half of them below 0
    assert_same(CandidateRanking().best(item_ids, scores.copy(), k), oracle(item_ids, scores, k))
    scores = rng.normal(size=item_ids.shape).astype(np.float32) * 1e30
    assert_same(CandidateRanking().best(item_ids, scores.copy(), k), oracle(item_ids, scores, k))


def test_zeros_of_either_sign_tie() -> None:
    scores = np.array([[-0.0, 0.0, -0.0, -1e-38]], np.float32)
    found = CandidateRanking().best(np.array([[9, 4, 2, 1]]), scores, 4)
    assert found.item_ids.tolist() == [[2, 4, 9, 1]]


@pytest.mark.parametrize(("num_queries", "count"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_order(num_queries: int, count: int) -> None:
    item_ids = np.zeros((num_queries, count), np.int64)
    scores = CandidateParts(np.ones((4, 2), np.float32)).scores(
        np.ones((num_queries, 2), np.float32), item_ids
    )
    history = HistoryLists(np.zeros((num_queries, 2), np.int64), np.ones((num_queries, 2), np.float32))
    lists = make_postings([0, 1], [3], [1.0], 3)
    for found in (
        CandidateRanking().best(item_ids, scores, 2),
        CandidateRanking(lists).best(item_ids, scores, 2, history),
    ):
        assert found.item_ids.tolist() == [[-1, -1]] * num_queries
        assert found.scores.tolist() == [[-np.inf, -np.inf]] * num_queries


def test_crosses_are_added_exactly() -> None:
    rng = np.random.default_rng(1)
    lists = make_lists(rng, whole=True)
    ranking = CandidateRanking(lists)
    for _ in range(3):  # one table of slots serves all batches
        item_ids = make_candidates(rng, 6, 150)
        scores = rng.integers(-40, 40, item_ids.shape).astype(np.float32)
        history = HistoryLists(
            rng.integers(-2, NUM_ITEMS, (6, 12)), rng.integers(0, 4, (6, 12)).astype(np.float32)
        )
        expected = oracle(item_ids, scores, 30, lists, history)
        assert_same(ranking.best(item_ids, scores.copy(), 30, history), expected)
        without = oracle(item_ids, scores, 30)
        assert_same(ranking.best(item_ids, scores.copy(), 30), without)
        assert (without.item_ids != expected.item_ids).any()


def test_crosses_of_any_weight() -> None:
    rng = np.random.default_rng(2)
    lists = make_lists(rng)
    item_ids = make_candidates(rng, 6, 150)
    scores = rng.normal(size=item_ids.shape).astype(np.float32)
    terms, weights = rng.integers(-2, NUM_ITEMS, (6, 12)), rng.random((6, 24)).astype(np.float32)[:, ::2]
    history = HistoryLists(terms.astype(np.int32), weights)
    expected = oracle(item_ids, scores, 30, lists, history)
    found = CandidateRanking(lists).best(item_ids, scores, 30, history)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_items_beyond_the_table_have_no_crosses() -> None:
    lists = make_postings([0, 2, 3], [1, 2, 2], [4.0, 1.0, 2.0], 2)
    history = HistoryLists(np.array([[0, 1, -1]]), np.array([[1.0, 10.0, 100.0]], np.float32))
    scores = np.array([[1.0, 2.0, 3.0]], np.float32)
    found = CandidateRanking(lists).best(np.array([[2, 7, 1]]), scores, 3, history)
    assert found.item_ids.tolist() == [[2, 1, 7]]
    assert found.scores.tolist() == [[22.0, 7.0, 2.0]]


def test_threads_take_turns() -> None:
    rng = np.random.default_rng(3)
    lists = make_lists(rng, whole=True)
    ranking = CandidateRanking(lists)
    batches = []
    for _ in range(2):
        item_ids = make_candidates(rng, 40, 200)
        history = HistoryLists(rng.integers(0, NUM_ITEMS, (40, 20)), np.ones((40, 20), np.float32))
        batches.append((item_ids, history))
    zeros = np.zeros((40, 200), np.float32)
    expected = [oracle(item_ids, zeros, 20, lists, history) for item_ids, history in batches]
    found: list[list[SearchResult]] = [[], []]

    def work(number: int) -> None:
        item_ids, history = batches[number]
        for _ in range(30):
            found[number].append(ranking.best(item_ids, zeros.copy(), 20, history))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, wanted in zip(found, expected, strict=True):
        assert len(results) == 30
        for result in results:
            assert_same(result, wanted)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        (np.ones((3, 2)), "no matrix of floats"),
        (np.ones(3, np.float32), "no matrix of floats"),
        (np.array([[0, np.nan]], np.float32), "not finite"),
        (np.array([[0, np.inf]], np.float16), "not finite"),
    ],
)
def test_other_parts_are_refused(parts: NDArray, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        CandidateParts(parts)


def test_numbers_that_float16_cannot_hold_are_refused() -> None:
    with pytest.raises(UsageError, match=r"do not fit into float16; .*received 70000"):
        half_parts(np.array([[1.0, -70000.0]], np.float32))


@pytest.mark.parametrize(
    ("queries", "item_ids", "match"),
    [
        ((2, 3), [[1], [2]], "queries do not belong"),
        ((1, 2), [[1], [2]], "queries do not belong"),
        ((1, 2), [[1, 3, 2]], "item id out of range"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    queries: tuple[int, int], item_ids: Sequence[Sequence[int]], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        CandidateParts(np.ones((3, 2), np.float16)).scores(np.ones(queries, np.float32), np.array(item_ids))


def test_a_list_that_there_is_not_is_refused() -> None:
    ranking = CandidateRanking(make_postings([0, 1], [3], [1.0], 3))
    history = HistoryLists(np.array([[1]]), np.ones((1, 1), np.float32))
    with pytest.raises(UsageError, match="no such list of crosses"):
        ranking.best(np.array([[3]]), np.zeros((1, 1), np.float32), 1, history)


def test_candidates_scored_one_query_after_the_other() -> None:
    asked = []

    def score(row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.append((row, ids.tolist()))
        return ids.astype(np.float32) / 2

    found = score_each(np.array([[4, -1, 9], [0, -1, -1], [5, 3, -1]]), score)
    assert asked == [(0, [4, 9]), (2, [5, 3])]
    assert found.tolist() == [[2.0, -np.inf, 4.5], [-np.inf] * 3, [2.5, 1.5, -np.inf]]
