"""Checked reading of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from sparcode.data.columns import ColumnKind, IdColumn, check_columns, is_valid, merge_columns
from sparcode.data.text import require_file
from sparcode.errors import DataError

BATCH_ROWS = 1 << 20


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


def _batches(file: Any, path: Path, columns: list[str]) -> Iterator[Any]:
    try:
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"damaged Parquet file ({error})", where=path, remedy="restore the file") from error


def read_parquet(path: Path, kinds: dict[str, ColumnKind]) -> dict[str, NDArray[Any] | IdColumn]:
    """Read the columns named in ``kinds``, with the results of :func:`read_delimited`.

    Ids may be integers or text, ratings and times any numbers, times also dates or timestamps.

    Raises:
        DataError: missing, empty or damaged file, unknown column, or a value that is null or invalid, with
            its row (from 1).
    """
    file = open_parquet(path)
    check_columns(file.schema_arrow.names, list(kinds), path)
    blocks: dict[str, list[Any]] = {name: [] for name in kinds}
    start = 0
    for batch in _batches(file, path, list(kinds)):
        for name, kind in kinds.items():
            column = pa.chunked_array([batch.column(name)])
            converted = _convert(kind, column)
            if converted is None:
                row = start + _first_fault(kind, column)
                raise DataError(
                    f"invalid value in column {name!r}",
                    where=f"{path}: row {row + 1}",
                    expected=_EXPECTED[kind],
                    received=repr(column[row - start].as_py()),
                )
            blocks[name].append(converted)
        start += batch.num_rows
    return {name: merge_columns(kind, blocks[name]) for name, kind in kinds.items()}


_EXPECTED: dict[ColumnKind, str] = {
    "id": "a non-negative 64-bit integer",
    "label": "an integer or text that is not empty",
    "rating": "a finite number",
    "timestamp": "a non-negative 64-bit integer",
    "time": "a non-negative number, a date or a timestamp",
}


def _convert(kind: ColumnKind, column: Any) -> Any | None:
    """The column as :mod:`sparcode.data.columns` stores it, or None when a value is invalid."""
    try:
        converted = _cast(kind, column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return converted if converted is not None and is_valid(kind, converted) else None


def _cast(kind: ColumnKind, column: Any) -> Any | None:
    types = pa.types
    if kind == "label":
        if types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        allowed = (types.is_integer, types.is_string, types.is_large_string)
        if not any(test(column.type) for test in allowed):
            return None
        return column.cast(pa.string()).dictionary_encode()
    if types.is_boolean(column.type) or types.is_string(column.type):
        return None
    if kind == "rating":
        return column.cast(pa.float64())
    if kind == "time" and types.is_floating(column.type):
        return column.cast(pa.float64())
    if kind == "time" and (types.is_timestamp(column.type) or types.is_date(column.type)):
        zone = column.type.tz if types.is_timestamp(column.type) else None
        return column.cast(pa.timestamp("us", tz=zone), safe=False)
    return column.cast(pa.int64())


def _first_fault(kind: ColumnKind, column: Any) -> int:
    good, bad = 0, len(column)  # column[:good] converts, column[:bad] does not
    while bad - good > 1:
        middle = (good + bad) // 2
        if _convert(kind, column.slice(good, middle - good)) is None:
            bad = middle
        else:
            good = middle
    return good
