"""Which sections and manifest keys make item attributes (docs/filters.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sparcode.errors import IndexFormatError
from sparcode.index.filters.columns import Category, Column, MultiCategory, Number
from sparcode.index.storage.section_directory import (
    MANIFEST_NAME,
    DirectoryFormat,
    open_section,
    read_manifest,
    write_directory,
)

_ATTRIBUTES = DirectoryFormat("sparcode-attributes", "attributes", r"(values|codes|indptr)_[0-9]{1,6}")
_ARRAYS: dict[type, dict[str, str]] = {
    Number: {"values": "<f8"},
    Category: {"codes": "<i4"},
    MultiCategory: {"indptr": "<i8", "codes": "<i4"},
}
_KINDS: dict[str, Any] = {kind.kind: kind for kind in (Number, Category, MultiCategory)}


def write_columns(directory: str | os.PathLike[str], columns: Mapping[str, Column], num_items: int) -> None:
    """Write an attribute directory.

    Raises:
        OutputError: cannot be written; what was there before still is.
    """
    sections: dict[str, tuple[NDArray, str]] = {}
    described: list[dict[str, Any]] = []
    for number, (name, column) in enumerate(columns.items()):
        entry: dict[str, Any] = {"name": name, "kind": column.kind}
        if isinstance(column, Category | MultiCategory):
            entry["vocabulary"] = list(column.vocabulary)
        described.append(entry)
        for array, dtype in _ARRAYS[type(column)].items():
            sections[f"{array}_{number}"] = getattr(column, array), dtype
    write_directory(directory, _ATTRIBUTES, {"num_items": num_items, "columns": described}, sections)


def read_columns(directory: str | os.PathLike[str], *, verify: bool) -> dict[str, Column]:
    """Open the columns of an attribute directory; their invariants are left to the caller.

    Raises:
        IndexFormatError: missing, damaged, or of another version.
    """
    target = Path(directory)
    manifest = read_manifest(target, _ATTRIBUTES)
    columns: dict[str, Column] = {}
    try:
        entries = {entry["name"]: entry for entry in manifest["sections"]}
        for number, entry in enumerate(manifest["columns"]):
            kind = _KINDS[entry["kind"]]
            arrays = {
                array: open_section(target, _ATTRIBUTES, entries[f"{array}_{number}"], dtype, verify=verify)
                for array, dtype in _ARRAYS[kind].items()
            }
            texts = {} if kind is Number else {"vocabulary": tuple(entry["vocabulary"])}
            columns[entry["name"]] = kind(**texts, **arrays)
            if columns[entry["name"]].num_rows != manifest["num_items"] + 1:
                raise ValueError(f"number of rows of column {entry['name']!r}")
        if len(columns) != len(manifest["columns"]):
            raise ValueError("two columns of one name")
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFormatError(
            "manifest and sections do not agree", where=target / MANIFEST_NAME, received=repr(error)
        ) from error
    return columns
