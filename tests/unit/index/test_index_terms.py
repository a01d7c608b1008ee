"""Floors and redirects of an index."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.errors import IndexFormatError
from sparcode.index import InvertedIndex
from sparcode.index.terms import make_term_table


def make_index(**kwargs: object) -> InvertedIndex:
    return InvertedIndex.from_postings(
        [0, 2, 2, 3], [1, 2, 3], np.array([1.0, 2.0, 4.0], np.float32), num_items=3, **kwargs
    )


def test_a_redirected_term_is_answered_by_the_list_it_names() -> None:
    result = make_index(redirects=[0, 2, 2]).search([[1, -1], [0, 1]], k=3)
    np.testing.assert_array_equal(result.item_ids, [[3, -1, -1], [3, 2, 1]])
    np.testing.assert_array_equal(result.scores, np.array([[4, -np.inf, -np.inf], [4, 2, 1]], np.float32))


def test_without_redirects_an_empty_list_answers_nothing() -> None:
    assert make_index().search([[1]], k=1).item_ids[0, 0] == -1


def test_floors_are_kept_and_read_only() -> None:
    index = make_index(floors=np.array([0.5, 0.0, -1.0]))
    np.testing.assert_array_equal(index.terms.floors, np.array([0.5, 0, -1], np.float32))
    with pytest.raises(ValueError, match="read-only"):
        index.terms.floors[0] = 1  # type: ignore[index]
    assert index.size_bytes == make_index().size_bytes + 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"floors": [0.0]}, "floors must hold one number per term"),
        ({"floors": [0, 1, 2]}, "floors must hold one number per term"),
        ({"floors": [0.0, np.nan, 1.0]}, "term 1"),
        ({"redirects": [0, 1]}, "redirects must hold one number per term"),
        ({"redirects": [0.0, 1.0, 2.0]}, "redirects must hold one number per term"),
        ({"redirects": [0, 3, 2]}, "term 1"),
        ({"redirects": [0, -1, 2]}, "term 1"),
        ({"redirects": [1, 2, 2]}, "term 0"),
    ],
)
def test_a_broken_table_is_refused(arguments: dict[str, list[float]], message: str) -> None:
    with pytest.raises(IndexFormatError, match=message):
        make_term_table(3, **arguments)
