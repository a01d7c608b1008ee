"""Lists appended to a built index: postings and floors of both parts."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.index import IndexBuildError, InvertedIndex, append_lists

SCORES = np.array([[0.5, -1.0, 2.0, 0.0], [-3.0, -1.0, -2.0, -4.0], [0.0, 0.0, 0.0, 0.0]], np.float32)


def small_index(**terms: list) -> InvertedIndex:
    return InvertedIndex.from_postings(
        [0, 2, 3], [1, 4, 2], [1.0, 2.0, 3.0], num_items=4, metadata={"a": 1}, **terms
    )


def lists_of(index: InvertedIndex) -> list[dict[int, float]]:
    return [
        dict(zip(*(part.tolist() for part in index.posting_list(term)), strict=True))
        for term in range(index.num_terms)
    ]


def test_unsigned_rows_keep_positive_scores() -> None:
    index = append_lists(small_index(), [SCORES[:2], SCORES[2:]], 0, False)
    assert lists_of(index) == [{1: 1.0, 4: 2.0}, {2: 3.0}, {1: 0.5, 3: 2.0}, {}, {}]
    assert index.floors is None
    assert index.metadata == {"a": 1}


def test_signed_rows_are_kept_above_their_smallest_score() -> None:
    index = append_lists(small_index(floors=[0.25, 0.5]), [SCORES], 0, True)
    assert lists_of(index)[2:] == [{1: 1.5, 3: 3.0, 4: 1.0}, {1: 1.0, 2: 3.0, 3: 2.0}, {}]
    assert index.floors is not None
    assert index.floors.tolist() == [0.25, 0.5, -1.0, -4.0, 0.0]


def test_long_rows_are_cut() -> None:
    index = append_lists(small_index(), [SCORES], 1, True)
    assert lists_of(index)[2:] == [{3: 1.5}, {2: 1.0}, {}]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_named(bad: float) -> None:
    scores = SCORES.copy()
    scores[1, 2] = bad
    with pytest.raises(IndexBuildError, match="term 3, item 3: score is not finite"):
        append_lists(small_index(), [scores], 0, True)


@pytest.mark.parametrize("encoding", ["float32", "uint8"])
def test_appended_lists_are_searched_beside_the_others(encoding: str) -> None:
    index = append_lists(small_index(), [SCORES[:1]], 0, True).pack(encoding)  # type: ignore[arg-type]
    found = index.search([[0, 2, -1]], 4, [[2.0, 10.0, 5.0]])
    assert found.item_ids.tolist() == [[3, 1, 4, -1]]
    np.testing.assert_allclose(found.scores[0, :3], [30.0, 17.0, 14.0], rtol=0.02)
