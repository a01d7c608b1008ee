"""The index directory: a manifest that names its section files by content (docs/index_format.md).

Section files are never changed once the manifest names them: a new index brings files with other names, then
the manifest is replaced by one atomic rename. A crash at any moment leaves the old index or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.errors import IndexFormatError, OutputError
from sparcode.index.postings import Postings, check_contents, check_structure
from sparcode.index.storage.sections import (
    FORMAT_VERSION,
    SectionHeader,
    payload_of,
    read_section,
    write_section,
)

MANIFEST_NAME = "manifest.json"
FORMAT_NAME = "sparcode-index"

_DTYPES = {"indptr": "<i8", "item_ids": "<i4", "scores": "<f4"}
_SECTION_FILE = re.compile(r"(indptr|item_ids|scores)-[0-9a-f]{16}\.bin(\.tmp)?")
_TEMPORARY_MANIFEST = MANIFEST_NAME + ".tmp"


def write_index(directory: str | os.PathLike[str], postings: Postings, metadata: Mapping[str, Any]) -> None:
    """Write an index directory, replacing an index that is already there.

    Args:
        directory: created with its parents if missing.
        postings: posting lists.
        metadata: JSON values kept in the manifest.

    Raises:
        OutputError: cannot be written, or the metadata are not JSON; the old index is left as it was.
    """
    target = Path(directory)
    existed = target.exists()
    written: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        sections = [_store_section(target, name, postings, written) for name in _DTYPES]
        _store_manifest(target, _manifest(postings, metadata, sections), written)
    except (OSError, TypeError, ValueError) as error:
        _remove(written)
        if not existed:
            with contextlib.suppress(OSError):
                target.rmdir()
        raise OutputError(
            "index cannot be written",
            where=target,
            received=error,
            remedy="free space or choose another directory; an index that was there is unchanged",
        ) from error
    keep = {section["file"] for section in sections}
    _remove(path for path in target.iterdir() if _SECTION_FILE.fullmatch(path.name) and path.name not in keep)


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
    manifest = _read_manifest(manifest_path)
    try:
        sections = {section["name"]: section for section in manifest["sections"]}
        arrays = {name: _open_section(target, sections[name], verify) for name in _DTYPES}
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


def _store_section(
    directory: Path, name: str, postings: Postings, written: list[Path]
) -> dict[str, str | int]:
    """Write one section under its content name; returns its manifest entry."""
    payload = payload_of(getattr(postings, name), _DTYPES[name])
    sha256 = hashlib.sha256(payload).hexdigest()
    count = len(getattr(postings, name))
    header = SectionHeader(name, _DTYPES[name], count, zlib.crc32(payload))
    path = directory / f"{name}-{sha256[:16]}.bin"
    temporary = path.with_name(path.name + ".tmp")
    fresh = not path.exists()
    written.append(temporary)
    write_section(temporary, header, payload)
    os.replace(temporary, path)
    if fresh:
        written.append(path)
    return {
        "name": name,
        "file": path.name,
        "dtype": header.dtype,
        "count": count,
        "crc32": header.crc32,
        "sha256": sha256,
    }


def _manifest(
    postings: Postings, metadata: Mapping[str, Any], sections: list[dict[str, str | int]]
) -> dict[str, Any]:
    content = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "byte_order": "little",
        "score_type": "float32",
        "counts": _counts(postings),
        "sections": sections,
        "metadata": dict(metadata),
    }
    return {**content, "checksum": _checksum(content)}


def _counts(postings: Postings) -> dict[str, int]:
    return {
        "num_terms": postings.num_terms,
        "num_items": postings.num_items,
        "num_lists": int(np.count_nonzero(np.diff(postings.indptr))),
        "num_postings": postings.num_postings,
    }


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its checksum, as compact JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _store_manifest(directory: Path, manifest: Mapping[str, Any], written: list[Path]) -> None:
    temporary = directory / _TEMPORARY_MANIFEST
    written.append(temporary)
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(directory)  # the sections' names must be on disk before the manifest that relies on them
    os.replace(temporary, directory / MANIFEST_NAME)
    written.clear()  # from here on the new index is the index
    with contextlib.suppress(OSError):
        _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(paths: Any) -> None:
    for path in list(paths):
        with contextlib.suppress(OSError):
            path.unlink()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise IndexFormatError(
            "index manifest cannot be read",
            where=path,
            received=error.strerror,
            remedy="name a directory that an index was saved to",
        ) from error
    except (ValueError, RecursionError) as error:
        raise IndexFormatError("index manifest is not JSON", where=path, received=error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_NAME:
        raise IndexFormatError("not an index manifest", where=path, expected=f"format {FORMAT_NAME!r}")
    if manifest.get("version") != FORMAT_VERSION:
        raise IndexFormatError(
            "unknown index format version",
            where=path,
            expected=FORMAT_VERSION,
            received=manifest.get("version"),
            remedy="rebuild the index with this version of sparcode",
        )
    _check_manifest(manifest, path)
    return manifest


def _check_manifest(manifest: dict[str, Any], path: Path) -> None:
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    try:
        checksum = _checksum(content)
    except ValueError as error:  # NaN is not JSON, but the parser takes it
        raise IndexFormatError("index manifest is not JSON", where=path, received=error) from error
    if manifest.get("checksum") != checksum:
        raise IndexFormatError(
            "checksum of the manifest differs", where=path, remedy="rebuild or copy the index again"
        )
    for key, value in (("byte_order", "little"), ("score_type", "float32")):
        if manifest.get(key) != value:
            raise IndexFormatError(f"unknown {key}", where=path, expected=value, received=manifest.get(key))


def _open_section(directory: Path, section: dict[str, Any], verify: bool) -> Any:
    name, file = section["name"], section["file"]
    if section["dtype"] != _DTYPES[name] or not _SECTION_FILE.fullmatch(file):
        raise IndexFormatError("manifest describes an unknown section", where=directory, received=section)
    expected = SectionHeader(name, section["dtype"], section["count"], section["crc32"])
    return read_section(directory / file, expected, verify=verify)
