"""The files of a table: one file, or a directory of equal ones (partitioned or not)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from sparcode.data.parquet import open_parquet, read_parquet
from sparcode.data.table_data import TablePart, check_columns, joined
from sparcode.data.text_tables import COMPRESSIONS, TextLayout, read_header, read_text
from sparcode.errors import DataError

PARQUET_SUFFIXES = (".parquet", ".pq")
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_PACKED = (*COMPRESSIONS, ".zip")


@dataclass(frozen=True)
class TableFiles:
    """Files of one table.

    Attributes:
        files: in the order in which they are read.
        root: the directory they were found in; ``key=value`` directories below it are columns.
        columns: columns of all files.
        layout: how text is written.
    """

    files: tuple[Path, ...]
    root: Path
    columns: tuple[str, ...]
    layout: TextLayout

    def read(self, wanted: Sequence[str]) -> TablePart:
        """Read columns.

        Raises:
            DataError: see :func:`sparcode.data.text_tables.read_text` and
                :func:`sparcode.data.parquet.read_parquet`.
        """
        check_columns(self.columns, wanted, self.files[0])
        return joined([self._read_file(file, wanted) for file in self.files])

    def _read_file(self, file: Path, wanted: Sequence[str]) -> TablePart:
        extra = {name: value for name, value in _partition(file, self.root).items() if name in wanted}
        inside = [name for name in wanted if name not in extra]
        part = read_parquet(file, inside) if is_parquet(file) else read_text(file, inside, self.layout)
        frame = part.frame.with_columns(pl.lit(value).alias(name) for name, value in extra.items())
        return TablePart(frame.select(wanted), part.locate, part.faults, file)


def is_parquet(path: Path) -> bool:
    """Whether the suffix, in any case, is that of a Parquet file."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def is_table(path: Path) -> bool:
    """Whether the suffixes are those of a table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        return suffixes[-1] == ".zip" or (len(suffixes) > 1 and suffixes[-2] in TEXT_SUFFIXES)
    return bool(suffixes) and suffixes[-1] in (*PARQUET_SUFFIXES, *TEXT_SUFFIXES)


def resolve(path: str, base: Path) -> Path:
    """``path`` within the directory ``base`` (or that of the file ``base``), or else as it stands."""
    directory = base if base.is_dir() else base.parent
    inside = directory / path
    return inside if inside.exists() or not Path(path).exists() else Path(path)


def find_files(path: Path, layout: TextLayout, without: Collection[Path] = ()) -> TableFiles:
    """Find the files of a table and the columns that they have.

    Args:
        path: a file, or a directory with files of one table at any depth.
        layout: how text is written.
        without: files and directories that belong to other tables.

    Raises:
        DataError: no table there, or files that are not of one table.
    """
    if not path.is_dir():
        return TableFiles((path,), path.parent, _columns(path, path.parent, layout), layout)
    taken = {other.resolve() for other in without}
    files = tuple(
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and is_table(file) and not _is_left_out(file, path, taken)
    )
    if not files:
        raise DataError("the directory holds no table", where=path, expected="CSV, TSV or Parquet files")
    columns = _columns(files[0], path, layout)
    for file in files[1:]:
        if _columns(file, path, layout) != columns:
            raise DataError(
                "cannot tell which file holds the table",
                where=path,
                expected="files with the same columns",
                received=f"{files[0].name} and {file.name}, which differ",
                remedy="give the file itself as data.table.path",
            )
    return TableFiles(files, path, columns, layout)


def _is_left_out(file: Path, root: Path, taken: Collection[Path]) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return hidden or any(other in (file.resolve(), *file.resolve().parents) for other in taken)


def _columns(file: Path, root: Path, layout: TextLayout) -> tuple[str, ...]:
    own = open_parquet(file).schema_arrow.names if is_parquet(file) else read_header(file, layout)
    return tuple(dict.fromkeys((*own, *_partition(file, root))))


def _partition(file: Path, root: Path) -> dict[str, str]:
    """Columns that the directories between ``root`` and a file give, as ``key=value``."""
    parts = file.parent.relative_to(root).parts if file.parent != root else ()
    return {name: unquote(value) for name, equals, value in (part.partition("=") for part in parts) if equals}
