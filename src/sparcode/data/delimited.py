"""Fast, strict reading of large delimited text files.

A file is parsed in blocks of whole lines by Arrow's CSV parser, so memory stays near the size of the
result. When a block does not parse or a value is out of range, the first bad line of the block is found by
bisection with the same parser and reported with its number.

Limits: a quoted field may hold the separator but no line break.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from sparcode.data.columns import (
    DATE_TYPES,
    NUMBER_TYPES,
    ColumnKind,
    IdColumn,
    arrow_type,
    check_columns,
    describe_fault,
    is_valid,
    merge_columns,
)
from sparcode.data.text import at_line, require_file
from sparcode.errors import DataError

BLOCK_BYTES = 1 << 25
UNIT_SEPARATOR = "\x1f"
"""Stands in for a separator of several characters, which the parser does not take."""


@dataclass(frozen=True)
class Layout:
    """Columns of a delimited file.

    Attributes:
        separator: one or several characters.
        kinds: the columns to read and what they hold.
        names: all columns of the file in order; None = the first line is a header.
    """

    separator: str
    kinds: dict[str, ColumnKind]
    names: tuple[str, ...] | None = None

    @property
    def header_lines(self) -> int:
        """Lines before the first row."""
        return 0 if self.names is not None else 1


@dataclass
class _Parser:
    path: Path
    layout: Layout
    names: Sequence[str]
    time_types: tuple[Any, ...] = ()
    blocks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def delimiter(self) -> str:
        return self.layout.separator if len(self.layout.separator) == 1 else UNIT_SEPARATOR

    def add(self, block: bytes, first_line: int) -> None:
        """Parse a block of whole lines; ``first_line`` is the number of its first line."""
        if self.delimiter != self.layout.separator:
            block = block.replace(self.layout.separator.encode(), self.delimiter.encode())
        if not self.time_types:
            self.time_types = self._choose_time_types(block)
        columns = self._parse(block)
        if columns is None:
            raise self._fault(block, first_line)
        self.blocks.append(columns)

    def _choose_time_types(self, block: bytes) -> tuple[Any, ...]:
        """Let the first row decide between numbers and dates, so that a column cannot mix them."""
        if "time" not in self.layout.kinds.values():
            return NUMBER_TYPES[:1]  # any one: no column uses it
        first = next((line for line in block.split(b"\n") if line.strip()), b"")
        dates = [date for date in DATE_TYPES if self._parse_as(first, date) is not None]
        is_number = any(self._parse_as(first, number) is not None for number in NUMBER_TYPES)
        return NUMBER_TYPES if is_number or not dates else tuple(dates[:1])

    def _parse(self, block: bytes) -> dict[str, Any] | None:
        """Columns of a block, or None when a line is malformed or a value invalid."""
        if not block.strip():
            return {}
        for time_type in self.time_types:
            columns = self._parse_as(block, time_type)
            if columns is not None:
                return columns
        return None

    def _parse_as(self, block: bytes, time_type: Any) -> dict[str, Any] | None:
        kinds = self.layout.kinds
        types = {name: arrow_type(kind, time_type) for name, kind in kinds.items()}
        try:
            table = pa.csv.read_csv(
                pa.py_buffer(block),
                pa.csv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=len(block)),
                pa.csv.ParseOptions(delimiter=self.delimiter),
                pa.csv.ConvertOptions(
                    column_types=types, include_columns=list(kinds), null_values=[], strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            return None
        columns = {name: table.column(name) for name in kinds}
        return columns if all(is_valid(kinds[name], column) for name, column in columns.items()) else None

    def _fault(self, block: bytes, first_line: int) -> DataError:
        lines = [line + b"\n" for line in block.split(b"\n")]
        good, bad = 0, len(lines)  # lines[:good] parse, lines[:bad] do not
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._parse(b"".join(lines[good:middle])) is None:
                bad = middle
            else:
                good = middle
        text = lines[good].decode("utf-8", "replace").rstrip("\r\n")
        where = at_line(self.path, first_line + good)
        fields = next(csv.reader([text], delimiter=self.delimiter), [])
        if len(fields) != len(self.names):
            return DataError(
                "malformed line",
                where=where,
                expected=f"{len(self.names)} fields separated by {self.layout.separator!r}",
                received=f"{len(fields)} fields",
            )
        return self._field_fault(fields, where)

    def _field_fault(self, fields: list[str], where: str) -> DataError:
        for name, kind in self.layout.kinds.items():
            text = fields[list(self.names).index(name)]
            fault = describe_fault(kind, text)
            if fault is not None:
                return DataError(f"{name} {fault}", where=where, received=repr(text))
        return DataError("line cannot be parsed", where=where, received=repr(fields))


def read_delimited(path: Path, layout: Layout) -> dict[str, NDArray[Any] | IdColumn]:
    """Read the columns named in ``layout.kinds``; blank lines are skipped.

    Returns:
        By column: ``id`` (n,) int64; ``label`` an :class:`IdColumn`; ``rating`` (n,) float32; ``timestamp``
        (n,) int64; ``time`` (n,) int64 or float64.

    Raises:
        DataError: missing or empty file, unknown column, malformed line or invalid value, with line.
    """
    with require_file(path).open("rb") as stream:
        names = layout.names or _read_header(path, stream.readline(), layout)
        parser = _Parser(path, layout, names)
        line = 1 + layout.header_lines
        for block in _whole_lines(stream):
            parser.add(block, line)
            line += block.count(b"\n")
    blocks = [block for block in parser.blocks if block]
    if not blocks:
        raise DataError("file holds no rows", where=path, remedy="restore the file")
    return {
        name: merge_columns(kind, [block[name] for block in blocks]) for name, kind in layout.kinds.items()
    }


def _read_header(path: Path, line: bytes, layout: Layout) -> tuple[str, ...]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError("header is not UTF-8", where=at_line(path, 1)) from error
    if len(layout.separator) == 1:
        names = next(csv.reader([text], delimiter=layout.separator), [])
    else:
        names = text.split(layout.separator)
    check_columns(names, list(layout.kinds), at_line(path, 1))
    if len(set(names)) != len(names):
        raise DataError("column occurs twice in the header", where=at_line(path, 1), received=text)
    return tuple(names)


def _whole_lines(stream: Any) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block + stream.readline()


def line_of_row(path: Path, row: int, header_lines: int) -> str:
    """``file:line`` of the row with that number (from 0), counting as the reader does."""
    with path.open("rb") as stream:
        for number, text in enumerate(stream, start=1):
            if number > header_lines and text.strip():
                if row == 0:
                    return at_line(path, number)
                row -= 1
    return str(path)
