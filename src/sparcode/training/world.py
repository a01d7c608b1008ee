"""The workers of one job: who this process is, how work is divided, and what the workers tell each other.

A single process is the world of size 1, for which nothing here communicates. CPU workers of MindSpore know
AllReduce of float32, AllGather and Broadcast; everything else is made of these (docs/scaling.md).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable

import numpy as np
from mindspore import Parameter, Tensor, ops
from numpy.typing import NDArray

LEAVING_SECONDS = 2.0
"""A worker that ends while a peer is still in their last collective breaks it: all wait so long before."""


class World:
    """Workers 0 .. size - 1, of which this process is ``rank``.

    All methods but ``share`` are collective: every worker has to call them, in the same order. Results are
    the same, bit for bit, on every worker.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes the files of a run."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This worker's part of ``total`` things in a row; parts differ by at most one."""
        return slice(self.rank * total // self.size, (self.rank + 1) * total // self.size)

    def wait(self) -> None:
        """Until all workers are here."""
        self.gather_sizes(0)

    def gather_sizes(self, size: int) -> NDArray[np.int64]:
        """(size of the world,) int64, the number that each worker gives."""
        return self._all_gather(np.array([size], np.int64)).reshape(-1)

    def gather(self, rows: NDArray) -> NDArray:
        """The rows of all workers, those of worker 0 first.

        Args:
            rows: (n, ...) of a type of 4 or 8 bytes; n may differ between workers, the rest may not.
        """
        if self.size == 1:
            return rows
        counts = self.gather_sizes(len(rows))
        padded = np.zeros((int(counts.max()), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        everything = self._all_gather(padded)
        return np.concatenate([part[:count] for part, count in zip(everything, counts, strict=True)])

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        """The sums over workers of float64 values, added in the order of the workers."""
        total: NDArray[np.float64] = self._all_gather(np.asarray(values, np.float64)).sum(0)
        return total

    def mean(self, values: dict[str, float], count: int) -> dict[str, float]:
        """Means over ``count`` things on each worker -> means over the things of all of them.

        Args:
            values: means by name, the same names on every worker.
            count: 0 where a worker has none; its values do not matter.
        """
        if self.size == 1:
            return values
        sums = self.sum(np.array([count, *(count * value for value in values.values())]))
        return dict(zip(values, (sums[1:] / sums[0]).tolist(), strict=True))

    def copy_from_first(self, parameters: Iterable[Parameter]) -> None:
        """Give all workers the values of worker 0."""
        if self.size == 1:
            return
        broadcast = ops.Broadcast(0)
        for parameter in parameters:
            parameter.set_data(broadcast((Tensor(parameter.asnumpy()),))[0])

    def agree(self, parameters: Iterable[Parameter]) -> bool:
        """Whether all workers hold the same values, bit for bit."""
        if self.size == 1:
            return True
        checksum = 0
        for parameter in parameters:
            checksum = zlib.crc32(np.ascontiguousarray(parameter.asnumpy()).view(np.uint8).data, checksum)
        return len(np.unique(self.gather_sizes(checksum))) == 1

    def leave(self) -> None:
        """The last thing a worker does."""
        if self.size > 1:
            self.wait()
            time.sleep(LEAVING_SECONDS)

    def _all_gather(self, values: NDArray) -> NDArray:
        """(...) of a type of 4 or 8 bytes -> (size of the world, ...)."""
        if self.size == 1:
            return values[None]
        words = np.ascontiguousarray(values).reshape(-1).view(np.int32)
        if not len(words):
            return np.zeros((self.size, *values.shape), values.dtype)
        gathered: NDArray = ops.AllGather()(Tensor(words)).asnumpy()
        return gathered.view(values.dtype).reshape(self.size, *values.shape)
