"""Progress of counted work: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import time

import pytest

from sparcode.progress import Progress


def test_a_log_gets_a_line_every_ten_seconds_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress("index:", "pairs", stream=stream) as progress:
        for done in (1000, 2000, 3000):
            now[0] += 5.0
            progress.update(done, 8000)
        now[0] += 10.0
        progress.update(4000, note="half")
    assert (
        stream.getvalue()
        == "index: 2,000/8,000 pairs, 200 pairs/s, ETA 30 s\nindex: 4,000/8,000 pairs, half\n"
    )


def test_what_was_done_before_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress("index:", "pairs", resumed=True, stream=stream) as progress:
        progress.update(900, 1000)
        now[0] = 10.0
        progress.update(950)
    assert stream.getvalue() == "index: 950/1,000 pairs, 5 pairs/s, ETA 10 s\n"


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with Progress("index:", "pairs", 2, stream=stream) as progress:
        progress.update(1, note="a note")
        progress.update(2)
    assert "\r" in stream.getvalue()
    assert "index:" in stream.getvalue()
