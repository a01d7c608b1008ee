"""What is read of a table before its values are checked: columns, places of rows, malformed rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from sparcode.errors import DataError


@dataclass(frozen=True)
class Fault:
    """A row that cannot be used.

    Attributes:
        where: file and line, or row.
        what: the fault in words.
        reason: what faults are counted by.
        value: what was found, for messages.
        expected: what would have been right.
        row: how many rows of the table come before it (malformed lines).
    """

    where: str
    what: str
    reason: str
    value: str
    expected: str | None = None
    row: int = 0

    def error(self) -> DataError:
        """The fault as an error."""
        return DataError(self.what, where=self.where, expected=self.expected, received=self.value)


@dataclass(frozen=True)
class TablePart:
    """One file, or several of one table, or a data frame.

    Attributes:
        frame: the wanted columns; text files give strings, others what they hold.
        locate: row number -> file and line (Parquet: file and row), for messages.
        faults: malformed lines, which are not in ``frame``.
        path: of the file; None = a data frame in memory.
    """

    frame: pl.DataFrame
    locate: Callable[[int], str]
    faults: Sequence[Fault]
    path: Path | None = None


def check_columns(available: Sequence[str], wanted: Sequence[str], where: object) -> None:
    """Check that columns exist.

    Raises:
        DataError: naming the first unknown column and listing those there are.
    """
    for name in wanted:
        if name not in available:
            single = "set the separator of the file, or correct the column name"
            raise DataError(
                f"unknown column {name!r}",
                where=where,
                expected=f"one of {', '.join(available)}",
                remedy=single if len(available) == 1 else "correct the column name or restore the file",
            )


def joined(parts: Sequence[TablePart]) -> TablePart:
    """The rows of several parts one after the other."""
    if len(parts) == 1:
        return parts[0]
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + part.frame.height)

    def locate(row: int) -> str:
        place = bisect_right(starts, row) - 1
        return parts[place].locate(row - starts[place])

    try:
        frame = pl.concat([part.frame for part in parts], how="vertical_relaxed", rechunk=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the files of a table hold columns of different types ({error})",
            where=parts[0].path,
        ) from error
    faults = [
        replace(fault, row=fault.row + start)
        for part, start in zip(parts, starts[:-1], strict=True)
        for fault in part.faults
    ]
    return TablePart(frame, locate, faults, parts[0].path)
