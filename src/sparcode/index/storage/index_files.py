"""Which sections and manifest keys make an index (docs/index_format.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.errors import IndexFormatError
from sparcode.index.postings import Postings, check_contents, check_structure
from sparcode.index.storage.section_directory import (
    MANIFEST_NAME,
    DirectoryFormat,
    open_section,
    read_manifest,
    write_directory,
)
from sparcode.index.terms import TermTable, make_term_table

_PLAIN = {"indptr": "<i8", "item_ids": "<i4", "scores": "<f4"}
_TERMS = {"floors": "<f4", "redirects": "<i4"}
_DTYPES = {**_PLAIN, **_TERMS}
_INDEX = DirectoryFormat("sparcode-index", "index", "|".join(_DTYPES))


@dataclass(frozen=True)
class StoredIndex:
    """The parts of an index that are kept on disk.

    Attributes:
        postings: posting lists.
        terms: floors and redirects.
        metadata: JSON values.
    """

    postings: Postings
    terms: TermTable
    metadata: Mapping[str, Any]


def write_index(directory: str | os.PathLike[str], stored: StoredIndex) -> None:
    """Write an index directory, replacing an index that is already there.

    Args:
        directory: created with its parents if missing.
        stored: what to write.

    Raises:
        OutputError: cannot be written, or the metadata are not JSON; the old index is left as it was.
    """
    content = {
        "encoding": "plain",
        "counts": _counts(stored.postings),
        "metadata": dict(stored.metadata),
    }
    arrays = {name: getattr(stored.postings, name) for name in _PLAIN}
    arrays |= {name: getattr(stored.terms, name) for name in _TERMS}
    sections = {name: (array, _DTYPES[name]) for name, array in arrays.items() if array is not None}
    write_directory(directory, _INDEX, content, sections)


def read_index(directory: str | os.PathLike[str], *, verify: bool) -> StoredIndex:
    """Open an index directory.

    Args:
        directory: where :func:`write_index` put it.
        verify: compare payload checksums and check every posting.

    Returns:
        The parts of the index, memory-mapped.

    Raises:
        IndexFormatError: missing, damaged, inconsistent, or of another version.
    """
    target = Path(directory)
    manifest_path = target / MANIFEST_NAME
    manifest = read_manifest(target, _INDEX)
    if manifest.get("encoding") != "plain":
        raise IndexFormatError(
            "unknown encoding", where=manifest_path, expected="plain", received=manifest.get("encoding")
        )
    try:
        entries = {entry["name"]: entry for entry in manifest["sections"]}
        required = {**_PLAIN, **{name: dtype for name, dtype in _TERMS.items() if name in entries}}
        arrays = {
            name: open_section(target, _INDEX, entries[name], dtype, verify=verify)
            for name, dtype in required.items()
        }
        counts, metadata = dict(manifest["counts"]), dict(manifest["metadata"])
        postings = Postings(**{name: arrays[name] for name in _PLAIN}, num_items=int(counts["num_items"]))
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFormatError(
            "manifest lacks an entry", where=manifest_path, received=repr(error)
        ) from error
    received = _counts(postings)
    if counts != received:
        raise IndexFormatError(
            "counts differ from the sections", where=manifest_path, expected=counts, received=received
        )
    try:
        check_structure(postings)
        terms = make_term_table(postings.num_terms, arrays.get("floors"), arrays.get("redirects"))
        if verify:
            check_contents(postings)
    except IndexFormatError as error:
        raise IndexFormatError(f"inconsistent index: {error}", where=target) from error
    return StoredIndex(postings, terms, metadata)


def _counts(postings: Postings) -> dict[str, int]:
    return {
        "num_terms": postings.num_terms,
        "num_items": postings.num_items,
        "num_lists": int(np.count_nonzero(np.diff(postings.indptr))),
        "num_postings": postings.num_postings,
    }
