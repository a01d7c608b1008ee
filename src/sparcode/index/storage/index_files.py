"""Which sections and manifest keys make an index (docs/index_format.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
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

_DTYPES = {"indptr": "<i8", "item_ids": "<i4", "scores": "<f4"}
_INDEX = DirectoryFormat("sparcode-index", "index", "|".join(_DTYPES))


def write_index(directory: str | os.PathLike[str], postings: Postings, metadata: Mapping[str, Any]) -> None:
    """Write an index directory, replacing an index that is already there.

    Args:
        directory: created with its parents if missing.
        postings: posting lists.
        metadata: JSON values kept in the manifest.

    Raises:
        OutputError: cannot be written, or the metadata are not JSON; the old index is left as it was.
    """
    content = {"score_type": "float32", "counts": _counts(postings), "metadata": dict(metadata)}
    sections = {name: (getattr(postings, name), dtype) for name, dtype in _DTYPES.items()}
    write_directory(directory, _INDEX, content, sections)


def read_index(directory: str | os.PathLike[str], *, verify: bool) -> tuple[Postings, dict[str, Any]]:
    """Open an index directory.

    Args:
        directory: where :func:`write_index` put it.
        verify: compare payload checksums and check every posting.

    Returns:
        Memory-mapped posting lists, and the metadata.

    Raises:
        IndexFormatError: missing, damaged, inconsistent, or of another version.
    """
    target = Path(directory)
    manifest_path = target / MANIFEST_NAME
    manifest = read_manifest(target, _INDEX)
    if manifest.get("score_type") != "float32":
        raise IndexFormatError(
            "unknown score_type", where=manifest_path, expected="float32", received=manifest.get("score_type")
        )
    try:
        entries = {entry["name"]: entry for entry in manifest["sections"]}
        arrays = {
            name: open_section(target, _INDEX, entries[name], dtype, verify=verify)
            for name, dtype in _DTYPES.items()
        }
        counts, metadata = dict(manifest["counts"]), dict(manifest["metadata"])
        postings = Postings(**arrays, num_items=int(counts["num_items"]))
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
        if verify:
            check_contents(postings)
    except IndexFormatError as error:
        raise IndexFormatError(f"inconsistent posting lists: {error}", where=target) from error
    return postings, metadata


def _counts(postings: Postings) -> dict[str, int]:
    return {
        "num_terms": postings.num_terms,
        "num_items": postings.num_items,
        "num_lists": int(np.count_nonzero(np.diff(postings.indptr))),
        "num_postings": postings.num_postings,
    }
