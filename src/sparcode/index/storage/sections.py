"""Section files: one array behind a checked 64-byte header (byte layout in docs/index_format.md)."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError

FORMAT_VERSION = 1
"""Version written into, and accepted from, manifest and section headers."""

MAGIC = b"SPARCIDX"
HEADER_BYTES = 64
DTYPE_CODES = {1: "<i4", 2: "<i8", 3: "<f4", 4: "<f8", 5: "|u1", 6: "<f2", 7: "<u8"}

_FIELDS = struct.Struct("<8sII16sQQI8x")  # all but the last four bytes, which are the checksum of these 60
_CHECKSUM = struct.Struct("<I")
_BLOCK_BYTES = 1 << 22
_REBUILD = "rebuild or copy the index again"


@dataclass(frozen=True)
class SectionHeader:
    """What a section file says about its payload.

    Attributes:
        name: section name, ASCII, at most 16 bytes.
        dtype: NumPy type text, a value of :data:`DTYPE_CODES`.
        count: number of array elements.
        crc32: CRC-32 of the payload.
    """

    name: str
    dtype: str
    count: int
    crc32: int

    @property
    def payload_bytes(self) -> int:
        return self.count * np.dtype(self.dtype).itemsize

    def pack(self) -> bytes:
        """The 64 header bytes."""
        code = next(code for code, dtype in DTYPE_CODES.items() if dtype == self.dtype)
        name = self.name.encode("ascii")
        fields = _FIELDS.pack(MAGIC, FORMAT_VERSION, code, name, self.count, self.payload_bytes, self.crc32)
        return fields + _CHECKSUM.pack(zlib.crc32(fields))


def payload_of(array: NDArray, dtype: str) -> memoryview:
    """The little-endian bytes of a vector."""
    return np.ascontiguousarray(array, dtype=dtype).data.cast("B") if array.size else memoryview(b"")


def write_section(path: Path, header: SectionHeader, payload: memoryview) -> None:
    """Write a section file and force it to disk.

    Raises:
        OSError: as the operating system reports it.
    """
    with open(path, "wb") as file:
        file.write(header.pack())
        for start in range(0, len(payload), _BLOCK_BYTES):
            file.write(payload[start : start + _BLOCK_BYTES])
        file.flush()
        os.fsync(file.fileno())


def read_section(path: Path, expected: SectionHeader, *, verify: bool) -> NDArray:
    """Memory-map a section file.

    Args:
        path: the file.
        expected: what the manifest says about it.
        verify: compare the checksum of the payload too.

    Returns:
        (count,) read-only array of the section's type.

    Raises:
        IndexFormatError: missing, truncated, damaged, or not the section that was expected.
    """
    where = f"{path} (section {expected.name!r})"
    header = _read_header(path, where)
    if header != expected:
        raise IndexFormatError(
            "section does not belong to the manifest",
            where=where,
            expected=expected,
            received=header,
            remedy=_REBUILD,
        )
    if expected.count == 0:
        return np.empty(0, dtype=expected.dtype)
    try:
        array = np.memmap(path, dtype=expected.dtype, mode="r", offset=HEADER_BYTES, shape=(expected.count,))
    except (OSError, ValueError) as error:
        raise IndexFormatError("section cannot be mapped", where=where, received=error) from error
    if verify and _crc32(array) != expected.crc32:
        raise IndexFormatError("checksum of the payload differs", where=where, remedy=_REBUILD)
    return np.asarray(array)


def _read_header(path: Path, where: str) -> SectionHeader:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise IndexFormatError(
            "section file cannot be read", where=where, received=error.strerror, remedy=_REBUILD
        ) from error
    if len(raw) < HEADER_BYTES:
        raise IndexFormatError(
            "header is truncated",
            where=where,
            expected=f"{HEADER_BYTES} bytes",
            received=len(raw),
            remedy=_REBUILD,
        )
    header = _parse_header(raw, where)
    if size != HEADER_BYTES + header.payload_bytes:
        raise IndexFormatError(
            "file has a wrong size",
            where=where,
            expected=f"{HEADER_BYTES + header.payload_bytes} bytes",
            received=f"{size} bytes",
            remedy=_REBUILD,
        )
    return header


def _parse_header(raw: bytes, where: str) -> SectionHeader:
    magic, version, code, name, count, payload_bytes, crc32 = _FIELDS.unpack(raw[: _FIELDS.size])
    if magic != MAGIC:
        raise IndexFormatError("not an index section", where=where, expected=MAGIC, received=magic)
    if version != FORMAT_VERSION:
        raise IndexFormatError(
            "unknown format version",
            where=where,
            expected=FORMAT_VERSION,
            received=version,
            remedy="rebuild the index with this version of sparcode",
        )
    if _CHECKSUM.unpack(raw[_FIELDS.size :])[0] != zlib.crc32(raw[: _FIELDS.size]):
        raise IndexFormatError("checksum of the header differs", where=where, remedy=_REBUILD)
    if code not in DTYPE_CODES:
        raise IndexFormatError(
            "unknown element type", where=where, expected=sorted(DTYPE_CODES), received=code, remedy=_REBUILD
        )
    header = SectionHeader(name.rstrip(b"\0").decode("ascii", "replace"), DTYPE_CODES[code], count, crc32)
    if payload_bytes != header.payload_bytes:
        raise IndexFormatError(
            "payload size contradicts the element count",
            where=where,
            expected=header.payload_bytes,
            received=payload_bytes,
            remedy=_REBUILD,
        )
    return header


def _crc32(array: NDArray) -> int:
    payload = array.data.cast("B")
    crc = 0
    for start in range(0, len(payload), _BLOCK_BYTES):
        crc = zlib.crc32(payload[start : start + _BLOCK_BYTES], crc)
    return crc
