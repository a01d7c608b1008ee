"""Data frames of any library: roles guessed, stated and named, and the same data set as of files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from own_shop import write_shop
from sparcode.config.data_schema import DataConfig
from sparcode.config.yaml_text import read_document
from sparcode.data.dataset import Dataset, preprocess
from sparcode.data.frames import Frames
from sparcode.data.inspect_files import inspect_files
from sparcode.errors import DataError, SparcodeError, UsageError

FIXED = {"source": "table", "path": "nowhere"}
NAMES = ("views", "items", "users")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("frames") / "shop", junk=False)


def dataset_of(frames: Frames, directory: Path, stated: dict[str, Any] | None = None) -> Dataset:
    section = {**frames.section(stated or {}), **FIXED, "dataset_dir": str(directory)}
    config = DataConfig.model_validate(section)
    return preprocess(config, frames.read(config))


def frames_of(*frames: Any, **roles: str | None) -> Frames:
    return Frames.of(*frames, *(None,) * (3 - len(frames)), roles)


class Capsule:
    """Nothing but the interface."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "read",
    [
        lambda file: pd.read_csv(file),
        lambda file: pd.read_csv(file, dtype_backend="pyarrow"),
        lambda file: pl.read_csv(file),
        lambda file: pl.read_csv(file, try_parse_dates=True),
        lambda file: pl.scan_csv(file),
        lambda file: pl.read_csv(file).to_arrow(),
        lambda file: Capsule(pl.read_csv(file).to_arrow()),
    ],
    ids=["pandas", "pandas-arrow", "polars", "polars-dates", "polars-lazy", "pyarrow", "capsule"],
)
def test_frames_give_the_data_set_of_their_files(read, shop: Path, tmp_path: Path) -> None:
    guessed = read_document(inspect_files([shop]).yaml, "guessed").values["data"]
    files = preprocess(DataConfig.model_validate({**guessed, "dataset_dir": str(tmp_path / "files")}))
    frames = frames_of(*(read(shop / f"{name}.csv") for name in NAMES))
    made = dataset_of(frames, tmp_path / "frames")
    assert made.fingerprint == files.fingerprint
    assert made.item_titles == files.item_titles
    stated = dataset_of(frames, tmp_path / "stated", guessed)  # the configuration of the files describes them
    assert stated.fingerprint == files.fingerprint


def other_names(shop: Path) -> pd.DataFrame:
    views = pd.read_csv(shop / "views.csv", parse_dates=["event_time"])
    names = {"user": "who", "item": "what", "event_time": "at", "event_type": "how"}
    return views.rename(columns=names).assign(user="nobody", when=0)


def test_named_columns_go_before_the_guess(shop: Path, tmp_path: Path) -> None:
    plain = dataset_of(frames_of(pd.read_csv(shop / "views.csv")), tmp_path / "plain")
    roles = {"user": "who", "item": "what", "time": "at", "event": "how"}
    named = dataset_of(frames_of(other_names(shop), **roles), tmp_path / "named")
    assert named.fingerprint == plain.fingerprint
    assert named.train.weights is not None


def test_named_columns_go_before_the_configuration(shop: Path) -> None:
    stated = {"table": {"user_column": "user", "item_column": "item", "timestamp_column": "when"}}
    table = frames_of(other_names(shop), user="who", item="what").section(stated)["table"]
    assert table == {"user_column": "who", "item_column": "what", "timestamp_column": "when"}


def test_a_described_table_is_not_guessed_but_a_frame_it_says_nothing_of_is(shop: Path) -> None:
    stated = {
        "min_user_interactions": 3,
        "table": {"user_column": "user", "item_column": "item", "items": {"path": "items.csv"}},
    }
    views, items = (pd.read_csv(shop / f"{name}.csv") for name in ("views", "items"))
    section = frames_of(views, items).section(stated)
    assert section["min_user_interactions"] == 3
    assert set(section["table"]) == {"user_column", "item_column", "items"}
    assert section["table"]["items"]["id_column"] == "item_id"
    assert section["table"]["items"]["features"]["price"] == "number"


def test_a_section_for_another_source_is_guessed_over(shop: Path) -> None:
    section = frames_of(pd.read_csv(shop / "views.csv")).section({"source": "movielens", "max_history": 7})
    assert (section["max_history"], section["table"]["timestamp_column"]) == (7, "event_time")


def test_doubtful_guesses_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = pd.DataFrame({"a": ["x", "y", "z"] * 9, "b": ["p", "q"] * 13 + ["p"]})
    with caplog.at_level(logging.WARNING, "sparcode"):
        frames_of(log).section({})
    (record,) = caplog.records
    text = record.getMessage()
    assert "no column is named like one of items: a was taken for it" in text
    assert "no column tells the time" in text
    assert "user=, item=, time=" in text


LOG = {"user": ["u1", "u2"], "item": ["a", "b"], "time": [1, 2]}


@pytest.mark.parametrize(
    ("frames", "roles", "message"),
    [
        ((None,), {}, "interactions: there is no data frame"),
        (([1],), {}, "interactions: not a data frame; expected pandas, polars"),
        ((pd.DataFrame(LOG), {"item": ["a"]}), {}, "items: not a data frame"),
        (
            (pd.DataFrame(LOG).head(0),),
            {},
            r"interactions: the data frame holds no row; received shape \(0, 3\)",
        ),
        ((pd.DataFrame(LOG), pl.DataFrame({"item": []})), {}, "items: the data frame holds no row"),
        (
            (pd.DataFrame(LOG),),
            {"user": "uid"},
            "interactions: unknown column 'uid'; expected one of user, item",
        ),
        ((pd.DataFrame({**LOG, "user": ["u1", None]}),), {}, "interactions: row 2: user is empty"),
        (
            (pd.DataFrame({**LOG, "item": [1.0, None]}),),
            {},
            "interactions: row 1: item is of type Float64, an id",
        ),
        ((pd.DataFrame({**LOG, "item": ["a", 1]}),), {}, "interactions: the data frame cannot be read"),
        ((pd.DataFrame({**LOG, "time": [True, False]}),), {"time": "time"}, "row 1: time is of type Boolean"),
        ((pd.DataFrame({**LOG, "time": ["soon", "now"]}),), {"time": "time"}, "row 1: time is not a time"),
        ((pd.DataFrame({**LOG, "stars": ["x", "y"]}),), {"rating": "stars"}, "row 1: stars is not a number"),
        (
            (pd.DataFrame(LOG), pd.DataFrame({"item": ["a", "a"]})),
            {},
            "items: row 2: item occurs a second time",
        ),
        ((pd.DataFrame(LOG), pd.DataFrame({"item": ["a", None]})), {}, "items: row 2: item is empty"),
    ],
)
def test_what_does_not_do_is_one_line_with_frame_and_column(frames, roles, message, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        dataset_of(frames_of(*frames, **roles), tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_column_of_the_configuration_that_is_not_there(tmp_path: Path) -> None:
    stated = {"table": {"user_column": "uid", "item_column": "item"}}
    with pytest.raises(SparcodeError, match="interactions: unknown column 'uid'"):
        dataset_of(frames_of(pd.DataFrame(LOG)), tmp_path / "data", stated)


def test_features_of_a_frame_that_is_not_given(tmp_path: Path) -> None:
    stated = {"table": {"user_column": "user", "item_column": "item", "items": {"features": {"x": "number"}}}}
    with pytest.raises(
        UsageError, match=r"data\.table\.items: the configuration has features of items, but no"
    ):
        dataset_of(frames_of(pd.DataFrame(LOG)), tmp_path / "data", stated)
