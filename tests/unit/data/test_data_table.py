"""CSV and Parquet tables with named columns."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparcode.data import text_tables
from sparcode.data.dataset import preprocess
from sparcode.data.table import read_table
from sparcode.errors import ConfigError, DataError

TABLE = {"user_column": "who", "item_column": "what", "rating_column": "stars", "timestamp_column": "when"}
ROWS = pd.DataFrame(
    {
        "who": ["ann", "bob", "ann", "ann", "bob", "bob"],
        "what": ["x,1", "y", "y", "z", "z", "x,1"],
        "stars": [5.0, 4.0, 3.0, 2.0, 1.0, 5.0],
        "when": [30, 10, 20, 10, 30, 20],
        "unused": list("abcdef"),
    }
)


def save(frame: pd.DataFrame, path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_named_columns(make_config, tmp_path, suffix):
    path = save(ROWS, tmp_path / "raw" / f"t{suffix}")
    data = preprocess(make_config("table", path=path, table=TABLE))
    assert data.user_ids == ["ann", "bob"]
    assert data.item_ids == ["x,1", "y", "z"]
    assert data.ordered
    assert [data.train.of(0)[0], data.valid.of(0)[0], data.test.of(0)[0]] == [3, 2, 1]
    assert [data.train.of(1)[0], data.valid.of(1)[0], data.test.of(1)[0]] == [2, 1, 3]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "when",
    [
        [30, 10, 20, 10, 30, 20],
        [2.75, 0.5, 1.0, 0.5, 2.75, 1.0],
        [dt.datetime(2020, 1, day, 12, 30) for day in (3, 1, 2, 1, 3, 2)],
    ],
)
def test_time_may_be_a_number_or_a_date(make_config, tmp_path, suffix, when):
    path = save(ROWS.assign(when=when), tmp_path / "raw" / f"t{suffix}")
    raw = read_table(make_config("table", path=path, table=TABLE))
    assert raw.timestamps is not None
    assert np.argsort(raw.timestamps, kind="stable").tolist() == [1, 3, 2, 5, 0, 4]


def test_integer_and_fractional_times_may_be_mixed(make_config, tmp_path, write):
    path = write("t.csv", "who,what,stars,when\na,b,1,2\na,c,1,1.5\n")
    raw = read_table(make_config("table", path=str(path), table=TABLE))
    assert raw.timestamps is not None
    assert raw.timestamps.tolist() == [2.0, 1.5]


def test_integer_ids_sort_numerically_in_both_formats(make_config, tmp_path):
    frame = pd.DataFrame({"user": [10, 9, 100], "item": [7, 70, 8]})
    for suffix in (".csv", ".parquet"):
        raw = read_table(make_config("table", path=save(frame, tmp_path / "raw" / f"t{suffix}")))
        assert raw.user_ids == ["9", "10", "100"]
        assert raw.users.tolist() == [1, 0, 2]
        assert raw.item_ids == ["7", "8", "70"]
        assert not raw.ordered


def test_long_separator(make_config, write):
    path = write("t.csv", "user||item\n1||5\n2||6\n")
    raw = read_table(make_config("table", path=str(path), table={"separator": "||"}))
    assert raw.item_ids == ["5", "6"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_unknown_column_lists_those_there_are(make_config, tmp_path, suffix):
    path = save(ROWS, tmp_path / "raw" / f"t{suffix}")
    with pytest.raises(
        DataError, match="unknown column 'user'; expected one of who, what, stars, when, unused"
    ):
        read_table(make_config("table", path=path))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("ann,z,1,-5", "when is negative; received '-5'"),
        ("ann,z,1,nan", "when is NaN; received 'nan'"),
        ("ann,z,1,soon", "when is not a time"),
        ("ann,z,1,2020-01-01", "when is not a time"),
        ("ann,z,inf,5", "stars is not finite"),
        (",z,1,5", "who is empty"),
        ("ann,z,1", "malformed line; expected 4 fields separated by ','; received 3 fields"),
        ('ann,"z,1,5', "malformed line"),
    ],
)
def test_bad_csv_lines_are_named(make_config, write, line, what):
    path = write("t.csv", f"who,what,stars,when\nann,y,1,5\n{line}\nbob,y,1,5\n")
    with pytest.raises(DataError) as caught:
        read_table(make_config("table", path=str(path), table=TABLE))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("when", [1, 2, -3, 4, -5, 6]),
        ("when", [1.0, 2.0, float("nan"), 4.0, 5.0, 6.0]),
        ("when", [1, 2, None, 4, 5, 6]),
        ("when", np.array([1, 2, 2**63, 4, 5, 6], dtype=np.uint64)),
        ("stars", [1.0, 2.0, float("inf"), 4.0, 5.0, 6.0]),
        ("who", ["a", "b", None, "d", "e", "f"]),
        ("who", ["a", "b", "", "d", "e", "f"]),
    ],
)
def test_bad_parquet_rows_are_named(make_config, tmp_path, column, values):
    path = save(ROWS.assign(**{column: values}), tmp_path / "raw" / "t.parquet")
    with pytest.raises(DataError, match=rf"row 3: {column} (is|overflows)"):
        read_table(make_config("table", path=path, table=TABLE))


def test_not_a_parquet_file(make_config, write):
    path = write("t.parquet", "user,item\n1,2\n")
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file"):
        read_table(make_config("table", path=str(path)))


def test_ratings_are_needed_for_a_threshold(make_config, write):
    path = write("t.csv", "user,item\n1,5\n")
    with pytest.raises(ConfigError, match=r"data\.min_rating: the data have no ratings"):
        preprocess(make_config("table", path=str(path), min_rating=3.0, protocol="ratio"))


def test_order_is_needed_for_leave_one_out(make_config, write):
    path = write("t.csv", "user,item\n1,5\n1,6\n1,7\n")
    with pytest.raises(
        ConfigError, match=r"data\.protocol: leave_one_out needs data whose time order is known"
    ):
        preprocess(make_config("table", path=str(path)))


def test_one_column_for_two_roles(make_config, write):
    path = write("t.csv", "user,item\n1,5\n")
    with pytest.raises(ConfigError, match="two roles name the same column"):
        read_table(make_config("table", path=str(path), table={"item_column": "user"}))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_many_blocks_give_the_same_as_one(make_config, tmp_path, monkeypatch, suffix):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "who": [f"user {n}" for n in rng.integers(40, size=300)],
            "what": [f"item {n}" for n in rng.integers(60, size=300)],
            "stars": rng.integers(1, 6, size=300),
            "when": [*range(200), *(np.arange(100) + 0.5)],
        }
    )
    if suffix == ".csv":
        text = frame.astype({"when": object})
        text.loc[:199, "when"] = range(200)  # integers as long as they last, then fractions
        path = save(text, tmp_path / "raw" / "t.csv")
    else:
        path = save(frame, tmp_path / "raw" / "t.parquet")
    monkeypatch.setattr(text_tables, "BLOCK_BYTES", 100)
    raw = read_table(make_config("table", path=path, table=TABLE))
    assert raw.user_ids == sorted(set(frame["who"]))
    assert [raw.user_ids[code] for code in raw.users] == frame["who"].tolist()
    assert [raw.item_ids[code] for code in raw.items] == frame["what"].tolist()
    assert raw.ratings is not None
    assert raw.ratings.tolist() == frame["stars"].tolist()
    assert raw.timestamps is not None
    assert raw.timestamps.tolist() == frame["when"].tolist()


def test_row_of_a_parquet_file_is_named(make_config, tmp_path):
    path = save(ROWS.assign(when=[1, 2, 3, 4, -5, 6]), tmp_path / "raw" / "t.parquet")
    with pytest.raises(DataError, match=r"row 5: when is negative; received -5"):
        read_table(make_config("table", path=path, table=TABLE))


def test_damaged_parquet_file(make_config, tmp_path):
    path = Path(save(ROWS, tmp_path / "raw" / "t.parquet"))
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet: damaged Parquet file"):
        read_table(make_config("table", path=str(path), table=TABLE))
