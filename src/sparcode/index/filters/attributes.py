"""Item attributes: named columns, one row per item, in memory and on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from sparcode.errors import IndexFormatError, UsageError
from sparcode.index.filters.attribute_files import read_columns, write_columns
from sparcode.index.filters.columns import Column


class ItemAttributes:
    """Named columns over the items of a catalogue; immutable.

    Args:
        columns: by name, all over the same items.

    Raises:
        IndexFormatError: columns of different lengths, or one whose invariants do not hold.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        if not columns:
            raise IndexFormatError("attributes need at least one column")
        self._columns = dict(columns)
        rows = {name: column.num_rows for name, column in self._columns.items()}
        if len(set(rows.values())) != 1:
            raise IndexFormatError("columns differ in length", received=rows)
        for name, column in self._columns.items():
            if not isinstance(name, str) or not name:
                raise IndexFormatError("a column needs a name", received=repr(name))
            try:
                column.check()
            except IndexFormatError as error:
                raise IndexFormatError(f"column is inconsistent: {error}", where=name) from error

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, verify: bool = True) -> ItemAttributes:
        """Open a directory that :meth:`save` wrote; the arrays are memory-mapped.

        Args:
            directory: where it lies.
            verify: compare the checksums of the arrays too.

        Raises:
            IndexFormatError: missing, damaged, inconsistent, or of another version; names file and section.
        """
        columns = read_columns(directory, verify=verify)
        try:
            return cls(columns)
        except IndexFormatError as error:
            raise IndexFormatError(f"inconsistent attributes: {error}", where=directory) from error

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the directory (docs/filters.md); attributes already there are replaced at one stroke.

        Raises:
            OutputError: the directory cannot be written; what was there before still is.
        """
        write_columns(directory, self._columns, self.num_items)

    @property
    def num_items(self) -> int:
        """Size of the catalogue; row 0 of every column is padding."""
        return next(iter(self._columns.values())).num_rows - 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._columns)

    def column(self, name: str) -> Column:
        """A column by its name.

        Raises:
            UsageError: unknown; names the columns there are, with their kinds.
        """
        try:
            return self._columns[name]
        except KeyError:
            known = " | ".join(f"{name} ({column.kind})" for name, column in self._columns.items())
            raise UsageError("unknown attribute", expected=known, received=repr(name)) from None

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        arrays = [value for column in self._columns.values() for value in vars(column).values()]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
