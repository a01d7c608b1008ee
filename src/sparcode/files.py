"""Files and directories that appear complete or not at all, and their checksums."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sparcode.errors import OutputError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_STREAM = re.compile(r"/dev/(stdout|stderr|fd/\d+)")
_BLOCK_BYTES = 1 << 20
_REMEDY = "free space or choose another output"


@contextmanager
def replacing_file(target: Path) -> Iterator[TextIO]:
    """A UTF-8 text stream whose contents take the name ``target`` when the block ends without an error.

    The contents are on disk before they have the name. What is no regular file (a device, a FIFO, an open
    stream such as /dev/stdout) is written through instead of being replaced; of a symbolic link, what it
    points to is replaced.

    Args:
        target: file to make or to replace; its directory is made.

    Raises:
        OutputError: it cannot be written. What was there before still is, and nothing half-written is left.
    """
    try:
        if _is_written_through(target):
            with _open_through(target) as stream:
                yield stream
            return
        place = target.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(place)
        try:
            with partial.open("w", encoding="utf-8") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def write_text(target: Path, text: str) -> None:
    """Write a text file as ``replacing_file`` does.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing_file(target) as stream:
        stream.write(text)


def write_json(target: Path, value: object, indent: int | None = 2) -> None:
    """Write a JSON file as ``replacing_file`` does.

    Raises:
        OutputError: it cannot be written.
        TypeError: JSON cannot express the value.
    """
    write_text(target, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def check_writable(target: Path) -> None:
    """Find out before the work that ``replacing_file`` will not be able to write.

    Raises:
        OutputError: the directory cannot be made or written, or the path is a directory.
    """
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _is_written_through(target):
            place = target.resolve()
            place.parent.mkdir(parents=True, exist_ok=True)
            probe = partial_path(place)
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise cannot_write(target, error) from error


@contextmanager
def replacing_directory(target: Path, is_replaceable: Callable[[Path], bool], kind: str) -> Iterator[Path]:
    """A new directory beside ``target`` that takes its name when the block ends without an error.

    Args:
        target: directory to make or to replace; of a symbolic link, what it points to.
        is_replaceable: whether a directory that is there already, and not empty, may be replaced.
        kind: what is written, for messages: ``bundle``.

    Raises:
        OutputError: the place is taken by something else, or cannot be written. What was there before still
            is, and nothing half-written is left. A directory that is there is exchanged atomically; where
            the system has no call for that, by two renames, and a process killed between these leaves the old
            contents beside the target as ``.NAME.PID.old``.
    """
    partial = None
    try:
        place = target.resolve()
        if place.exists() and not (place.is_dir() and (not any(place.iterdir()) or is_replaceable(place))):
            raise OutputError(
                f"exists and is not a {kind}",
                where=target,
                remedy="choose another output or move it away",
            )
        partial = partial_path(place)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _rename_over(partial, place)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def partial_path(target: Path) -> Path:
    """The name beside ``target`` of what is not complete yet; each process has its own."""
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def cannot_write(target: Path, error: OSError) -> OutputError:
    """The error for a user whose output the operating system refuses."""
    reason = error.strerror or str(error) or type(error).__name__
    return OutputError(
        f"cannot be written ({reason})",
        where=target,
        remedy=f"{_REMEDY}; what was there before is unchanged",
    )


def sync_directory(directory: Path) -> None:
    """Force the names in a directory to disk.

    Raises:
        OSError: as the operating system reports it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks of 1 MiB.

    Raises:
        OSError: as the operating system reports it.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    """Hexadecimal SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _is_written_through(target: Path) -> bool:
    return _STREAM.fullmatch(str(target)) is not None or (target.exists() and not target.is_file())


def _open_through(target: Path) -> TextIO:
    """What is no regular file, for writing; an open stream keeps its place in what it writes to."""
    match = _STREAM.fullmatch(str(target))
    if match is None:
        return target.open("w", encoding="utf-8")
    sys.stdout.flush()
    number = {"stdout": 1, "stderr": 2}.get(match[1]) or int(match[1].removeprefix("fd/"))
    return os.fdopen(os.dup(number), "w", encoding="utf-8")


def _rename_over(partial: Path, place: Path) -> None:
    if not place.exists():
        partial.rename(place)
        return
    if _exchange(partial, place):
        return  # the old contents are now the partial directory, which the caller removes
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    place.rename(old)
    try:
        partial.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths atomically, by renameat2(2); False if system or file system cannot."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    return bool(call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)
