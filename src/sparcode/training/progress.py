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
    """A callback (done, total) that shows a bar on a terminal and plain lines with an ETA in a log.

    What the first call calls done was done before, and does not count for the rate.
    """
    stream = sys.stderr
    shown = stream.isatty()
    bar = tqdm(desc=title, unit=f" {unit}", unit_scale=True, file=stream, leave=False) if shown else None
    started = last = time.monotonic()
    before = -1

    def advance(done: int, total: int) -> None:
        nonlocal last, before
        if before < 0:
            before = done
            if bar is not None:
                bar.initial = bar.n = done
        if bar is not None:
            bar.total = total
            bar.update(done - bar.n)
        elif time.monotonic() - last >= PLAIN_INTERVAL:
            last = time.monotonic()
            rate = max(done - before, 1) / (last - started)
            stream.write(f"{title} {done}/{total}, {rate:,.0f} {unit}/s, ETA {(total - done) / rate:.0f} s\n")
            stream.flush()

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()
