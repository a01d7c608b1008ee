"""Progress of counted work on stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds between progress lines where stderr is not a terminal."""


class Progress:
    """A bar on a terminal, a plain line every few seconds in a log.

    Args:
        title: what is going on.
        unit: what is counted, in the plural.
        total: how many there are; ``update`` may say it later.
        resumed: whether what the first update calls done was done before, and does not count for the rate.
        stream: where to write, stderr by default.
    """

    def __init__(
        self, title: str, unit: str, total: int = 0, resumed: bool = False, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._title, self._unit, self._total = title, unit, total
        self._started = self._printed = time.monotonic()
        self._before = None if resumed else 0
        self._bar = (
            tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=True, file=self._stream, leave=False)
            if self._stream.isatty()
            else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say how many are done now.

        Args:
            done: of ``total``.
            total: if it was not known before.
            note: shown beside the count, in a log in the place of rate and time left.
        """
        self._total = self._total if total is None else total
        if self._before is None:
            self._before = done
            if self._bar is not None:
                self._bar.initial = self._bar.n = done
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._printed >= INTERVAL:
            self._printed = time.monotonic()
            count = f"{self._title} {done:,}/{self._total:,} {self._unit}"
            self._stream.write(f"{count}, {note or self._speed(done)}\n")
            self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    def _speed(self, done: int) -> str:
        rate = max(done - (self._before or 0), 1) / max(self.seconds, 1e-9)
        return f"{rate:,.0f} {self._unit}/s, ETA {(self._total - done) / rate:.0f} s"
