"""Progress of counted work outside the training loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from sparcode.training.callbacks import PLAIN_INTERVAL


@contextmanager
def counting_progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that shows a bar on a terminal and plain lines with an ETA in a log."""
    stream = sys.stderr
    bar = tqdm(desc=title, unit=f" {unit}", file=stream, leave=False) if stream.isatty() else None
    started = last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        if bar is not None:
            bar.total = total
            bar.update(done - bar.n)
        elif time.monotonic() - last >= PLAIN_INTERVAL:
            last = time.monotonic()
            rate = done / (last - started)
            stream.write(f"{title} {done}/{total}, {rate:,.0f} {unit}/s, ETA {(total - done) / rate:.0f} s\n")
            stream.flush()

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()
