"""Opening of raw files and checks common to all text formats."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sparcode.errors import DataError

MAX_INT64 = 2**63 - 1


def require_file(path: Path) -> Path:
    """Return ``path`` when it is a file with at least one byte.

    Raises:
        DataError: missing, not a file, or empty.
    """
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "file does not exist"
        raise DataError(what, where=path, remedy="check data.path")
    if not os.access(path, os.R_OK):
        raise DataError("file cannot be read", where=path, remedy="change its permissions")
    if path.stat().st_size == 0:
        raise DataError("file is empty", where=path, remedy="restore the file")
    return path


def at_line(path: Path, number: int) -> str:
    """``file:line`` with 1-based line numbers."""
    return f"{path}:{number}"


def parse_id(text: str, what: str, where: str) -> int:
    """Parse a non-negative integer id.

    Args:
        text: the field, without surrounding space.
        what: what the field is ("user id"), for the message.
        where: file and line.

    Raises:
        DataError: not a decimal integer, negative, or above 2**63 - 1.
    """
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{what} is not a non-negative integer", where=where, received=repr(text))
    value = int(text)
    if value > MAX_INT64:
        raise DataError(f"{what} overflows", where=where, expected=f"at most {MAX_INT64}", received=text)
    return value


def split_lines(path: Path, separator: str, fields: int) -> Iterator[tuple[int, list[str]]]:
    """Lines of a small metadata file as fields; blank lines are skipped.

    The text is read as latin-1, which accepts every byte: only ids and ASCII values are used from it.

    Raises:
        DataError: the file is missing or empty, or a line has another number of fields.
    """
    with require_file(path).open(encoding="latin-1") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.rstrip("\r\n")
            if not text.strip():
                continue
            parts = text.split(separator)
            if len(parts) != fields:
                raise DataError(
                    "malformed line",
                    where=at_line(path, number),
                    expected=f"{fields} fields separated by {separator!r}",
                    received=f"{len(parts)} fields",
                )
            yield number, parts
