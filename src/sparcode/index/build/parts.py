"""Where finished blocks of lists wait for the end of a build, and how several builders divide the blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparcode.errors import OutputError, UsageError
from sparcode.files import text_sha256
from sparcode.index.build.blocks import IndexBuildError
from sparcode.index.postings import Lists, join_lists

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildShare:
    """Where a build keeps its parts, and which of several builders this is; all get the same arguments.

    Attributes:
        work_dir: directory for part files, from which a later call continues a build that was killed; all
            builders see it. None = the parts are in memory.
        rank: 0 to size - 1.
        size: number of builders.
        add_up: the sum of a number over all builders; waits until all of them have given theirs.

    Raises:
        UsageError: several builders without a directory in common.
    """

    work_dir: str | os.PathLike[str] | None = None
    rank: int = 0
    size: int = 1
    add_up: Callable[[int], int] = lambda number: number

    def __post_init__(self) -> None:
        if self.work_dir is None and self.size > 1:
            raise UsageError("several builders need a directory in common", where="work_dir")

    def blocks(self, count: int) -> range:
        """Numbers of the blocks, of ``count``, that this builder scores; shares differ by at most one."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)


class Parts:
    """Finished blocks of lists, by number: 8 bytes a posting in memory, and a file each if wanted.

    Builds that would give other lists have other directories, so that several may run in one ``work_dir``.

    Args:
        share: of the build.
        fingerprint: of everything that the lists depend on.
    """

    def __init__(self, share: BuildShare, fingerprint: str) -> None:
        self._share = share
        self._blocks: dict[int, Lists] = {}
        self._directory: Path | None = None
        if share.work_dir is not None:
            name = text_sha256(fingerprint)[:16]
            self._directory = Path(share.work_dir) / f"build-{name}"

    def resume(self, number: int) -> bool:
        """Whether a block was finished before, by this build or an earlier one that was killed."""
        if self._directory is None or number in self._blocks:
            return number in self._blocks
        path = _file(self._directory, number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._blocks[number] = Lists(*(arrays[name] for name in Lists._fields))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            _log.warning("%s is damaged and is built again: %s", path, error)
            return False
        return True

    def add(self, number: int, lists: Lists) -> None:
        """Keep a finished block.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self._blocks[number] = lists
        if self._directory is None:
            return
        path = _file(self._directory, number)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                np.savez(file, **lists._asdict())
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(
                "parts of an index cannot be written", where=self._directory, received=error.strerror
            ) from error

    def finish(self, count: int) -> Lists:
        """All lists, once all builders are through; the files are deleted then.

        Raises:
            IndexBuildError: blocks of another builder are missing.
        """
        self._share.add_up(0)
        missing = [number for number in range(count) if not self.resume(number)]
        if missing:
            raise IndexBuildError(
                "blocks of lists are missing", where=self._directory, received=f"block {missing[0]}",
                remedy="build again; nothing else may delete the directory meanwhile",
            )  # fmt: skip
        self._share.add_up(0)
        if self._directory is not None and self._share.rank == 0:
            shutil.rmtree(self._directory, ignore_errors=True)
            with contextlib.suppress(OSError):  # another build may be at work there
                self._directory.parent.rmdir()
        return join_lists(self._blocks[number] for number in range(count))


def _file(directory: Path, number: int) -> Path:
    return directory / f"block-{number:06d}.npz"
