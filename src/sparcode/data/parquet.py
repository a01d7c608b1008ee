"""Checked reading of Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet

from sparcode.data.table_data import TablePart, check_columns
from sparcode.data.text import require_file
from sparcode.errors import DataError


def open_parquet(path: Path) -> Any:
    """Open a Parquet file that has at least one row.

    Raises:
        DataError: missing, empty, or not a Parquet file.
    """
    try:
        file = pa.parquet.ParquetFile(require_file(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"not a readable Parquet file ({error})", where=path) from error
    if file.metadata.num_rows == 0:
        raise DataError("file holds no rows", where=path, remedy="restore the file")
    return file


def read_columns(path: Path, columns: list[str]) -> Any:
    """Read whole columns as an Arrow table.

    Raises:
        DataError: missing, empty or damaged file, or unknown column.
    """
    file = open_parquet(path)
    check_columns(file.schema_arrow.names, columns, path)
    try:
        return file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({error})", where=path, remedy="restore the file") from error


def read_parquet(path: Path, wanted: Sequence[str]) -> TablePart:
    """Read columns of a Parquet file as they are.

    Raises:
        DataError: as :func:`read_columns`.
    """
    frame = pl.DataFrame(pl.from_arrow(read_columns(path, list(wanted))))
    return TablePart(frame, lambda row: f"{path}: row {row + 1}", (), path)
