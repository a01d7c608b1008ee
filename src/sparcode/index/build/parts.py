"""Where finished blocks of lists wait for the end of the build: in memory, or in part files that survive it.

Part files, all little-endian, in one directory:

    item_ids.bin, scores.bin   int32 and float32 postings of the blocks, one after the other
    lengths.bin, floors.bin    int64 and float32, one number for each list
    journal.jsonl              first line: what is being built; then a line for each finished block, with the
                               sizes and checksums of what it added to the four files

A line is written after the data it speaks of. Whatever follows the last complete block, or does not have the
checksum of its line, is cut off when a build resumes.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import OutputError
from sparcode.index.build.blocks import IndexBuildError
from sparcode.index.build.pruning import Lists

try:
    import fcntl
except ImportError:  # no such locks on this system: two builds in one directory go unnoticed
    fcntl = None  # type: ignore[assignment]

FILES = {"lengths.bin": "<i8", "item_ids.bin": "<i4", "scores.bin": "<f4", "floors.bin": "<f4"}
"""Name and type of the files, in the order of :data:`Lists`."""

_MOST_RESERVED = 1 << 28
"""Postings for which memory is reserved at once, 2 GB; more is asked for when needed."""

_JOURNAL = "journal.jsonl"
_log = logging.getLogger(__name__)


class MemoryParts:
    """Blocks of lists in memory: 8 bytes a posting, 20 while arrays grow.

    Args:
        max_postings: most postings to come, 0 = not known. Memory that is reserved but not written costs
            nothing.
    """

    def __init__(self, max_postings: int = 0) -> None:
        self._lengths: list[NDArray[np.int64]] = []
        self._floors: list[NDArray[np.float32]] = []
        room = min(max_postings, _MOST_RESERVED)
        self._item_ids = np.empty(room, dtype=np.int32)
        self._scores = np.empty(room, dtype=np.float32)
        self._num_postings = 0
        self.num_lists = 0

    def append(self, lists: Lists) -> None:
        """Add the lists of the next block of terms."""
        lengths, item_ids, scores, floors = lists
        start, stop = self._num_postings, self._num_postings + len(item_ids)
        if stop > len(self._item_ids):
            self._item_ids = _grown(self._item_ids, start, stop)
            self._scores = _grown(self._scores, start, stop)
        self._item_ids[start:stop] = item_ids
        self._scores[start:stop] = scores
        self._num_postings = stop
        self._lengths.append(lengths)
        self._floors.append(floors)
        self.num_lists += len(lengths)

    def finish(self) -> Lists:
        """All lists."""
        stop = self._num_postings
        lengths, floors = np.concatenate(self._lengths), np.concatenate(self._floors)
        return lengths, self._item_ids[:stop], self._scores[:stop], floors


def _grown(array: NDArray, used: int, needed: int) -> NDArray:
    """A copy with room for half as much again as is needed."""
    grown = np.empty(needed + needed // 2, dtype=array.dtype)
    grown[:used] = array[:used]
    return grown


class FileParts:
    """Blocks of lists in a directory, which a later build of the same index continues.

    Memory: one block. The finished arrays are memory-mapped: the directory must stay while they are in use.

    Args:
        directory: made if missing; nothing else may be in it.
        fingerprint: of everything that the lists depend on.

    Raises:
        IndexBuildError: another build is using the directory.
        OutputError: it cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: str) -> None:
        self._directory = Path(directory)
        self._fingerprint = fingerprint
        self._files: dict[str, IO[bytes]] = {}
        self.num_lists = 0
        """Lists in the blocks that are finished."""

    def __enter__(self) -> FileParts:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in (_JOURNAL, *FILES):
                self._files[name] = open(self._directory / name, "a+b")
        except OSError as error:
            self._close()
            raise OutputError(
                "parts of an index cannot be written", where=self._directory, received=error.strerror
            ) from error
        try:
            self._lock()
            self._resume()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for file in self._files.values():
            file.close()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._files[_JOURNAL], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise IndexBuildError(
                "another build is using this directory",
                where=self._directory,
                remedy="wait for it to end, or build in another directory",
            ) from error

    def _resume(self) -> None:
        """Keep the finished blocks of the same build, and cut off everything else."""
        journal = self._files[_JOURNAL]
        journal.seek(0)
        lines = journal.read().splitlines(keepends=True)
        head = self._head()
        kept = 0
        sizes = dict.fromkeys(FILES, 0)
        if lines and lines[0] != head:
            _log.warning("%s: parts of another index are discarded", self._directory)
        elif lines:
            kept = len(head)
            for line in lines[1:]:
                block = _block_of(line)
                if block is None or not self._holds(block, sizes):
                    _log.warning("%s: what follows list %d is discarded", self._directory, self.num_lists)
                    break
                kept += len(line)
                for name in FILES:
                    sizes[name] += block[name][0]
                self.num_lists = sizes["floors.bin"] // 4
        for name, size in sizes.items():
            self._files[name].truncate(size)
        journal.truncate(kept)
        if not kept:
            journal.write(head)
            journal.flush()
        elif self.num_lists:
            _log.info("%s: resumed after %d lists", self._directory, self.num_lists)

    def _head(self) -> bytes:
        return json.dumps({"version": 1, "fingerprint": self._fingerprint}).encode() + b"\n"

    def _holds(self, block: dict[str, list[int]], starts: dict[str, int]) -> bool:
        """Whether the files hold what the line of a block says."""
        for name in FILES:
            size, checksum = block[name]
            file = self._files[name]
            file.seek(starts[name])
            data = file.read(size)
            if len(data) != size or zlib.crc32(data) != checksum:
                return False
        return True

    def append(self, lists: Lists) -> None:
        """Add the lists of the next block of terms.

        Raises:
            OutputError: the disk is full, or the like.
        """
        entry = {}
        try:
            for (name, dtype), array in zip(FILES.items(), lists, strict=True):
                data = np.ascontiguousarray(array, dtype=dtype).view(np.uint8).data
                self._files[name].write(data)
                self._files[name].flush()
                entry[name] = [len(data), zlib.crc32(data)]
            self._files[_JOURNAL].write(json.dumps(entry).encode() + b"\n")
            self._files[_JOURNAL].flush()
        except OSError as error:
            raise OutputError(
                "parts of an index cannot be written", where=self._directory, received=error.strerror
            ) from error
        self.num_lists += len(lists[0])

    def finish(self) -> Lists:
        """All lists, memory-mapped read-only."""
        lengths, item_ids, scores, floors = (
            np.memmap(self._directory / name, dtype=dtype, mode="r")
            if (self._directory / name).stat().st_size
            else np.empty(0, dtype)
            for name, dtype in FILES.items()
        )
        return lengths, item_ids, scores, floors


def _block_of(line: bytes) -> dict[str, Any] | None:
    """What a line of the journal says; None if it was not written to its end."""
    if not line.endswith(b"\n"):
        return None
    try:
        block = json.loads(line)
    except ValueError:
        return None
    known = isinstance(block, dict) and set(block) == set(FILES)
    return block if known else None
