"""Several builders of one index: each scores a part of the blocks of terms into part files of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparcode.errors import OutputError, UsageError
from sparcode.index.build.parts import FILES, FileParts
from sparcode.index.build.pruning import Lists

_MERGED = "merged"


@dataclass(frozen=True)
class BuildShare:
    """Which of several builders this is; all see the same ``work_dir`` and are given the same arguments.

    Attributes:
        rank: 0 to size - 1.
        size: number of builders.
        add_up: the sum of a number over all builders; waits until all of them have given theirs.
    """

    rank: int = 0
    size: int = 1
    add_up: Callable[[int], int] = lambda number: number

    def blocks(self, count: int) -> range:
        """Numbers of the blocks, of ``count``, that this builder scores; shares differ by at most one."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def directory(self, work_dir: str | os.PathLike[str] | None) -> Path | None:
        """Where the part files of this builder are.

        Raises:
            UsageError: several builders without a directory in common.
        """
        if work_dir is None:
            if self.size > 1:
                raise UsageError("several builders need a directory in common", where="work_dir")
            return None
        return self._part(Path(work_dir), self.rank) if self.size > 1 else Path(work_dir)

    def _part(self, work_dir: Path, rank: int) -> Path:
        return work_dir / f"{rank}_of_{self.size}"

    def merge(self, work_dir: str | os.PathLike[str], own: Lists) -> Lists:
        """The lists of all builders, memory-mapped from one set of files; all wait for each other.

        Raises:
            OutputError: the first builder cannot write the merged files.
        """
        if self.size == 1:
            return own
        self.add_up(0)
        merged = Path(work_dir) / _MERGED
        if self.rank == 0:
            try:
                merged.mkdir(parents=True, exist_ok=True)
                for name in FILES:
                    with (merged / name).open("wb") as target:
                        for rank in range(self.size):
                            with (self._part(Path(work_dir), rank) / name).open("rb") as source:
                                shutil.copyfileobj(source, target)
            except OSError as error:
                raise OutputError(
                    "parts of an index cannot be merged", where=merged, received=error.strerror
                ) from error
        self.add_up(0)
        return FileParts(merged, "").finish()
