"""Strict reading of delimited text as columns of strings.

A file is read in blocks of whole lines, so memory stays near the size of the result, and parsed by Arrow.
A line is a row: a quoted field may hold the separator but no line break, because a quote that is never
closed looks the same and would swallow rows. Lines end at LF or CR LF (or CR in files that have no LF).
"""

from __future__ import annotations

import codecs
import csv
import re
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from sparcode.data.table_data import Fault, TablePart, check_columns
from sparcode.data.text import at_line, require_file
from sparcode.errors import ConfigError, DataError

BLOCK_BYTES = 1 << 25
UNIT_SEPARATOR = "\x1f"
"""Stands in for a separator of several characters, which the parser does not take."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException)


@dataclass(frozen=True)
class TextLayout:
    """How a delimited file is written.

    Attributes:
        separator: one or several characters; None = tab in ``.tsv``, comma in other files.
        encoding: of files without a byte order mark.
        names: all columns of the file in order; None = the first line is a header.
    """

    separator: str | None = None
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None

    def separator_of(self, path: Path) -> str:
        """Separator of a file by its name."""
        if self.separator is not None:
            return self.separator
        return "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ","


@dataclass
class _Lines:
    """Line numbers of rows; a run of rows without blank or faulty lines is stored as its first line."""

    starts: list[int] = field(default_factory=list)
    lines: list[NDArray[np.int64] | int] = field(default_factory=list)

    def line(self, row: int) -> int:
        place = bisect_right(self.starts, row) - 1
        lines, offset = self.lines[place], row - self.starts[place]
        return lines + offset if isinstance(lines, int) else int(lines[offset])


class _Parser:
    def __init__(self, path: Path, separator: str, names: Sequence[str], wanted: Sequence[str]) -> None:
        self.path, self.separator, self.names, self.wanted = path, separator, names, wanted
        self.delimiter = separator if len(separator) == 1 else UNIT_SEPARATOR
        self.frames: list[pl.DataFrame] = []
        self.faults: list[Fault] = []
        self.lines = _Lines()
        self.rows = 0

    def add(self, block: bytes, first_line: int) -> None:
        """Parse a block of whole lines; ``first_line`` is the number of its first line."""
        if self.delimiter != self.separator:
            block = block.replace(self.separator.encode(), self.delimiter.encode())
        lines = _BlockLines(block)
        if b"\r" in block:
            for line in lines.holding("\r"):
                self._drop(lines, line, "stray carriage return in the line")
        table, wrong = self._parse(lines.kept_text())
        lost = table.num_rows + len(wrong) != lines.num_kept
        if b'"' in block and (lost or not self._is_closed(lines.last_kept())):
            for line in lines.holding('"'):
                if self._is_closed(lines.text(line)):
                    continue
                self._drop(lines, line, "malformed line, a quote is not closed in its line")
            table, wrong = self._parse(lines.kept_text())
        if table.num_rows + len(wrong) != lines.num_kept:
            where = f"{at_line(self.path, first_line)} to {first_line + len(lines.ends) - 1}"
            raise DataError("lines cannot be told apart", where=where, remedy="check the quotes")
        places = np.flatnonzero(lines.kept)
        for row in wrong:
            self._drop(lines, int(places[row.number - 1]), "malformed line", row.actual_columns)
        places = np.flatnonzero(lines.kept)
        for line, fault in sorted(lines.faults.items()):
            row = self.rows + int(np.searchsorted(places, line))
            self.faults.append(replace(fault, where=at_line(self.path, first_line + line), row=row))
        self._append(table, first_line, places)

    def _append(self, table: Any, first_line: int, places: NDArray[np.int64]) -> None:
        if not len(places):
            return
        regular = places[-1] - places[0] + 1 == len(places)
        self.lines.starts.append(self.rows)
        self.lines.lines.append(first_line + int(places[0]) if regular else first_line + places)
        self.rows += len(places)
        self.frames.append(pl.DataFrame(pl.from_arrow(table)))

    def _parse(self, block: bytes) -> tuple[Any, list[Any]]:
        wrong: list[Any] = []

        def note(row: Any) -> str:
            wrong.append(row)
            return "skip"

        columns = dict.fromkeys(self.wanted, pa.string())
        empty = pa.table({name: pa.array([], pa.string()) for name in columns})
        if not block:
            return empty, []
        try:
            return self._read(block, columns, note), wrong
        except pa.ArrowInvalid:  # the last quote of the block is not closed
            return empty, []

    def _read(self, block: bytes, columns: dict[str, Any], note: Callable[[Any], str]) -> Any:
        return pa.csv.read_csv(
            pa.py_buffer(block),
            pa.csv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=len(block)),
            pa.csv.ParseOptions(delimiter=self.delimiter, invalid_row_handler=note),
            pa.csv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                null_values=[],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )

    def _is_closed(self, line: bytes) -> bool:
        """Whether every quote that opens a field is closed before the line ends."""
        separator = re.escape(self.delimiter)
        field = rf'(?:"(?:[^"]|"")*"(?!")[^{separator}]*|(?!")[^{separator}]*)'
        return re.fullmatch(f"{field}(?:{separator}{field})*".encode(), line) is not None

    def _drop(self, lines: _BlockLines, line: int, what: str, fields: int | None = None) -> None:
        lines.kept[line] = False
        if fields is None:
            text = lines.text(line).decode().replace(self.delimiter, self.separator)
            lines.faults[line] = Fault("", what, what, repr(text[:200]))
            return
        expected = f"{len(self.names)} fields separated by {self.separator!r}"
        lines.faults[line] = Fault("", what, "wrong number of fields", f"{fields} fields", expected)


class _BlockLines:
    """The lines of a block: where they end, which are parsed (not the blank ones), what is wrong."""

    def __init__(self, block: bytes) -> None:
        self.block = np.frombuffer(block, np.uint8)
        self.ends = np.flatnonzero(self.block == ord("\n"))
        self.sizes = np.diff(self.ends, prepend=-1)  # with the line feed
        self.kept = self.sizes > 1
        self.faults: dict[int, Fault] = {}

    @property
    def num_kept(self) -> int:
        return int(np.count_nonzero(self.kept))

    def text(self, line: int) -> bytes:
        """One line without its end."""
        return self.block[self.ends[line] + 1 - self.sizes[line] : self.ends[line]].tobytes()

    def holding(self, character: str) -> list[int]:
        """Kept lines with a character."""
        lines = np.unique(np.searchsorted(self.ends, np.flatnonzero(self.block == ord(character))))
        return [int(line) for line in lines[self.kept[lines]]]

    def last_kept(self) -> bytes:
        """The last kept line; nothing if there is none."""
        return self.text(int(np.flatnonzero(self.kept)[-1])) if self.num_kept else b""

    def kept_text(self) -> bytes:
        """The kept lines."""
        if self.kept.all():
            return self.block.tobytes()
        return self.block[np.repeat(self.kept, self.sizes)].tobytes()


def read_start(path: Path, size: int = 1 << 20) -> bytes:
    """The first bytes of a file, decompressed.

    Raises:
        DataError: missing, empty or damaged file.
    """
    try:
        with _open(require_file(path)) as stream:
            return bytes(stream.read(size))
    except _UNREADABLE as error:
        raise DataError(f"damaged file ({error})", where=path, remedy="restore the file") from error


def read_header(path: Path, layout: TextLayout) -> tuple[str, ...]:
    """Names of the columns: the first line.

    Raises:
        DataError: missing, empty or undecodable file, or a column that occurs twice.
    """
    with _blocks(path, layout.encoding, 1 << 16) as blocks:
        block, _ = next(blocks, (b"", 1))
    return _header(path, block, layout)


def read_text(path: Path, wanted: Sequence[str], layout: TextLayout) -> TablePart:
    """Read columns of a delimited file; blank lines are skipped, empty fields are empty strings.

    Args:
        path: text, or text in gz, zst or zip (with one file inside).
        wanted: columns to read.
        layout: how the file is written.

    Raises:
        DataError: missing, empty or damaged file, unknown column, or bytes that the encoding does not know.
    """
    with _blocks(path, layout.encoding, BLOCK_BYTES) as blocks:
        block, line = next(blocks, (b"", 1))
        names = layout.names or _header(path, block, layout)
        check_columns(names, wanted, at_line(path, 1))
        parser = _Parser(path, layout.separator_of(path), names, wanted)
        if layout.names is None:
            block, line = block[block.index(b"\n") + 1 :], 2
        for text, first_line in chain([(block, line)], blocks):
            if text:
                parser.add(text, first_line)
    frames = parser.frames or [pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))]
    lines = parser.lines
    return TablePart(
        pl.concat(frames, rechunk=False), lambda row: at_line(path, lines.line(row)), parser.faults, path
    )


def _header(path: Path, block: bytes, layout: TextLayout) -> tuple[str, ...]:
    text = block.partition(b"\n")[0].decode().rstrip("\r")
    separator = layout.separator_of(path)
    names = (
        next(csv.reader([text], delimiter=separator), []) if len(separator) == 1 else text.split(separator)
    )
    if len(set(names)) != len(names):
        raise DataError("column occurs twice in the header", where=at_line(path, 1), received=text)
    return tuple(names)


@contextmanager
def _blocks(path: Path, encoding: str, size: int) -> Iterator[Iterator[tuple[bytes, int]]]:
    """Blocks of whole lines in UTF-8, LF at the end of every line, with the number of their first line."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ConfigError(
            "unknown encoding", where=path, received=encoding, expected="such as utf-8 or latin-1"
        ) from error
    try:
        with _open(require_file(path)) as stream:
            yield _whole_lines(_decoded(path, stream, encoding, size))
    except _UNREADABLE as error:
        raise DataError(f"damaged file ({error})", where=path, remedy="restore the file") from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            files = [name for name in archive.namelist() if not name.endswith("/")]
            if len(files) != 1:
                raise DataError("the archive must hold one file", where=path, received=", ".join(files))
            with archive.open(files[0]) as stream:
                yield stream
    elif suffix in COMPRESSIONS:
        with pa.input_stream(str(path), compression=COMPRESSIONS[suffix]) as stream:
            yield stream
    else:
        with path.open("rb") as stream:
            yield stream


def _decoded(path: Path, stream: Any, encoding: str, size: int) -> Iterator[bytes]:
    """The text of a stream in UTF-8."""
    chunk = stream.read(size)
    if not chunk:
        raise DataError("file is empty", where=path, remedy="restore the file")
    if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif chunk.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    while True:
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "replace")
            raise DataError(
                f"not {encoding} text",
                where=at_line(path, lines + before.count("\n")),
                received=repr(error.object[error.start : error.start + 10]),
                remedy="name the encoding of the file, such as latin-1",
            ) from error
        lines += text.count("\n")
        yield text.encode()
        if not chunk:
            return
        chunk = stream.read(size)


def _whole_lines(texts: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    line, rest = 1, b""
    for text in texts:
        block, feed, after = text.rpartition(b"\n")
        if not feed:
            rest += after
            continue
        block = (rest + block + feed).replace(b"\r\n", b"\n")
        rest = after
        yield block, line
        line += block.count(b"\n")
    if line == 1:
        rest = rest.replace(b"\r", b"\n")  # no line feed in the whole file
    if rest:
        yield rest.rstrip(b"\r\n") + b"\n", line
