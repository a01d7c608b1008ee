"""Exit codes, error lines and logging of the entry scripts."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sparcode.entry import run_entry
from sparcode.errors import ConfigError, DataError, TrainingError

ROOT = Path(__file__).parents[2]


def raising(error: BaseException) -> Callable[[list[str]], None]:
    def main(argv: list[str]) -> None:
        raise error

    return main


@pytest.fixture(autouse=True)
def without_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARCODE_DEBUG", raising=False)


def test_success_is_zero_and_main_gets_the_arguments() -> None:
    received: list[str] = []
    assert run_entry(received.extend, ["--a", "b"]) == 0
    assert received == ["--a", "b"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("bad key", where="a.b", received=3), 2, "error: a.b: bad key; received 3\n"),
        (DataError("bad line\nhere", where="f:2"), 2, "error: f:2: bad line here\n"),
        (TrainingError("loss is nan"), 1, "error: loss is nan\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "f.npy"),
            2,
            "error: f.npy: No space left on device\n",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: output: No space left on device\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "error: the reader of the output closed it\n"),
        (PermissionError(errno.EACCES, "Permission denied", "d"), 2, "error: d: Permission denied\n"),
        (OSError(errno.EACCES, "Permission denied", "a", None, "b"), 2, "error: a -> b: Permission denied\n"),
        (
            ValueError("two\nlines"),
            1,
            "error: internal error: ValueError: two lines (set SPARCODE_DEBUG=1 for the traceback)\n",
        ),
        (MemoryError(), 1, "error: internal error: MemoryError (set SPARCODE_DEBUG=1 for the traceback)\n"),
        (
            OSError(errno.ECONNRESET, "reset"),
            1,
            "error: internal error: ConnectionResetError: [Errno 104] reset "
            "(set SPARCODE_DEBUG=1 for the traceback)\n",
        ),
    ],
)
def test_every_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert run_entry(raising(error), []) == code
    captured = capsys.readouterr()
    assert captured.err == line
    assert captured.out == ""


@pytest.mark.parametrize(("raised", "code"), [(0, 0), (None, 0), (3, 3), ("stop", 1)])
def test_system_exit_keeps_its_code(raised: object, code: int) -> None:
    assert run_entry(raising(SystemExit(raised)), []) == code


@pytest.mark.parametrize("error", [ConfigError("bad key"), ValueError("bug")])
def test_the_traceback_follows_the_line_when_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setenv("SPARCODE_DEBUG", "1")
    run_entry(raising(error), [])
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert "SPARCODE_DEBUG" not in first
    assert second == "Traceback (most recent call last):"
    assert str(error) in rest[-1]


def test_progress_and_warnings_are_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> None:
        logging.getLogger("sparcode.room").info("epoch %d", 1)
        logging.getLogger("sparcode.room").debug("hidden")
        logging.getLogger("elsewhere").info("hidden")
        logging.getLogger("elsewhere").warning("odd")

    run_entry(main, [])
    run_entry(main, [])  # a second run in the same process must not print twice
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["epoch 1", "warning: odd"] * 2
    assert captured.out == ""


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
PROGRAM = """
import sys
from sparcode.entry import run_entry
def main(argv):
    sys.stdin.read()
    for _ in range(int(argv[0])):
        print("line")
sys.exit(run_entry(main, sys.argv[1:]))
"""


@pytest.mark.parametrize("lines", [1, 100_000])  # fails in the last flush, or in the middle of the work
def test_a_reader_that_stops_early_gets_one_error_line(lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(lines)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=BUFFERED,
    )
    process.stdout.close()
    process.stdin.close()  # only now does the program begin to print
    assert process.stderr.read() == "error: the reader of the output closed it\n"
    process.stderr.close()
    assert process.wait(timeout=60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_error_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from sparcode.entry import run_entry; "
                "sys.exit(run_entry(lambda argv: print('x'), []))",
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=BUFFERED,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "error: output: No space left on device\n")


def run_preprocess(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "preprocess.py"), *argv],
        cwd=cwd,
        env={**os.environ, "SPARCODE_DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_preprocess_writes_a_data_set_and_prints_its_counts(tmp_path: Path) -> None:
    settings = ("num_users=60", "num_items=50")
    flags = [flag for setting in settings for flag in ("--set", f"data.synthetic.{setting}")]
    done = run_preprocess("--output", "made", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "dataset.json").is_file()
    assert ["users", "60"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--outptu", "x"], "--outptu"),
        (["--set", "data.nmae=x"], "did you mean data.name?"),
        (["--config_path", "absent.yaml"], "absent.yaml"),
        (["--input", "absent.dat", "--set", "data.source=movielens"], "absent.dat"),
    ],
)
def test_preprocess_refuses_bad_input_with_one_line_and_code_2(
    tmp_path: Path, argv: list[str], problem: str
) -> None:
    done = run_preprocess(*argv, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert problem in lines[-1]
