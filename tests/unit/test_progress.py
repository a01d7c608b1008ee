"""Progress: lines in a log, one changing line on a terminal."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from sparcode import progress as module
from sparcode.progress import Progress
from terminal import Screen, run_in_terminal


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


def test_a_log_hears_of_what_takes_long_though_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.02)
    monkeypatch.setattr(module, "_TICK", 0.03)
    stream = io.StringIO()
    with Progress("compiling", stream=stream):
        deadline = time.monotonic() + 10
        while "compiling, 0 s\n" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stream.getvalue().startswith("compiling, 0 s\n")


def test_nothing_is_said_in_a_log_of_what_is_short() -> None:
    stream = io.StringIO()
    with Progress("reading", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_a_library_user_sees_nothing_unless_the_progress_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stream)
    caplog.set_level(logging.WARNING, "sparcode")
    before = threading.active_count()
    with Progress("index:", "pairs", 2) as progress:
        progress.update(1)
        assert threading.active_count() == before
    assert stream.getvalue() == ""
    caplog.set_level(logging.INFO, "sparcode")
    with Progress("index:", "pairs", 2):
        pass
    assert "index:" in stream.getvalue()


SCRIPT = """
import logging, sys, time
from sparcode.entry import run_entry
from sparcode.progress import Progress

LOG = logging.getLogger("sparcode.test")

def main(argv):
    with Progress("loading something large"):
        time.sleep(1.2)
        LOG.info("a line that is written while a status is open")
    with Progress("epoch 12/20", "steps", 1000, "compiling the step") as progress:
        time.sleep(1.2)
        for step in range(0, 1001, 250):
            progress.update(step, note="loss 12.3456, 123,456 samples/s, 123.4 min left")
            time.sleep(0.15)
            if step == 500:
                LOG.warning("words " * 30)
                LOG.info("a   table\\n  1 row")
    with Progress("building the index:", "pairs", resumed=True) as progress:
        progress.update(0, 98_000_000)
        time.sleep(0.15)
        progress.update(49_000_000)
        LOG.info("index built: 12,788 postings")
    with Progress("epoch 13/20", "steps", 1000) as progress:
        progress.update(1)
        raise KeyboardInterrupt

sys.exit(run_entry(main, []))
"""


@pytest.fixture(scope="module", params=[80, 110])
def screen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Screen, int]:
    where: Path = tmp_path_factory.mktemp("terminal")
    return run_in_terminal([sys.executable, "-c", SCRIPT], request.param, where), request.param


def test_no_line_is_wider_than_the_terminal(screen: tuple[Screen, int]) -> None:
    seen, columns = screen
    assert seen.code == 130
    assert 60 < seen.widest < columns


def test_log_lines_are_never_glued_to_a_bar_and_no_bar_is_left(screen: tuple[Screen, int]) -> None:
    lines = [line for line in screen[0].lines if line]
    assert lines[0] == "a line that is written while a status is open"
    assert lines[1].startswith("warning: words words")
    assert all(line.startswith("    words") for line in lines[2:-4])
    assert lines[-4:-2] == ["a   table", "  1 row"]
    assert lines[-2:] == ["index built: 12,788 postings", "error: interrupted"]


def test_a_bar_is_a_bar_and_a_status_counts_seconds(screen: tuple[Screen, int]) -> None:
    drawn = [line.rstrip() for line in screen[0].drawn]
    bars = [line for line in drawn if "|" in line]
    assert len(bars) >= 6
    assert all(len(line.split("|")[1]) >= 10 for line in bars)
    half = next(line for line in bars if line.startswith("epoch 12/20  50%"))
    filled = half.split("|")[1]
    assert filled.count("█") == round(len(filled) / 2)
    assert "loss 12.3456, 123,456 samples/s, 123.4 min left" in half
    assert any("compiling the step" in line for line in bars)
    assert "loading something large ... 1 s" in drawn


class _Kernel:
    config: ClassVar[dict[str, object]] = {"IPKernelApp": {}}


def test_a_notebook_gets_a_bar_of_tqdm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = ModuleType("IPython")
    notebook.get_ipython = _Kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setattr(module, "_REDRAWN", 0.0)
    seen: list[tuple[int, int, str]] = []

    class Bar:
        def __init__(self, **options: object) -> None:
            self.n, self.total, self.note = 0, options["total"], ""
            assert options["desc"] == "index:"

        def set_postfix_str(self, note: str, refresh: bool) -> None:
            self.note = note

        def refresh(self) -> None:
            seen.append((self.n, self.total, self.note))  # type: ignore[arg-type]

        def close(self) -> None:
            seen.append((-1, -1, "closed"))

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    caplog.set_level(logging.INFO, "sparcode")
    with Progress("index:", "pairs") as progress:
        progress.update(3, 8)
        progress.update(8, note="half")
    assert seen == [(3, 8, ""), (8, 8, "half"), (-1, -1, "closed")]
    stream = io.StringIO()
    with Progress("index:", "pairs", stream=stream):
        assert len(seen) == 3  # a stream that is given is no notebook
