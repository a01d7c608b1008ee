"""Any CSV or Parquet table of (user, item[, rating][, timestamp]) with named columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig, TableConfig
from sparcode.data.columns import ColumnKind, IdColumn
from sparcode.data.delimited import Layout, line_of_row, read_delimited
from sparcode.data.parquet import read_parquet
from sparcode.data.raw import RawInteractions
from sparcode.errors import ConfigError, DataError

Columns = dict[str, "NDArray[Any] | IdColumn"]
PARQUET_SUFFIXES = (".parquet", ".pq")
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")


def read_table(config: DataConfig) -> RawInteractions:
    """Read a table; the suffix ``.parquet`` or ``.pq`` tells Parquet from delimited text.

    Ids are kept as text. Timestamps are non-negative numbers or dates with time (ISO 8601 in text).

    Raises:
        DataError: missing or empty file, unknown column, malformed line or invalid value, with line or row.
    """
    path = _find_table(Path(str(config.path)))
    table = config.table
    kinds = _column_kinds(table)
    parquet = path.suffix in PARQUET_SUFFIXES
    columns = read_parquet(path, kinds) if parquet else read_delimited(path, Layout(table.separator, kinds))
    users = cast("IdColumn", columns[table.user_column])
    items = cast("IdColumn", columns[table.item_column])
    return RawInteractions(
        users=users.codes,
        items=items.codes,
        user_ids=users.values,
        item_ids=items.values,
        ordered=table.timestamp_column is not None,
        locate=lambda row: f"{path}: row {row + 1}" if parquet else line_of_row(path, row, 1),
        timestamps=_optional(columns, table.timestamp_column),
        ratings=_optional(columns, table.rating_column),
        files=(path,),
    )


def _optional(columns: Columns, name: str | None) -> NDArray[Any] | None:
    return None if name is None else cast("NDArray[Any]", columns[name])


def _column_kinds(table: TableConfig) -> dict[str, ColumnKind]:
    kinds: dict[str, ColumnKind] = {table.user_column: "label", table.item_column: "label"}
    if table.rating_column is not None:
        kinds[table.rating_column] = "rating"
    if table.timestamp_column is not None:
        kinds[table.timestamp_column] = "time"
    named = (table.user_column, table.item_column, table.rating_column, table.timestamp_column)
    if len(kinds) != sum(name is not None for name in named):
        raise ConfigError(
            "two roles name the same column",
            where="data.table",
            expected="distinct columns",
            received=", ".join(str(name) for name in named),
        )
    return kinds


def _find_table(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in (*PARQUET_SUFFIXES, *TEXT_SUFFIXES))
    if len(files) != 1:
        raise DataError(
            "cannot tell which file holds the table",
            where=path,
            expected="exactly one table",
            received=", ".join(file.name for file in files) or "none",
            remedy="give the file itself as data.path",
        )
    return files[0]
