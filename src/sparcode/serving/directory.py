"""A directory that appears under its name complete or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sparcode.errors import OutputError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing_directory(target: Path, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """A new directory beside ``target`` that takes its name when the block ends without an error.

    Args:
        target: directory to make or to replace; of a symbolic link, what it points to.
        is_replaceable: whether a directory that is there already, and not empty, may be replaced.

    Raises:
        OutputError: the place is taken by something else, or cannot be written. What was there before still
            is, and nothing half-written is left. A directory that is there is exchanged at one stroke; where
            the system has no call for that, by two renames, and a process killed between these leaves the old
            contents beside the target as ``.NAME.PID.old``.
    """
    place = target.resolve()
    if place.exists() and not (place.is_dir() and (not any(place.iterdir()) or is_replaceable(place))):
        raise OutputError(
            "exists and is not a bundle",
            where=target,
            remedy="choose another output or move it away",
        )
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _rename_over(partial, place)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=target,
            remedy="free space or choose another output; what was there before is unchanged",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
