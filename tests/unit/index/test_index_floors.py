"""Floors of an index."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.errors import IndexFormatError
from sparcode.index import InvertedIndex


def make_index(**kwargs: object) -> InvertedIndex:
    return InvertedIndex.from_postings(
        [0, 2, 2, 3], [1, 2, 3], np.array([1.0, 2.0, 4.0], np.float32), num_items=3, **kwargs
    )


def test_an_empty_list_answers_nothing() -> None:
    assert make_index().search([[1]], k=1).item_ids[0, 0] == -1


def test_floors_are_kept_and_read_only() -> None:
    index = make_index(floors=np.array([0.5, 0.0, -1.0]))
    assert index.floors is not None
    np.testing.assert_array_equal(index.floors, np.array([0.5, 0, -1], np.float32))
    with pytest.raises(ValueError, match="read-only"):
        index.floors[0] = 1
    assert index.size_bytes == make_index().size_bytes + 12


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ([0.0], "floors must hold one number per term"),
        ([0, 1, 2], "floors must hold one number per term"),
        ([0.0, np.nan, 1.0], "term 1"),
    ],
)
def test_broken_floors_are_refused(floors: list[float], message: str) -> None:
    with pytest.raises(IndexFormatError, match=message):
        make_index(floors=floors)
