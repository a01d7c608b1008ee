"""Protocols on interactions small enough to divide by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparcode.config.data_schema import DataConfig
from sparcode.data.raw import TEST, TRAIN, VALID
from sparcode.data.splits import SortedRows, split_rows
from sparcode.errors import ConfigError, DataError

LETTERS = {TRAIN: "t", VALID: "v", TEST: "T"}


def rows_of(users: list[int], **values: Any) -> SortedRows:
    settings = {"timestamps": None, "given": None, "ordered": True}
    return SortedRows(users=np.array(users, dtype=np.int32), **{**settings, **values})


def split(rows: SortedRows, protocol: str, **values: Any) -> str:
    config = DataConfig(source="user_lines", path="x", protocol=protocol, **values)  # type: ignore[arg-type]
    return "".join(LETTERS[label] for label in split_rows(rows, config))


def test_leave_one_out_keeps_short_users_in_train():
    assert split(rows_of([0, 0, 0, 0, 1, 1, 2, 2, 2, 4]), "leave_one_out") == "ttvTtttvTt"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "t"),  # 0.3 rounds to 0
        (2, "tT"),  # 0.6 rounds to 1 twice, but one interaction stays in train
        (3, "tvT"),  # 0.9
        (4, "ttvT"),  # 1.2
        (5, "tvvTT"),  # 1.5 rounds up
        (10, "ttttvvvTTT"),
    ],
)
def test_ratio_takes_the_last_ones_of_ordered_data(count, expected):
    assert split(rows_of([0] * count), "ratio", valid_ratio=0.3, test_ratio=0.3) == expected


def test_ratio_of_unordered_data_is_random_with_exact_counts():
    rows = rows_of([0] * 10 + [1] * 20, ordered=False)
    first = split(rows, "ratio", valid_ratio=0.1, test_ratio=0.2, split_seed=3)
    assert sorted(first[:10]) == sorted("tttttttvTT")
    assert sorted(first[10:]) == sorted("t" * 14 + "vv" + "TTTT")
    assert first == split(rows, "ratio", valid_ratio=0.1, test_ratio=0.2, split_seed=3)
    assert first != split(rows, "ratio", valid_ratio=0.1, test_ratio=0.2, split_seed=4)
    assert first != "".join(sorted(first, key="tvT".index))


def test_global_time_cuts_all_users_at_the_same_times():
    # Ten interactions; the cuts are the times of the 7th and the 9th in order: 70 and 90.
    rows = rows_of(
        [0, 0, 0, 0, 1, 1, 1, 2, 2, 2], timestamps=np.array([10, 20, 80, 100, 30, 70, 90, 40, 50, 60])
    )
    assert split(rows, "global_time", valid_ratio=0.2, test_ratio=0.2) == "ttvTtvTttt"


def test_global_time_never_divides_equal_timestamps():
    # The cut falls between the two interactions at time 5; both go to the later part.
    rows = rows_of([0, 0, 1, 1], timestamps=np.array([1, 5, 2, 5]))
    assert split(rows, "global_time", valid_ratio=0.0, test_ratio=0.25) == "tTtT"


def test_global_time_needs_timestamps():
    with pytest.raises(ConfigError, match=r"data\.protocol: global_time needs timestamps"):
        split(rows_of([0, 0]), "global_time")


def test_nothing_left_to_train():
    rows = rows_of([0, 1, 2], timestamps=np.array([5, 5, 5]))
    with pytest.raises(DataError, match="no training interaction is left"):
        split(rows, "global_time")


def test_pre_split_keeps_the_test_part_and_takes_the_last_of_train():
    given = np.array([TRAIN] * 5 + [TEST] + [TRAIN, TEST, TEST], dtype=np.int8)
    rows = rows_of([0] * 6 + [1] * 3, given=given)
    assert split(rows, "pre_split", valid_ratio=0.4) == "tttvvTtTT"


def test_pre_split_of_unordered_data_draws_validation_from_train():
    given = np.array([TRAIN] * 10 + [TEST] * 10, dtype=np.int8)
    labels = split(rows_of([0] * 20, given=given, ordered=False), "pre_split", valid_ratio=0.3)
    assert labels[10:] == "T" * 10
    assert sorted(labels[:10]) == sorted("tttttttvvv")
    assert labels[:10] != "tttttttvvv"


def test_pre_split_with_a_published_validation_part_is_used_as_it_is():
    given = np.array([TRAIN, VALID, TEST, TRAIN], dtype=np.int8)
    assert split(rows_of([0, 0, 0, 1], given=given), "pre_split", valid_ratio=0.5) == "tvTt"


def test_pre_split_needs_labels():
    with pytest.raises(ConfigError, match="not split by their publisher"):
        split(rows_of([0, 0]), "pre_split")
