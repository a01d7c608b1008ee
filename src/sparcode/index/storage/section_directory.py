"""A directory of arrays: a manifest that names NumPy files by their content (docs/index_format.md).

Section files are never changed once the manifest names them: new contents bring files with other names, then
the manifest is replaced by one atomic rename. A crash at any moment leaves the old contents or the new ones.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError, OutputError
from sparcode.files import file_sha256, sync_directory, text_sha256

FORMAT_VERSION = 2
"""Version written into, and accepted from, manifests."""

MANIFEST_NAME = "manifest.json"
_TEMPORARY_MANIFEST = MANIFEST_NAME + ".tmp"
_REBUILD = "rebuild or copy the directory again"


@dataclass(frozen=True)
class DirectoryFormat:
    """What tells one kind of directory from another.

    Attributes:
        name: value of the manifest's key ``format``.
        noun: what messages call the contents.
        sections: regular expression of the section names.
    """

    name: str
    noun: str
    sections: str

    def is_section_file(self, name: str, *, finished: bool = False) -> bool:
        """Whether a file of this name is a section; with ``finished``, not one that was being written."""
        ending = r"-[0-9a-f]{16}\.npy" if finished else r"(-[0-9a-f]{16}\.npy|\.npy\.tmp)"
        return re.fullmatch(rf"({self.sections}){ending}", name) is not None


def write_directory(
    directory: str | os.PathLike[str],
    kind: DirectoryFormat,
    content: Mapping[str, Any],
    sections: Mapping[str, tuple[NDArray, str]],
) -> None:
    """Write sections and manifest, replacing what is already there atomically.

    Args:
        directory: created with its parents if missing.
        kind: format of the directory.
        content: JSON values of the manifest beside format, version, byte order, sections and checksum.
        sections: by name, the vector and its NumPy type text.

    Raises:
        OutputError: cannot be written, or ``content`` is not JSON; the old contents are left as they were.
    """
    target = Path(directory)
    existed = target.exists()
    written: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        entries = [_store_section(target, name, *section, written) for name, section in sections.items()]
        _store_manifest(target, _manifest(kind, content, entries), written)
    except (OSError, TypeError, ValueError) as error:
        _remove(written)
        if not existed:
            with contextlib.suppress(OSError):
                target.rmdir()
        raise OutputError(
            f"{kind.noun} cannot be written",
            where=target,
            received=error,
            remedy="free space or choose another directory; what was there is unchanged",
        ) from error
    keep = {entry["file"] for entry in entries}
    _remove(path for path in target.iterdir() if kind.is_section_file(path.name) and path.name not in keep)


def read_manifest(directory: Path, kind: DirectoryFormat) -> dict[str, Any]:
    """Read and check the manifest of a directory.

    Raises:
        IndexFormatError: missing, not JSON, of another format or version, or damaged.
    """
    path = directory / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise IndexFormatError(
            f"{kind.noun} manifest cannot be read",
            where=path,
            received=error.strerror,
            remedy=f"name a directory that the {kind.noun} was saved to",
        ) from error
    except (ValueError, RecursionError) as error:
        raise IndexFormatError(f"{kind.noun} manifest is not JSON", where=path, received=error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != kind.name:
        raise IndexFormatError(
            f"not the manifest of the {kind.noun}", where=path, expected=f"format {kind.name!r}"
        )
    if manifest.get("version") != FORMAT_VERSION:
        raise IndexFormatError(
            f"unknown {kind.noun} format version",
            where=path,
            expected=FORMAT_VERSION,
            received=manifest.get("version"),
            remedy=f"write the {kind.noun} again with this version of sparcode",
        )
    _check_manifest(manifest, path, kind)
    return manifest


def open_section(
    directory: Path, kind: DirectoryFormat, entry: Mapping[str, Any], dtype: str, *, verify: bool
) -> NDArray:
    """Memory-map the section of a manifest entry, read-only.

    Args:
        directory: where the manifest lies.
        kind: format of the directory.
        entry: what the manifest says about the section.
        dtype: NumPy type text that the section must have.
        verify: compare the checksum of the file too.

    Raises:
        IndexFormatError: missing, damaged, or not what the entry says.
        KeyError, TypeError: the entry is incomplete.
    """
    file = str(entry["file"])
    if entry["dtype"] != dtype or not kind.is_section_file(file, finished=True):
        raise IndexFormatError(
            "manifest describes an unknown section", where=directory, expected=dtype, received=dict(entry)
        )
    where = f"{directory / file} (section {entry['name']!r})"
    try:
        if verify and file_sha256(directory / file) != entry["sha256"]:
            raise IndexFormatError("checksum of the section differs", where=where, remedy=_REBUILD)
        header = _header(dtype, entry["count"])
        with open(directory / file, "rb") as opened:
            begins = opened.read(len(header)) == header
        size = len(header) + entry["count"] * np.dtype(dtype).itemsize
        if not begins or (directory / file).stat().st_size != size:
            raise IndexFormatError(
                "section does not belong to the manifest",
                where=where,
                expected=f"a NumPy file of {entry['count']} {dtype}, {size} bytes",
                remedy=_REBUILD,
            )
        if not entry["count"]:
            return np.empty(0, dtype)
        return np.asarray(np.memmap(directory / file, dtype, "r", len(header), (entry["count"],)))
    except (OSError, ValueError) as error:
        raise IndexFormatError(
            "section file cannot be read", where=where, received=error, remedy=_REBUILD
        ) from error


def _header(dtype: str, count: int) -> bytes:
    """The first bytes of the NumPy file of a vector."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": (count,)})
    return header.getvalue()


def _store_section(
    directory: Path, name: str, array: NDArray, dtype: str, written: list[Path]
) -> dict[str, str | int]:
    """Write one section under its content name; returns its manifest entry."""
    temporary = directory / f"{name}.npy.tmp"
    written.append(temporary)
    with open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array, dtype=dtype))
        file.flush()
        os.fsync(file.fileno())
    sha256 = file_sha256(temporary)
    path = directory / f"{name}-{sha256[:16]}.npy"
    if not path.exists():
        written.append(path)
    os.replace(temporary, path)
    return {"name": name, "file": path.name, "dtype": dtype, "count": len(array), "sha256": sha256}


def _manifest(
    kind: DirectoryFormat, content: Mapping[str, Any], entries: list[dict[str, str | int]]
) -> dict[str, Any]:
    head = {"format": kind.name, "version": FORMAT_VERSION, "byte_order": "little"}
    manifest = {**head, **content, "sections": entries}
    return {**manifest, "checksum": _checksum(manifest)}


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its checksum, as compact JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text_sha256(text)


def _check_manifest(manifest: dict[str, Any], path: Path, kind: DirectoryFormat) -> None:
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    try:
        checksum = _checksum(content)
    except ValueError as error:  # NaN is not JSON, but the parser takes it
        raise IndexFormatError(f"{kind.noun} manifest is not JSON", where=path, received=error) from error
    if manifest.get("checksum") != checksum:
        raise IndexFormatError(
            "checksum of the manifest differs", where=path, remedy="rebuild or copy the directory again"
        )
    if manifest.get("byte_order") != "little":
        raise IndexFormatError(
            "unknown byte_order", where=path, expected="little", received=manifest.get("byte_order")
        )


def _store_manifest(directory: Path, manifest: Mapping[str, Any], written: list[Path]) -> None:
    temporary = directory / _TEMPORARY_MANIFEST
    written.append(temporary)
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(directory)  # the sections' names must be on disk before the manifest that relies on them
    os.replace(temporary, directory / MANIFEST_NAME)
    written.clear()  # from here on the new contents are the contents
    with contextlib.suppress(OSError):
        sync_directory(directory)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        with contextlib.suppress(OSError):
            path.unlink()
