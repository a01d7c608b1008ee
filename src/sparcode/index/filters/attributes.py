"""Item attributes: named columns, one row per item, in memory and on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError, UsageError
from sparcode.index.filters.attribute_columns import check_column, kind_of
from sparcode.index.storage.section_directory import (
    DirectoryFormat,
    open_section,
    read_manifest,
    write_directory,
)

_ATTRIBUTES = DirectoryFormat("sparcode-attributes", "attributes", "table")


class ItemAttributes:
    """Named columns over the items of a catalogue; immutable.

    Args:
        columns: by name, all over the same items, see :mod:`sparcode.index.filters.attribute_columns`.

    Raises:
        IndexFormatError: columns of different lengths, or one whose invariants do not hold.
    """

    def __init__(self, columns: Mapping[str, pa.Array]) -> None:
        if not columns:
            raise IndexFormatError("attributes need at least one column")
        self.columns = dict(columns)
        for name, column in self.columns.items():
            if not isinstance(name, str) or not name:
                raise IndexFormatError("a column needs a name", received=repr(name))
            check_column(name, column)
        rows = {name: len(column) for name, column in self.columns.items()}
        if len(set(rows.values())) != 1:
            raise IndexFormatError("columns differ in length", received=rows)

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, verify: bool = True) -> ItemAttributes:
        """Open a directory that :meth:`save` wrote; the columns are memory-mapped.

        Args:
            directory: where it lies.
            verify: compare the checksum too.

        Raises:
            IndexFormatError: missing, damaged, inconsistent, or of another version; names file and section.
        """
        manifest = read_manifest(Path(directory), _ATTRIBUTES)
        try:
            (entry,) = manifest["sections"]
            data = open_section(Path(directory), _ATTRIBUTES, entry, "|u1", verify=verify)
            with pa.ipc.open_file(pa.py_buffer(data)) as file:
                batch = file.get_batch(0)
            return cls(dict(zip(batch.schema.names, batch.columns, strict=True)))
        except (IndexFormatError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise IndexFormatError(f"inconsistent attributes: {error}", where=directory) from error

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the directory (docs/filters.md); attributes already there are replaced atomically.

        Raises:
            OutputError: the directory cannot be written; what was there before still is.
        """
        batch = pa.record_batch(self.columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = np.frombuffer(sink.getvalue(), np.uint8)
        write_directory(directory, _ATTRIBUTES, {"num_items": self.num_items}, {"table": (data, "|u1")})

    def with_rows(
        self, num_items: int, item_ids: NDArray[np.int64], rows: Mapping[str, pa.Array]
    ) -> ItemAttributes:
        """The attributes of a catalogue that may be larger, with those of some items replaced.

        Args:
            num_items: size of the catalogue now; attributes of further items are unknown unless given.
            item_ids: (n,) items with other attributes.
            rows: these, a column of n + 1 rows for each name: row 0 is padding, row j + 1 of ``item_ids[j]``.
        """
        places = np.arange(num_items + 1)
        places[item_ids] = self.num_items + 2 + np.arange(len(item_ids))
        unknown = (places <= num_items) & (places > self.num_items)
        unknown[item_ids] = False
        taken = pa.array(places, mask=unknown)
        return ItemAttributes(
            {
                name: pa.concat_arrays([column, rows[name]]).take(taken)
                for name, column in self.columns.items()
            }
        )

    @property
    def num_items(self) -> int:
        """Size of the catalogue; row 0 of every column is padding."""
        return len(next(iter(self.columns.values()))) - 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.columns)

    def column(self, name: str) -> pa.Array:
        """A column by its name.

        Raises:
            UsageError: unknown; names the columns there are, with their kinds.
        """
        try:
            return self.columns[name]
        except KeyError:
            known = " | ".join(f"{name} ({kind_of(column)})" for name, column in self.columns.items())
            raise UsageError("unknown attribute", expected=known, received=repr(name)) from None

    @property
    def size_bytes(self) -> int:
        """Bytes of the columns."""
        return sum(column.nbytes for column in self.columns.values())
