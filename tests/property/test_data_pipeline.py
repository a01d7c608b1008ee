"""Properties of filters and splits on random interactions, against plain oracles."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparcode.config.data_schema import DataConfig
from sparcode.data.filters import in_time_order, k_core
from sparcode.data.pipeline import build_contents
from sparcode.data.raw import RawInteractions
from sparcode.data.vocabulary import sort_values
from sparcode.errors import DataError

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=40)


def raw_of(rows: list[tuple[int, int, int]]) -> RawInteractions:
    users, items, times = np.array(rows).T
    return RawInteractions(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        user_ids=[f"u{n}" for n in range(6)],
        item_ids=[f"i{n}" for n in range(7)],
        ordered=True,
        locate=str,
        timestamps=times,
    )


def k_core_oracle(
    rows: list[tuple[int, int, int]], min_user: int, min_item: int
) -> list[tuple[int, int, int]]:
    """Drop one offending row at a time."""
    rows = list(rows)
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        bad = next((row for row in rows if users[row[0]] < min_user or items[row[1]] < min_item), None)
        if bad is None:
            return rows
        rows.remove(bad)


@given(ROWS, st.integers(0, 4), st.integers(0, 4))
def test_k_core_is_the_largest_subset_whatever_the_order_of_dropping(rows, min_user, min_item):
    kept = k_core(raw_of(rows), np.arange(len(rows)), min_user, min_item)
    assert sorted(rows[row] for row in kept) == sorted(k_core_oracle(rows, min_user, min_item))


@given(ROWS)
def test_time_order_equals_python_sorting(rows):
    expected = sorted(range(len(rows)), key=lambda row: (rows[row][0], rows[row][2]))
    assert in_time_order(raw_of(rows), np.arange(len(rows))).tolist() == expected


@given(
    ROWS,
    st.sampled_from(["leave_one_out", "ratio", "global_time"]),
    st.sampled_from([0.0, 0.1, 0.25, 0.45]),
    st.sampled_from([0.0, 0.1, 0.25, 0.45]),
)
def test_splits_partition_the_interactions_and_never_look_into_the_future(rows, protocol, valid, test):
    config = DataConfig(protocol=protocol, valid_ratio=valid, test_ratio=test, duplicates="keep_all")
    try:
        contents = build_contents(raw_of(rows), config, {})
    except DataError:
        assert protocol == "global_time"  # all timestamps from the cut on are equal
        return
    histories: dict[str, list[tuple[int, int]]] = {}
    for user, item, time in sorted(rows, key=lambda row: (row[0], row[2])):
        histories.setdefault(f"u{user}", []).append((item, time))
    assert contents.user_ids == sorted(histories)
    for number, user in enumerate(contents.user_ids):
        parts = [contents.splits[name].of(number) for name in ("train", "valid", "test")]
        joined = [int(contents.item_ids[item - 1][1:]) for part in parts for item in part]
        assert joined == [item for item, _ in histories[user]]


@given(st.lists(st.integers(-50, 10**20)))
def test_plain_integers_sort_numerically(numbers):
    assert sort_values(map(str, numbers)) == [str(number) for number in sorted(set(numbers))]


@given(st.sets(st.text(max_size=4)))
def test_sorting_does_not_depend_on_the_order_given(values):
    forwards, backwards = sort_values(sorted(values)), sort_values(sorted(values, reverse=True))
    assert forwards == backwards
    assert set(forwards) == values
