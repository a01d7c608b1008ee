"""The selection of the best entries equals sorting, for any blocks of items and with any number of ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparcode.index.build.selection import _BUCKETS, all_finite, kth_largest, offer_block

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
    kind: str, num_items: int, capacity: int, block: int, positive: bool, seed: int
) -> None:
    rows = rows_of(kind, (3, num_items), seed)
    lowest = 0.0 if positive else -np.inf
    thresholds = np.full(3, lowest, np.float32)
    scores, items = np.empty((3, capacity + 1), np.float32), np.empty((3, capacity + 1), np.int32)
    fill = np.zeros(3, np.int64)
    for first in range(0, num_items, block):
        offer_block(rows[:, first : first + block], first + 1, thresholds, scores, items, fill)
    for row in range(3):
        ranked = sorted((-score, item + 1) for item, score in enumerate(rows[row]) if score > lowest)
        expected = sorted((item, -score) for score, item in ranked[:capacity])
        kept = zip(items[row, : fill[row]], scores[row, : fill[row]], strict=True)
        assert [(int(i), float(s)) for i, s in kept] == [(i, float(s)) for i, s in expected]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(1, 400), st.data(), st.integers(0, 2**32))
def test_kth_largest(kind: str, size: int, data: st.DataObject, seed: int) -> None:
    values = rows_of(kind, (1, size), seed)[0]
    k = data.draw(st.integers(1, size))
    found = kth_largest(values, size, k, np.empty(size, np.float32), np.empty(_BUCKETS, np.int64))
    assert found == np.sort(values)[size - k]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_seen(bad: float) -> None:
    block = rows_of("huge", (4, 50), 0)
    assert all_finite(block)
    block[2, 31] = bad
    assert not all_finite(block)
