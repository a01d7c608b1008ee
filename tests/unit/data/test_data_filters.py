"""Filters one at a time, on rows written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparcode.data.filters import in_time_order, k_core, rated_at_least, select_rows, without_duplicates
from sparcode.data.raw import RawInteractions
from sparcode.errors import DataError


def raw_of(users: list[int], items: list[int], **values: Any) -> RawInteractions:
    return RawInteractions(
        users=np.array(users, dtype=np.int32),
        items=np.array(items, dtype=np.int32),
        user_ids=[f"u{n}" for n in range(max(users) + 1)],
        item_ids=[f"i{n}" for n in range(max(items) + 1)],
        ordered=True,
        locate=lambda row: f"file:{row + 1}",
        **values,
    )


def test_rating_threshold_includes_its_value():
    raw = raw_of([0, 0, 0], [0, 1, 2], ratings=np.array([3.0, 3.5, 4.0], dtype=np.float32))
    assert rated_at_least(raw, 3.5).tolist() == [1, 2]
    assert rated_at_least(raw, None).tolist() == [0, 1, 2]


def test_time_order_is_stable_under_equal_timestamps():
    raw = raw_of([1, 0, 1, 0, 1, 1], [0, 1, 2, 3, 4, 5], timestamps=np.array([5, 9, 5, 2, 1, 5]))
    assert in_time_order(raw, np.arange(6)).tolist() == [3, 1, 4, 0, 2, 5]


def test_without_timestamps_the_file_order_stays():
    raw = raw_of([1, 0, 1, 0], [3, 2, 1, 0])
    assert in_time_order(raw, np.arange(4)).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("policy", "kept"), [("keep_first", [0, 1, 3]), ("keep_last", [1, 2, 3]), ("keep_all", [0, 1, 2, 3])]
)
def test_duplicate_policies(policy, kept):
    raw = raw_of([0, 0, 0, 1], [7, 8, 7, 7])
    assert without_duplicates(raw, np.arange(4), policy).tolist() == kept


def test_first_means_first_in_time_not_in_the_file(make_config):
    raw = raw_of([0, 0, 0], [7, 8, 7], timestamps=np.array([30, 20, 10]))
    assert select_rows(raw, make_config("table")).tolist() == [2, 1]
    assert select_rows(raw, make_config("table", duplicates="keep_last")).tolist() == [1, 0]


def test_policy_error_names_the_repetition_in_file_order():
    raw = raw_of([0, 0, 0], [7, 8, 7], timestamps=np.array([30, 20, 10]))
    with pytest.raises(DataError, match="file:3: duplicate interaction; received user u0, item i7"):
        without_duplicates(raw, in_time_order(raw, np.arange(3)), "error")


def test_k_core_needs_several_rounds():
    # Item 3 has one interaction; without it user 2 has one; without that item 2 has one; and so on.
    users = [0, 0, 1, 1, 2, 2]
    items = [0, 1, 0, 1, 1, 3]
    assert k_core(raw_of(users, items), np.arange(6), 2, 2).tolist() == [0, 1, 2, 3]
    chain_users, chain_items = [0, 0, 1, 1, 2], [0, 1, 1, 2, 2]
    assert k_core(raw_of(chain_users, chain_items), np.arange(5), 2, 2).tolist() == []


def test_k_core_of_one_side():
    raw = raw_of([0, 0, 1], [0, 1, 0])
    assert k_core(raw, np.arange(3), 2, 0).tolist() == [0, 1]
    assert k_core(raw, np.arange(3), 0, 2).tolist() == [0, 2]


def test_pairs_of_large_catalogues_do_not_collide():
    # 100000 users x 100000 items do not fit 32 bits: 42949 * 100000 + 67296 = 2**32.
    raw = raw_of([0, 42949, 99999], [0, 67296, 99999])
    assert len(without_duplicates(raw, np.arange(3), "keep_first")) == 3
