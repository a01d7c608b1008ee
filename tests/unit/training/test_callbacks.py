"""Metrics log, TensorBoard events, progress, codebook usage and the run directory."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from sparcode.errors import OutputError
from sparcode.training.callbacks import (
    CodebookMonitor,
    EpochProgress,
    MetricsLog,
    TensorBoard,
    prepare_run_directory,
)


def epochs_in(path: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_new_log_starts_empty_and_a_resumed_one_forgets_later_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for epoch in (1, 2, 3):
        log.append({"epoch": epoch, "loss": 0.5})
    resumed = MetricsLog(path, 2)
    assert epochs_in(path) == [1, 2]
    resumed.append({"epoch": 3, "loss": 0.25})
    assert epochs_in(path) == [1, 2, 3]
    MetricsLog(path, 0)
    assert epochs_in(path) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_line_cut_off_by_a_crash_does_not_prevent_resuming(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "lo', encoding="utf-8")
    MetricsLog(path, 1)
    assert epochs_in(path) == [1]


def test_tensorboard_leaves_events_with_nested_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = TensorBoard(tmp_path / "events")
    written: list[tuple[str, float, int]] = []
    monkeypatch.setattr(board._writer, "add_scalar", lambda *scalar: written.append(scalar))
    board.write({"epoch": 4, "loss": 0.5, "valid": {"ndcg@10": 0.25}, "quantized": True}, 4)
    board.close()
    assert ("loss", 0.5, 4) in written
    assert ("valid/ndcg_at_10", 0.25, 4) in written
    assert "epoch" not in {name for name, _, _ in written}
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))


def test_progress_in_a_log_is_plain_lines_with_rate_and_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with EpochProgress("epoch 1/2", steps=4, total=8, done=0, stream=stream) as progress:
        for _ in range(3):
            now[0] += 6.0
            progress.advance(60, 1.25)
    assert stream.getvalue() == "epoch 1/2 2/4 steps, loss 1.2500, 10 samples/s, 0.6 min left\n"
    assert progress.seconds == 18.0
    assert progress.samples_per_second == 10.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar() -> None:
    stream = Terminal()
    with EpochProgress("epoch 1/1", 2, 2, 0, "compiling the step", stream) as progress:
        progress.advance(8, 0.5)
        progress.advance(8, 0.5)
    assert "compiling the step" in stream.getvalue()
    assert "epoch 1/1" in stream.getvalue()
    assert "\r" in stream.getvalue()


def test_usage_and_perplexity_by_hand() -> None:
    monitor = CodebookMonitor(2, 4)
    monitor.add(np.array([[0, 3], [1, 3]], np.int32))
    monitor.add(np.array([[0, 3], [1, 3]], np.int32))
    summary = monitor.summary()
    assert summary["usage"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert summary["perplexity"] == pytest.approx((2 + 1) / 2)


def test_even_use_has_the_largest_perplexity() -> None:
    monitor = CodebookMonitor(1, 8)
    monitor.add(np.arange(8, dtype=np.int32)[:, None])
    assert monitor.summary() == {"usage": 1.0, "perplexity": pytest.approx(8.0)}


@pytest.mark.parametrize(("threshold", "warned"), [(0.5, True), (0.25, False)])
def test_collapse_is_warned_about(threshold: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    monitor = CodebookMonitor(1, 4)
    monitor.add(np.zeros((9, 1), np.int32))
    with caplog.at_level(logging.WARNING, "sparcode"):
        monitor.warn_on_collapse(threshold)
    assert ("codebook collapse: only 25 %" in caplog.text) == warned


def test_the_run_directory_is_made_and_left_clean(tmp_path: Path) -> None:
    prepare_run_directory(tmp_path / "a" / "run")
    assert [entry.name for entry in (tmp_path / "a" / "run").iterdir()] == ["checkpoints"]


def test_a_run_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match=r"the run directory cannot be written.*--output_dir"):
            prepare_run_directory(path)


def test_a_full_disk_is_noticed_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space left on device"):
        prepare_run_directory(tmp_path / "run")
