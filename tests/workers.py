"""Several workers as threads of one process, for tests of what they make of each other's numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from sparcode.training.world import World

T = TypeVar("T")


class Meeting:
    """Where workers exchange arrays; between two exchanges one of them works at a time."""

    def __init__(self, size: int) -> None:
        self._given: list[np.ndarray] = [np.zeros(0)] * size
        self._barrier = threading.Barrier(size, timeout=120)
        self._turn = threading.Lock()

    def exchange(self, rank: int, values: np.ndarray) -> np.ndarray:
        """The arrays of all workers, (size, ...)."""
        self._given[rank] = values
        self._turn.release()
        try:
            self._barrier.wait()
            everything = np.stack(self._given)
            self._barrier.wait()
        finally:
            self._turn.acquire()
        return everything

    def attend(self, work: Callable[[World], T], world: World) -> T:
        """Do the work of one worker; if it fails, nobody waits for it."""
        with self._turn:
            try:
                return work(world)
            except BaseException:
                self._barrier.abort()
                raise


class Worker(World):
    """One of several."""

    def __init__(self, rank: int, size: int, meeting: Meeting) -> None:
        super().__init__(rank, size)
        self._meeting = meeting

    def _all_gather(self, values: np.ndarray) -> np.ndarray:
        return self._meeting.exchange(self.rank, values)


def together(size: int, work: Callable[[World], T]) -> list[T]:
    """What each of ``size`` workers makes of the same work."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as threads:
        done = [threads.submit(meeting.attend, work, Worker(rank, size, meeting)) for rank in range(size)]
    return [future.result() for future in done]
