"""A live index on disk: an index directory for each segment, and a checked directory that names them.

Segments are written once, under names of their own; then the directory's manifest is replaced atomically,
and only then is deleted what it does not name. A crash at any moment leaves the old state or the new one.
Layout: docs/updates.md.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.errors import IndexFormatError, OutputError
from sparcode.files import file_sha256
from sparcode.index import bitsets as bits
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.live.snapshot import Segment, Snapshot
from sparcode.index.storage.section_directory import (
    MANIFEST_NAME,
    DirectoryFormat,
    open_section,
    read_manifest,
    write_directory,
)

_LIVE = DirectoryFormat("sparcode-live-index", "live index", "owned[0-9]+")
_SEGMENT = "segment-"


def write_snapshot(directory: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write a state; segments that are there already are not written again.

    Raises:
        OutputError: cannot be written; the state that was there still is.
    """
    target = Path(directory)
    places = {target / f"{_SEGMENT}{segment.name}": segment for segment in snapshot.segments}
    # An index manifest is written last: a directory without one is not whole.
    missing = {place: segment for place, segment in places.items() if not (place / MANIFEST_NAME).is_file()}
    try:
        for place, segment in missing.items():
            segment.index.save(place)
        content = {
            "num_items": snapshot.num_items,
            "segments": [_entry(place, segment) for place, segment in places.items()],
        }
        owned = [segment.owned.view(np.int64) for segment in snapshot.segments]
        sections = {f"owned{number}": (words, "<i8") for number, words in enumerate(owned)}
        write_directory(target, _LIVE, content, sections)
    except OutputError:
        _remove(missing)
        raise
    _remove(path for path in target.glob(f"{_SEGMENT}*") if path not in places)


def read_snapshot(directory: str | os.PathLike[str], *, verify: bool) -> Snapshot:
    """Open a state; posting lists are memory-mapped.

    Args:
        directory: where :func:`write_snapshot` put it.
        verify: compare checksums and check every posting.

    Raises:
        IndexFormatError: missing, damaged, inconsistent, or of another version; names the file.
    """
    target = Path(directory)
    manifest = read_manifest(target, _LIVE)
    try:
        sections = {entry["name"]: entry for entry in manifest["sections"]}
        segments = [
            _open_segment(target, entry, sections[f"owned{number}"], verify)
            for number, entry in enumerate(manifest["segments"])
        ]
        snapshot = Snapshot(tuple(segments), int(manifest["num_items"]))
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFormatError(
            "manifest lacks an entry", where=target / MANIFEST_NAME, received=repr(error)
        ) from error
    _check_segments(target, snapshot)
    return snapshot


def _entry(place: Path, segment: Segment) -> dict[str, Any]:
    return {"name": segment.name, "num_dead": segment.num_dead, "index_sha256": _sha256(place)}


def _sha256(place: Path) -> str:
    """Digest of an index's manifest, which in turn holds those of its sections."""
    return file_sha256(place / MANIFEST_NAME)


def _open_segment(target: Path, entry: dict[str, Any], section: dict[str, Any], verify: bool) -> Segment:
    place = target / f"{_SEGMENT}{entry['name']}"
    index = InvertedIndex.load(place, verify=verify)
    if _sha256(place) != entry["index_sha256"]:
        raise IndexFormatError("segment belongs to another live index", where=place)
    owned = open_section(target, _LIVE, section, "<i8", verify=verify)
    return Segment(index, owned.view(np.uint64), int(entry["num_dead"]), str(entry["name"]))


def _check_segments(target: Path, snapshot: Snapshot) -> None:
    """Refuse segments that do not belong together.

    Raises:
        IndexFormatError: none, over other terms, larger than the catalogue, or two that own the same item.
    """
    if not snapshot.segments:
        raise IndexFormatError("live index has no segments", where=target)
    taken = bits.no_items(snapshot.num_items)
    num_terms = snapshot.segments[0].index.num_terms
    for number, segment in enumerate(snapshot.segments):
        owned, words = segment.owned, segment.index.num_items // 64 + 1
        if segment.index.num_terms != num_terms or not len(owned) == words <= len(taken):
            raise IndexFormatError("segment has another size", where=target, received=f"segment {number}")
        if (taken[:words] & owned).any():
            raise IndexFormatError("two segments own an item", where=target, received=f"segment {number}")
        taken[:words] |= owned


def _remove(places: Any) -> None:
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
