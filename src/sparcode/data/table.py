"""Own data: a table of interactions, and tables of items and users with features, as files or data frames.

The item table is the catalogue: its items stay even when nobody has met them, so that they can be recommended
by their features. Items and users that only the interactions mention stay too, with missing features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig, FeatureTableConfig, TableConfig
from sparcode.data.bad_rows import BadRows
from sparcode.data.casts import Cast, cast_label, cast_number, cast_time
from sparcode.data.raw import RawFeature, RawInteractions
from sparcode.data.table_data import TablePart, check_columns
from sparcode.data.table_features import (
    cast_feature,
    columns_of,
    make_feature,
    read_embedding_file,
    titles_of,
)
from sparcode.data.table_files import TableFiles, find_files, resolve
from sparcode.data.text_tables import TextLayout
from sparcode.data.vocabulary import encode_texts
from sparcode.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

Read = Callable[[Sequence[str]], TablePart]


@dataclass(frozen=True)
class Source:
    """A table that can be read.

    Attributes:
        columns: names of its columns.
        read: wanted columns -> rows.
        files: of the table; none for a data frame.
    """

    columns: Sequence[str]
    read: Read
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Side:
    """Rows of an item or user table.

    Attributes:
        config: how its columns are used.
        ids: (n,) external ids, unique.
        casts: by feature name, its columns.
        base: directory of files with embeddings.
        bad: how many rows were left out.
    """

    config: FeatureTableConfig
    ids: pl.Series
    casts: dict[str, list[Cast]]
    base: Path
    bad: int


@dataclass(frozen=True)
class _Log:
    """Good rows of the interactions, by column, and what was counted on the way."""

    columns: dict[str, pl.Series]
    rows: NDArray[np.int64]
    locate: Callable[[int], str]
    weights: NDArray[np.float32] | None
    counts: dict[str, int] = field(default_factory=dict)


def read_table(config: DataConfig) -> RawInteractions:
    """Read the files that ``data.path`` and ``data.table`` name.

    Ids are kept as text. Times are numbers or dates with time (ISO 8601 in text, or ``time_format``).

    Raises:
        ConfigError: roles or features that contradict each other.
        DataError: missing, empty or damaged file, unknown column; malformed row or invalid value (unless
            ``data.bad_rows`` is ``skip``), with file, line or row, and column; too many of them.
    """
    table, base = config.table, Path(str(config.path))
    sides = [None if s.path is None else resolve(s.path, base) for s in (table.items, table.users)]
    main = base if table.path is None else resolve(table.path, base)
    layout = TextLayout(table.separator, table.encoding)
    taken = [path for path in sides if path is not None]
    log = file_source(find_files(main, layout, taken))
    items, users = (
        None if path is None else file_source(find_files(path, layout_of(side, layout)))
        for path, side in zip(sides, (table.items, table.users), strict=True)
    )
    return _assemble(config, log, items, users)


def read_frames(
    interactions: Any, items: Any = None, users: Any = None, config: DataConfig | None = None
) -> RawInteractions:
    """Take data frames in place of files: the same roles, checks and features.

    Args:
        interactions: polars or pandas data frame, or anything with the Arrow PyCapsule interface.
        items: the same, or None.
        users: the same, or None.
        config: a data section whose ``table`` says what the columns are (paths are not read, ``features``
            belong to the frames that are given); None = guessed from names and contents.

    Raises:
        ConfigError, DataError: as :func:`read_table`; rows are numbered from 1.
    """
    frames = {
        name: None if frame is None else to_polars(frame, name)
        for name, frame in (("interactions", interactions), ("items", items), ("users", users))
    }
    log = frames["interactions"]
    if log is None:
        raise DataError("there is no table of interactions", expected="a data frame")
    if config is None:
        from sparcode.data.inspection import guess_frames

        config = guess_frames(log, frames["items"], frames["users"])
    sources = [None if frame is None else _frame_source(frame, name) for name, frame in frames.items()]
    return _assemble(config, _frame_source(log, "interactions"), sources[1], sources[2])


def to_polars(frame: Any, name: str = "table") -> pl.DataFrame:
    """A data frame of any kind as one of polars, without a copy where that is possible.

    Raises:
        DataError: it is none, or a column holds values of several types.
    """
    try:
        if isinstance(frame, pl.DataFrame):
            return frame
        if isinstance(frame, pl.LazyFrame):
            return frame.collect()
        if hasattr(frame, "iloc"):
            return pl.from_pandas(frame)
        if hasattr(frame, "__arrow_c_stream__"):
            return pl.DataFrame(frame)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"the data frame cannot be read ({error})", where=name) from error
    raise DataError(
        "not a data frame",
        where=name,
        expected="pandas, polars, or an object with the Arrow PyCapsule interface",
        received=type(frame).__name__,
    )


def _frame_source(frame: pl.DataFrame, name: str) -> Source:
    def read(wanted: Sequence[str]) -> TablePart:
        check_columns(frame.columns, wanted, name)
        return TablePart(frame.select(wanted), lambda row: f"{name}: row {row + 1}", ())

    return Source(frame.columns, read)


def file_source(files: TableFiles) -> Source:
    """Files as a table that can be read."""
    return Source(files.columns, files.read, files.files)


def layout_of(side: FeatureTableConfig, layout: TextLayout) -> TextLayout:
    """How the text of an item or user table is written, by that of the interactions."""
    return TextLayout(side.separator or layout.separator, side.encoding or layout.encoding)


def _assemble(config: DataConfig, log: Source, items: Source | None, users: Source | None) -> RawInteractions:
    table = config.table
    rows = _read_log(config, log)
    owners = (
        (table.user_column, users, table.users, "users"),
        (table.item_column, items, table.items, "items"),
    )
    codes, ids, sides = {}, {}, {}
    files = list(log.files)
    for column, source, side_config, what in owners:
        side = None if source is None else read_side(config, source, side_config, column, what)
        both = [rows.columns[column], *([] if side is None else [side.ids])]
        found, ids[what] = encode_texts(pl.concat(both))
        codes[what], sides[what] = found[: len(both[0])], (side, found[len(both[0]) :])
        files += [] if source is None else source.files
    counts = dict(rows.counts)
    features: dict[str, tuple[RawFeature, ...]] = {}
    titles: dict[str, list[str] | None] = {}
    for what in ("users", "items"):
        side, own = sides[what]
        features[what], titles[what] = side_features(side, own, ids[what])
        if side is not None:
            counts.update(_counts_of(what, codes[what], own, len(ids[what]), side.bad))
    item_side, in_catalogue = sides["items"]
    return RawInteractions(
        users=codes["users"],
        items=codes["items"],
        user_ids=ids["users"],
        item_ids=ids["items"],
        ordered=table.timestamp_column is not None,
        locate=lambda row: rows.locate(int(rows.rows[row])),
        timestamps=_array(rows, table.timestamp_column),
        ratings=_array(rows, table.rating_column, np.float32),
        weights=rows.weights,
        user_features=features["users"],
        item_features=features["items"],
        item_titles=titles["items"],
        catalogue=None if item_side is None else np.unique(in_catalogue),
        files=tuple(files),
        notes=counts,
    )


def _array(rows: _Log, name: str | None, dtype: type[np.generic] | None = None) -> NDArray[Any] | None:
    if name is None:
        return None
    values = rows.columns[name].to_numpy()
    return values if dtype is None else values.astype(dtype)


def _read_log(config: DataConfig, source: Source) -> _Log:
    table = config.table
    part = source.read(_log_columns(table))
    frame, bad = part.frame, BadRows("interactions", config)
    casts = {name: cast_label(frame[name]) for name in (table.user_column, table.item_column)}
    if table.rating_column is not None:
        casts[table.rating_column] = cast_number(frame[table.rating_column])
    if table.timestamp_column is not None:
        casts[table.timestamp_column] = cast_time(frame[table.timestamp_column], table.time_format)
    if table.event_column is not None:
        casts[table.event_column] = cast_label(frame[table.event_column])
    kept = bad.select(part, casts)
    total = frame.height + len(part.faults)
    if not total:
        raise DataError("file holds no rows", where=part.path, remedy="restore the file")
    bad.finish(total)
    counts = {"bad_rows": bad.count} if config.bad_rows == "skip" else {}
    weights = None
    if table.event_column is not None and table.events is not None:
        weights, listed = _event_weights(casts[table.event_column].values, table.events)
        counts["other_events"] = int(np.count_nonzero(kept & ~listed))
        kept &= listed
        weights = weights[kept]
        if not kept.any():
            seen = casts[table.event_column].values.unique().head(20).to_list()
            raise DataError(
                "no interaction is of a listed event",
                where="data.table.events",
                expected=f"some of {', '.join(map(str, seen))}",
                received=", ".join(table.events),
            )
    rows = np.flatnonzero(kept)
    columns = {
        name: cast.values if kept.all() else cast.values.filter(pl.Series(kept))
        for name, cast in casts.items()
        if name != table.event_column
    }
    return _Log(columns, rows, part.locate, weights, counts)


def _event_weights(
    events: pl.Series, weights: dict[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    found = events.replace_strict(
        list(weights), list(weights.values()), default=None, return_dtype=pl.Float32
    )
    return found.fill_null(0.0).to_numpy(), found.is_not_null().to_numpy()


def _log_columns(table: TableConfig) -> list[str]:
    named = (
        table.user_column,
        table.item_column,
        table.rating_column,
        table.timestamp_column,
        table.event_column,
    )
    columns = [name for name in named if name is not None]
    if len(set(columns)) != len(columns):
        raise ConfigError(
            "two roles name the same column",
            where="data.table",
            expected="distinct columns",
            received=", ".join(str(name) for name in named),
        )
    return columns


def read_side(
    config: DataConfig, source: Source, side: FeatureTableConfig, default_id: str, what: str
) -> _Side:
    """Read an item or user table with the columns that its features need.

    Raises:
        ConfigError, DataError: as :func:`read_table`.
    """
    id_column = side.id_column or default_id
    where = f"data.table.{what}.features"
    columns = {
        name: columns_of(name, column, source.columns, where) for name, column in side.features.items()
    }
    wanted = list(dict.fromkeys([id_column, *(name for names in columns.values() for name in names)]))
    part = source.read(wanted)
    bad = BadRows(what, config)
    ids = cast_label(part.frame[id_column])
    repeated = ~ids.values.is_first_distinct() & ids.values.is_not_null()
    if repeated.any():
        ids = Cast(ids.values, [*ids.faults, ("occurs a second time", repeated)])
    casts = {
        name: [cast_feature(side.features[name], part.frame[column]) for column in names]
        for name, names in columns.items()
    }
    every = {id_column: ids, **{c.values.name: c for found in casts.values() for c in found}}
    kept = pl.Series(bad.select(part, every))
    total = part.frame.height + len(part.faults)
    if not kept.any():
        raise DataError("the table holds no row that can be used", where=part.path or what)
    bad.finish(total)
    base = Path(str(config.path)) if config.path is not None else Path()
    return _Side(
        side,
        ids.values.filter(kept),
        {name: [Cast(c.values.filter(kept)) for c in found] for name, found in casts.items()},
        base,
        bad.count,
    )


def side_features(
    side: _Side | None, own: NDArray[np.int32], ids: list[str]
) -> tuple[tuple[RawFeature, ...], list[str] | None]:
    """Features and titles of all ids.

    Args:
        side: the table, None = there is none.
        own: (rows,) position in ``ids`` of each of its rows.
        ids: external ids.
    """
    if side is None:
        return (), None
    rows = np.full(len(ids), -1, np.int64)
    rows[own] = np.arange(len(own))
    features, titles = [], None
    for name, column in side.config.features.items():
        if column.kind == "title":
            titles = titles_of(side.casts[name][0].values, rows)
        elif column.file is not None and column.ids is not None:
            vectors, keys = resolve(column.file, side.base), resolve(column.ids, side.base)
            features.append(read_embedding_file(name, vectors, keys, ids))
        else:
            features.append(make_feature(name, column, side.casts[name], rows))
    return tuple(features), titles


def _counts_of(
    what: str, codes: NDArray[np.int32], own: NDArray[np.int32], size: int, bad: int
) -> dict[str, int]:
    met, listed = np.bincount(codes, minlength=size) > 0, np.bincount(own, minlength=size) > 0
    counts = {
        f"{what}_without_interactions": int(np.count_nonzero(listed & ~met)),
        f"{what}_without_a_row": int(np.count_nonzero(met & ~listed)),
    }
    return {**counts, f"bad_rows_of_{what}": bad} if bad else counts
