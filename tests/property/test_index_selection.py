"""The selection of the best entries equals sorting, for any blocks of items and with any number of ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparcode.index.build.pruning import TopPruner
from sparcode.index.search.selection import bound_of_best

SHAPES = ("normal", "few values", "heavy tail", "mostly zero", "one value", "huge")


def rows_of(kind: str, shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    made = {
        "normal": values,
        "few values": np.round(values * 2) / 2,
        "heavy tail": np.exp(values * 10),
        "mostly zero": np.where(rng.random(shape) < 0.9, 0, values),
        "one value": np.full(shape, 0.3),
        "huge": np.sign(values) * 3e38 * rng.random(shape),
    }[kind]
    return made.astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.integers(1, 500),
    st.integers(1, 120),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_best_of_a_stream_of_blocks(
    kind: str, num_items: int, top_l: int, block: int, signed: bool, seed: int
) -> None:
    rows = rows_of(kind, (3, num_items), seed)
    pruner = TopPruner(3, num_items, top_l, signed)
    for first in range(0, num_items, block):
        pruner.add(rows[:, first : first + block], first + 1)
    lists, start = pruner.finish(), 0
    for row, length, floor in zip(rows, lists.lengths, lists.floors, strict=True):
        ranked = sorted((-score, item + 1) for item, score in enumerate(row) if signed or score > 0)
        least = ranked[-1:] if signed else []
        last = ranked[top_l : top_l + 1] or least
        assert floor == (-last[0][0] if last else 0)
        expected = sorted((item, -score - floor) for score, item in ranked[:top_l] if -score - floor > 0)
        found = slice(start, start + length)
        assert lists.item_ids[found].tolist() == [item for item, _ in expected]
        assert lists.scores[found].tolist() == [float(np.float32(score)) for _, score in expected]
        start += length


@pytest.mark.parametrize("signed", [True, False])
def test_falling_and_rising_scores_of_a_long_row(signed: bool) -> None:
    """Rising scores fill the room for candidates again and again."""
    for row in (np.arange(1, 5001), np.arange(5000, 0, -1)):
        pruner = TopPruner(1, 5000, 7, signed)
        pruner.add(row[None].astype(np.float32), 1)
        lists = pruner.finish()
        np.testing.assert_array_equal(lists.item_ids, np.sort(np.argsort(-row)[:7]) + 1)
        assert (lists.floors[0], lists.scores.max()) == (4993, 7)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=200), st.data())
def test_the_bound_of_the_best(values: list[int], data: st.DataObject) -> None:
    want, spare = data.draw(st.integers(1, len(values) + 3)), data.draw(st.integers(0, 9))
    array = np.array(values, np.int64)
    bound = bound_of_best(array, len(array), want, spare)
    reached = int((array >= bound).sum())
    assert reached >= min(want, len(values))
    if want <= len(values):
        assert bound <= np.sort(array)[-want]
        assert reached <= want + spare or (array > bound).sum() < want
