"""Own data: text formats, features by kind, events, bad rows, data frames."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from own_shop import write_shop
from sparcode.data.dataset import Dataset, prepare_dataset, preprocess
from sparcode.data.table import read_frames, read_table
from sparcode.errors import ConfigError, DataError

PLAIN = "user,item,time\nu1,é,1\nu1,b,2\nu2,b,3\n"
FEATURES = {
    "title": "title",
    "brand": "categorical",
    "category": "path",
    "price": "number",
    "tags": {"kind": "multi", "separator": "|"},
    "emb": {"kind": "embedding", "columns": "emb_*"},
}
SHOP = {
    "path": "views.csv",
    "timestamp_column": "event_time",
    "event_column": "event_type",
    "events": {"view": 1.0, "purchase": 3.0},
    "items": {"path": "items.csv", "id_column": "item_id", "features": FEATURES},
    "users": {
        "path": "users.csv",
        "id_column": "user_id",
        "features": {"country": "categorical", "age": "number"},
    },
}


def table_of(make_config, path, **table):
    return read_table(make_config("table", path=str(path), table={"timestamp_column": "time", **table}))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.csv", PLAIN)


@pytest.mark.parametrize(
    ("name", "content", "table"),
    [
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN.encode(), {}),
        ("wide.csv", PLAIN.encode("utf-16"), {}),
        ("latin.csv", PLAIN.encode("latin-1"), {"encoding": "latin-1"}),
        ("semi.CSV", PLAIN.replace(",", ";").encode(), {"separator": ";"}),
        ("pipe.txt", PLAIN.replace(",", "|").encode(), {"separator": "|"}),
        ("tab.csv", PLAIN.replace(",", "\t").encode(), {"separator": "tab"}),
        ("tab2.csv", PLAIN.replace(",", "\t").encode(), {"separator": "\\t"}),
        ("tabs.tsv", PLAIN.replace(",", "\t").encode(), {}),
        ("mac.csv", PLAIN.replace("\n", "\r").encode(), {}),
        ("dos.csv", PLAIN.replace("\n", "\r\n").encode(), {}),
        ("t.csv.gz", gzip.compress(PLAIN.encode()), {}),
        ("t.csv.zst", pa.compress(PLAIN.encode(), "zstd", asbytes=True), {}),
        ("t.zip", None, {}),
    ],
)
def test_text_in_every_form_is_the_same_table(make_config, write, name, content, table):
    path = write(name, content or b"")
    if content is None:
        zipped(path)
    raw = table_of(make_config, path, **table)
    assert raw.item_ids == ["b", "é"]
    assert raw.users.tolist() == [0, 0, 1]
    assert raw.timestamps is not None
    assert raw.timestamps.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('u1,"abc,1\nu2,"def,2\nu1,x,3\n', 2, "a quote is not closed"),
        ('u1,a,1\nu1,"two\nlines",2\nu1,x,3\n', 3, "a quote is not closed"),
        ("u1,a,1\nu1,b\r2,2\n", 3, "stray carriage return"),
        ('u1,"a",1\n\nu1,"x""y",2\nu1,"z,3\n', 5, "malformed line"),
        ("u1,a,1\nu1,caf\udce9,2\n", 3, "not utf-8 text"),
    ],
)
def test_lines_that_would_merge_or_get_lost_are_refused(make_config, write, text, line, what):
    path = write("t.csv", ("user,item,time\n" + text).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        table_of(make_config, path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert what in str(caught.value)


def test_a_quote_within_a_field_is_a_character(make_config, write):
    path = write("t.csv", 'user,item,time\nu1,5" pipe,1\nu1,"a,""b""",2\nu1,7" pipe,3\n')
    assert table_of(make_config, path).item_ids == ['5" pipe', '7" pipe', 'a,"b"']


def test_text_nan_is_an_id(make_config, write):
    assert table_of(make_config, write("t.csv", "user,item,time\nnan,1,1\nNA,2,2\n")).user_ids == [
        "NA",
        "nan",
    ]


@pytest.mark.parametrize(
    "times",
    [
        ["1600000000000000003.0", "1600000000000000002.0", "1600000000000000001.0"],
        [
            "2020-01-01T00:00:00.123456789Z",
            "2020-01-01T00:00:00.123456788Z",
            "2020-01-01T00:00:00.123456787Z",
        ],
        ["1999-01-01 00:00:00", "1970-01-02", "1969-07-20 10:00"],
        ["2020-01-01T12:00:00+01:00", "2020-01-01T12:00:00+02:00", "2020-01-01T09:59:59Z"],
    ],
)
def test_order_of_times_is_exact(make_config, write, times):
    rows = "".join(f"u,{item},{time}\n" for item, time in enumerate(times))
    raw = table_of(make_config, write("t.csv", "user,item,time\n" + rows))
    assert raw.timestamps is not None
    assert np.argsort(raw.timestamps).tolist() == [2, 1, 0]


def test_order_that_a_float_loses_is_refused(make_config, write):
    path = write("t.csv", "user,item,time\nu,a,1600000000.123456789\nu,b,1600000000.123456788\n")
    with pytest.raises(DataError, match=r"t\.csv:2: time has more digits than a fractional time keeps"):
        table_of(make_config, path)


def test_nanoseconds_of_parquet_keep_their_order(make_config, tmp_path):
    frame = pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": [4, 3]})
    path = tmp_path / "T.PARQUET"
    frame.with_columns(pl.col("time").cast(pl.Datetime("ns"))).write_parquet(path)
    raw = table_of(make_config, path)
    assert raw.timestamps is not None
    assert raw.timestamps.tolist() == [4, 3]


def test_format_of_dates(make_config, write):
    path = write("t.csv", "user,item,time\nu,a,01/31/2020\nu,b,02/01/2020\n")
    with pytest.raises(DataError, match=r"t\.csv:2: time is not a time.*time_format"):
        table_of(make_config, path)
    raw = table_of(make_config, path, time_format="%m/%d/%Y")
    assert raw.timestamps is not None
    assert np.diff(raw.timestamps).tolist() == [86_400 * 10**9]


def test_partitioned_directory(make_config, tmp_path):
    for day, user in (("2020-01-02", "u2"), ("2020-01-01", "u1")):
        folder = tmp_path / "log" / f"day={day}"
        folder.mkdir(parents=True)
        pl.DataFrame({"user": [user] * 2, "item": ["a", "b"]}).write_parquet(folder / "part.parquet")
    raw = table_of(make_config, tmp_path / "log", timestamp_column="day")
    assert [raw.user_ids[user] for user in raw.users] == ["u1", "u1", "u2", "u2"]
    assert "day=2020-01-02/part.parquet: row 2" in raw.locate(3)
    assert raw.timestamps is not None
    assert (np.diff(raw.timestamps) >= 0).all()


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "raw", junk=False)


def shop_config(make_config, **values):
    return make_config("table", **{"table": SHOP, "min_item_interactions": 0, **values})


def test_features_by_kind(make_config, shop):
    data = preprocess(shop_config(make_config))
    row = data.item_ids.index("a5") + 1  # Shoes/Sport, brand0, 10.5, one tag
    assert data.item_titles is not None
    assert data.item_titles[row - 1] == 'Article no. 5, "new"'
    assert {spec.name: spec.kind for spec in data.item_features} == {
        "brand": "categorical",
        "category": "multi",
        "price": "dense",
        "tags": "multi",
        "emb": "dense",
    }
    levels = {data.item_vocab["category"][i] for i in data.item_arrays["category"][row] if i}
    assert levels == {"Shoes", "Shoes/Sport"}
    assert data.item_arrays["emb"][row].tolist() == [5, 6, 7, 8]  # emb_10 is the last, not the second
    prices = data.item_numbers["price"]
    assert prices.dtype == np.float64
    assert np.isnan(prices[0])
    assert prices[row] == 10.5
    missing = data.item_ids.index("a9") + 1
    assert np.isnan(prices[missing])
    assert data.item_arrays["price"][missing].tolist() == [0.0, 1.0]
    known = data.item_arrays["price"][1:][~np.isnan(prices[1:])]
    assert known[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert known[:, 0].std() == pytest.approx(1, rel=1e-5)
    role = next(role for role in data.item_roles if role.name == "price")
    again = role.standardised(np.asarray(prices[1:]))
    np.testing.assert_array_equal(again, data.item_arrays["price"][1:])
    assert [role.columns for role in data.user_roles] == [("country",), ("age",)]


def test_the_item_table_is_the_catalogue(make_config, shop):
    with (shop / "items.csv").open("a") as items:
        items.write("cold,New,brand1,Home/Garden,3,,1,2,3,4\n")
    with (shop / "views.csv").open("a") as views:
        views.write("u0,unlisted,2026-05-01T00:00:00Z,view\nu0,unlisted2,2026-05-01T00:00:00Z,cart\n")
    data = preprocess(shop_config(make_config))
    assert data.counts["items"] == 42
    assert data.counts["items_without_interactions"] >= 1
    assert data.counts["items_without_a_row"] == 1
    row = data.item_ids.index("unlisted") + 1
    assert data.item_arrays["brand"][row] == 0
    assert "cold" in data.item_ids
    assert "unlisted2" not in data.item_ids  # only met by an event that is not kept


def test_damaged_titles_are_noticed(make_config, shop):
    config = shop_config(make_config)
    preprocess(config)
    with (Path(config.dataset_dir) / "item_titles.json").open("a") as titles:
        titles.write(" ")
    with pytest.raises(DataError, match=r"item_titles\.json: damaged file"):
        Dataset.load(config.dataset_dir)


def test_weights_of_events(make_config, write):
    rows = [
        "u,a,1,view",
        "u,b,2,view",
        "u,a,3,purchase",
        "u,c,4,view",
        "u,d,5,other",
        "u,e,6,view",
        "u,f,7,view",
    ]
    write("t.csv", "user,item,time,event\n" + "\n".join(rows) + "\n")
    table = {"timestamp_column": "time", "event_column": "event", "events": {"view": 1.0, "purchase": 3.0}}
    data = preprocess(make_config("table", table=table))
    assert [data.item_ids[item - 1] for item in data.train.items] == ["a", "b", "c"]
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [3.0, 1.0, 1.0]
    assert data.counts["other_events"] == 1
    assert data.counts["repeated_interactions"] == 1
    same = preprocess(make_config("table", table={**table, "events": {"view": 2.0}}))
    assert same.train.weights is None


def test_event_that_nobody_has(make_config, write):
    write("t.csv", "user,item,event\nu,a,view\n")
    table = {"event_column": "event", "events": {"buy": 1.0}}
    with pytest.raises(DataError, match=r"no interaction is of a listed event; expected some of view"):
        read_table(make_config("table", table=table))


def test_bad_rows_are_counted_with_examples(make_config, write, caplog):
    rows = [f"u{n % 7},i{n % 11},{n}" for n in range(200)]
    rows[3:3] = ["u1,,3", "u1,i1", "u1,i2,soon", ",i2,5"]
    path = write("t.csv", "user,item,time\n" + "\n".join(rows) + "\n")
    table = {"timestamp_column": "time"}
    raw = read_table(make_config("table", table=table, bad_rows="skip", max_bad_share=0.02))
    assert len(raw.users) == 200
    assert raw.notes["bad_rows"] == 4
    assert f"{path}:5: ''" in caplog.text
    assert "1  wrong number of fields" in caplog.text
    assert raw.locate(3).endswith(":9")
    with pytest.raises(DataError, match=r"too many bad rows in the interactions table, 4 of 204"):
        read_table(make_config("table", table=table, bad_rows="skip", max_bad_share=0.01))
    with pytest.raises(DataError, match=r"t\.csv:5: item is empty"):
        read_table(make_config("table", table=table))


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("price", "cheap", "price is not a number; received 'cheap'"),
        ("price", "inf", "price is not finite"),
        ("emb_1", "", "emb_1 is empty"),
        ("item_id", "a3", "item_id occurs a second time"),
    ],
)
def test_bad_values_of_the_item_table(make_config, shop, column, value, what):
    frame = pd.read_csv(shop / "items.csv", dtype=str, keep_default_na=False)
    frame.loc[6, column] = value
    frame.to_csv(shop / "items.csv", index=False)
    with pytest.raises(DataError) as caught:
        read_table(shop_config(make_config))
    assert str(caught.value).startswith(f"{shop / 'items.csv'}:8: ")
    assert what in str(caught.value)


def test_embedding_file_and_list_column(make_config, write, tmp_path):
    write("t.csv", "user,item\nu,a\nu,b\nu,c\n")
    np.save(tmp_path / "raw" / "v.npy", np.arange(4.0).reshape(2, 2))
    write("ids.txt", "b\na\n")
    vectors = [[1.0, 2.0], [3.0, 4.0]]
    pl.DataFrame({"item": ["a", "b"], "vec": vectors}).write_parquet(tmp_path / "raw" / "i.parquet")
    features = {
        "file": {"kind": "embedding", "file": "v.npy", "ids": "ids.txt"},
        "vec": "embedding",
    }
    config = make_config(
        "table",
        protocol="ratio",
        table={"path": "t.csv", "items": {"path": "i.parquet", "features": features}},
    )
    data = preprocess(config)
    assert data.item_arrays["file"].tolist() == [[0, 0], [2, 3], [0, 1], [0, 0]]
    assert data.item_arrays["vec"].tolist() == [[0, 0], [1, 2], [3, 4], [0, 0]]
    write("ids.txt", "b\nb\n")
    with pytest.raises(DataError, match=r"ids\.txt:2: id occurs twice; received b"):
        preprocess(config)


def test_no_column_fits_the_pattern(make_config, shop):
    features = {"emb": {"kind": "embedding", "columns": "vector_*"}}
    table = {**SHOP, "items": {**SHOP["items"], "features": features}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"items\.features\.emb: no column fits the pattern"):
        read_table(make_config("table", table=table))


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_frames_give_what_files_give(make_config, shop, kind):
    made = {
        "polars": lambda frame: frame,
        "pandas": lambda frame: frame.to_pandas(),
        "arrow": lambda frame: frame.to_arrow(),
    }[kind]
    names = ("views", "items", "users")
    frames = [made(pl.read_csv(shop / f"{name}.csv")) for name in names]
    config = shop_config(make_config)
    raw, files = read_frames(*frames, config), read_table(config)
    np.testing.assert_array_equal(raw.items, files.items)
    assert raw.user_ids == files.user_ids
    assert raw.weights is not None
    np.testing.assert_array_equal(raw.weights, files.weights)
    for ours, theirs in zip(raw.item_features, files.item_features, strict=True):
        assert list(map(str, ours.values)) == list(map(str, theirs.values))
    assert raw.item_titles == files.item_titles
    guessed = read_frames(*frames)
    assert guessed.user_ids == files.user_ids
    assert [feature.name for feature in guessed.item_features] == [f.name for f in files.item_features]


def test_not_a_frame():
    with pytest.raises(DataError, match="interactions: not a data frame"):
        read_frames([1, 2])
    with pytest.raises(DataError, match="interactions: row 2: user is empty"):
        read_frames(pd.DataFrame({"user": ["a", None], "item": [1, 2]}))


def test_a_changed_file_is_not_passed_over(make_config, shop):
    config = shop_config(make_config)
    prepare_dataset(config)
    assert prepare_dataset(config).counts["users"] == 60
    for name in ("views.csv", "items.csv"):
        text = (shop / name).read_text()
        (shop / name).write_text(text.replace("a7", "a_7"))
        with pytest.raises(
            DataError, match=rf"the data set was made of another file; .*{name}.*preprocess again"
        ):
            prepare_dataset(config)
        (shop / name).write_text(text)
    prepare_dataset(config)


def test_a_quote_that_is_open_at_the_end_of_the_file(make_config, write):
    path = write("t.csv", 'user,item,time\nu,a,1\nu,b,"2\n')
    with pytest.raises(DataError, match=r"t\.csv:3: "):
        table_of(make_config, path)
