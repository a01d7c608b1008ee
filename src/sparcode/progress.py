"""Progress on stderr: one line that changes on a terminal, a bar in a notebook, some lines in a log."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import threading
import time
from typing import Any, TextIO

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds between progress lines where stderr is not a terminal."""

_REDRAWN = 0.1  # seconds between two drawings of a line on a terminal
_TICK = 1.0  # seconds after which the line is drawn again when nothing was counted
_BAR = (10, 30)  # characters of a bar, at least and at most


def columns_of(stream: TextIO) -> int:
    """Characters in a line of the terminal behind a stream; 80 if it does not tell."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def _notebook_bar(title: str, unit: str, total: int) -> Any:
    from tqdm.auto import tqdm as bar

    layout = None if unit else "{desc}: {elapsed}"
    return bar(total=total or None, desc=title, unit=f" {unit}", leave=False, bar_format=layout)


def write_line(text: str, stream: TextIO) -> None:
    """Write lines of their own: above the open progress line, and folded to the width of a terminal."""
    if stream.isatty():
        text = "\n".join(_folded(line, columns_of(stream) - 1) for line in text.split("\n"))
    with tqdm.external_write_mode(file=stream):
        stream.write(f"{text}\n")
    stream.flush()


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
    )


class Progress:
    """A line that says what is going on, with a bar where something is counted.

    On a terminal the line changes in place, at least once a second, and goes away at the end. In a notebook
    it is a bar of tqdm. In a log there is a line every few seconds, and none for what takes less. Nothing is
    shown unless the package's progress is logged (level INFO), as entry scripts do, or a stream is given.

    Args:
        title: what is going on.
        unit: what is counted, in the plural; empty where nothing is.
        total: how many there are; ``update`` may say it later.
        note: shown beside the count until the first update.
        resumed: whether what the first update calls done was done before, and does not count for the rate.
        stream: where to write, stderr by default.
    """

    def __init__(
        self,
        title: str,
        unit: str = "",
        total: int = 0,
        note: str = "",
        resumed: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._shown = stream is not None or logging.getLogger("sparcode").isEnabledFor(logging.INFO)
        self._title, self._unit, self._total, self._done, self._note = title, unit, total, 0, note
        self._started = self._printed = time.monotonic()
        self._before = None if resumed else 0
        self._bar: tqdm | None = None
        self._notebook: Any = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        if not self._shown:
            return
        if stream is None and in_notebook():
            self._notebook = _notebook_bar(title, unit, total)
            return
        if self._stream.isatty():
            self._bar = tqdm(bar_format="{desc}", file=self._stream, leave=False, desc=self._line())
        threading.Thread(target=self._tick, daemon=True).start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say how many are done now.

        Args:
            done: of ``total``.
            total: if it was not known before.
            note: shown beside the count, in the place of rate and time left.
        """
        with self._lock:
            self._total = self._total if total is None else total
            self._before = done if self._before is None else self._before
            self._done, self._note = done, note
            self._show(_REDRAWN)

    def close(self) -> None:
        """Remove the line."""
        with self._lock:
            self._closed.set()
            for bar in (self._bar, self._notebook):
                if bar is not None:
                    bar.close()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    def _tick(self) -> None:
        while not self._closed.wait(_TICK):
            with self._lock:
                self._show(_TICK)

    def _draw_in_notebook(self) -> None:
        bar = self._notebook
        bar.total, bar.n = self._total or None, self._done
        bar.set_postfix_str(self._note, refresh=False)
        bar.refresh()

    def _show(self, every: float) -> None:
        """Write the line unless that was done a moment ago."""
        if self._closed.is_set() or not self._shown:
            return
        now, drawn = time.monotonic(), self._bar is not None or self._notebook is not None
        if now - self._printed < (every if drawn else INTERVAL):
            return
        self._printed = now
        if self._notebook is not None:
            self._draw_in_notebook()
            return
        if self._bar is not None:
            self._bar.set_description_str(self._line())
            return
        count = f" {self._done:,}/{self._total:,} {self._unit}" if self._unit else ""
        write_line(f"{self._title}{count}, {self._note or self._speed()}", self._stream)

    def _line(self) -> str:
        """What fits into a line of the terminal: the bar first, then the note, then the count."""
        width = columns_of(self._stream) - 1
        if not self._total:
            return " ".join(filter(None, [self._title, self._note, f"... {self.seconds:.0f} s"]))[:width]
        share = min(self._done / self._total, 1.0)
        head = f"{self._title} {100 * share:3.0f}% "
        note = self._note or self._speed()
        tails = (f" {self._done:,}/{self._total:,} {self._unit}, {note}", f" {note}")
        tail = next((tail for tail in tails if len(head + tail) + _BAR[0] + 2 <= width), tails[-1])
        size = min(max(width - len(head + tail) - 2, _BAR[0]), _BAR[1])
        full = round(share * size)
        mark = "█" if (self._stream.encoding or "").lower().startswith("utf") else "#"
        return f"{head}|{mark * full}{' ' * (size - full)}|{tail}"[:width]

    def _speed(self) -> str:
        if not self._unit:
            return f"{self.seconds:.0f} s"
        made = self._done - (self._before or 0)
        if made <= 0:
            return "starting"
        rate = made / max(self.seconds, 1e-9)
        return f"{rate:,.0f} {self._unit}/s, ETA {(self._total - self._done) / rate:.0f} s"
