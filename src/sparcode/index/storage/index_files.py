"""Which sections and manifest keys make an index (docs/index_format.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError
from sparcode.index.packed.checks import check_packed_contents, check_packed_structure
from sparcode.index.packed.coding import CODE_TYPES, ENCODINGS
from sparcode.index.packed.packed_lists import PackedLists
from sparcode.index.postings import Postings, check_contents, check_structure, make_floors
from sparcode.index.storage.section_directory import (
    MANIFEST_NAME,
    DirectoryFormat,
    open_section,
    read_manifest,
    write_directory,
)

_PLAIN = {"indptr": "<i8", "item_ids": "<i4", "scores": "<f4"}
_PACKED = {"lengths": "<i4", "id_words": "<i4", "ids": "<u8"}
_STEPS = {"steps": "<f4"}
_FLOORS = {"floors": "<f4"}
_NAMES = (*_PLAIN, *_PACKED, "codes", *_STEPS, *_FLOORS)
_INDEX = DirectoryFormat("sparcode-index", "index", "|".join(_NAMES))

_SECTIONS: dict[str, dict[str, str]] = {
    "plain": _PLAIN,
    "float32": {**_PACKED, "codes": CODE_TYPES["float32"]},
    "float16": {**_PACKED, "codes": CODE_TYPES["float16"], **_STEPS},
    "uint8": {**_PACKED, "codes": CODE_TYPES["uint8"], **_STEPS},
}
"""Name and element type of the sections that each encoding needs."""


@dataclass(frozen=True)
class StoredIndex:
    """The parts of an index that are kept on disk.

    Attributes:
        postings: posting lists, plain or packed.
        floors: what was subtracted from the scores of each list, None = nothing was.
        metadata: JSON values.
    """

    postings: Postings | PackedLists
    floors: NDArray[np.float32] | None
    metadata: Mapping[str, Any]


def write_index(directory: str | os.PathLike[str], stored: StoredIndex) -> None:
    """Write an index directory, replacing an index that is already there.

    Args:
        directory: created with its parents if missing.
        stored: what to write.

    Raises:
        OutputError: cannot be written, or the metadata are not JSON; the old index is left as it was.
    """
    postings = stored.postings
    encoding = postings.encoding if isinstance(postings, PackedLists) else "plain"
    content = {"encoding": encoding, "counts": _counts(postings), "metadata": dict(stored.metadata)}
    sections = {name: (getattr(postings, name), dtype) for name, dtype in _SECTIONS[encoding].items()}
    if stored.floors is not None:
        sections["floors"] = (stored.floors, _FLOORS["floors"])
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
    encoding = manifest.get("encoding")
    if not isinstance(encoding, str) or encoding not in _SECTIONS:
        raise IndexFormatError(
            "unknown encoding", where=manifest_path, expected=" | ".join(_SECTIONS), received=encoding
        )
    try:
        entries = {entry["name"]: entry for entry in manifest["sections"]}
        counts, metadata = dict(manifest["counts"]), dict(manifest["metadata"])
        num_items = int(counts["num_items"])
        needed = _SECTIONS[encoding] | (_FLOORS if "floors" in entries else {})
        arrays = {
            name: open_section(target, _INDEX, entries[name], dtype, verify=verify)
            for name, dtype in needed.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFormatError(
            "manifest lacks an entry", where=manifest_path, received=repr(error)
        ) from error
    _refuse_others(entries, needed, manifest_path)
    try:
        postings = _make_postings(encoding, arrays, num_items)
        floors = make_floors(arrays.get("floors"), postings.num_terms)
        received = _counts(postings)
        if counts != received:
            raise IndexFormatError("counts differ from the sections", expected=counts, received=received)
        if verify:
            _check_postings(postings)
    except IndexFormatError as error:
        raise IndexFormatError(f"inconsistent index: {error}", where=target) from error
    return StoredIndex(postings, floors, metadata)


def _make_postings(encoding: str, arrays: Mapping[str, NDArray], num_items: int) -> Postings | PackedLists:
    """Posting lists with checked borders."""
    if encoding == "plain":
        plain = Postings(arrays["indptr"], arrays["item_ids"], arrays["scores"], num_items)
        check_structure(plain)
        return plain
    steps = arrays.get("steps")
    packed = PackedLists(
        encoding=next(name for name in ENCODINGS if name == encoding),
        lengths=arrays["lengths"],
        id_words=arrays["id_words"],
        ids=arrays["ids"],
        codes=arrays["codes"],
        steps=np.ones(len(arrays["lengths"]), dtype=np.float32) if steps is None else steps,
        num_items=num_items,
    )
    check_packed_structure(packed)
    return packed


def _check_postings(postings: Postings | PackedLists) -> None:
    if isinstance(postings, PackedLists):
        check_packed_contents(postings)
    else:
        check_contents(postings)


def _refuse_others(entries: Mapping[str, Any], needed: Mapping[str, str], manifest_path: Path) -> None:
    others = [name for name in entries if name not in needed]
    if others:
        raise IndexFormatError(
            "manifest names a section that does not belong to the encoding",
            where=manifest_path,
            expected=", ".join(needed),
            received=others[0],
        )


def _counts(postings: Postings | PackedLists) -> dict[str, int]:
    return {
        "num_terms": postings.num_terms,
        "num_items": postings.num_items,
        "num_lists": int(np.count_nonzero(postings.list_lengths())),
        "num_postings": postings.num_postings,
    }
