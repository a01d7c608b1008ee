"""Runs the entry scripts one after the other for the reproduction scripts, with what each of them took."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FINISHED = "finished"
"""File that a run directory gets when its training has ended; one without is resumed."""


@dataclass(frozen=True)
class Usage:
    """Resources of one command.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: processor time of all its threads.
        peak_gb: largest resident size.
    """

    seconds: float
    cpu_seconds: float
    peak_gb: float


def run(script: str, *flags: str) -> Usage:
    """Run an entry script of the repository and wait for it.

    Raises:
        SystemExit: it failed; it has said why.
    """
    print(f"$ python {script} {shlex.join(flags)}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, str(ROOT / script), *flags])
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code:
        raise SystemExit(f"error: {script} ended with code {code}; see above")
    return Usage(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def set_flags(settings: Sequence[str]) -> list[str]:
    """``key=value`` ... -> ``--set key=value`` ..."""
    return [part for setting in settings for part in ("--set", setting)]


def train(config: Path, run_dir: Path, settings: Sequence[str]) -> None:
    """Train a configuration, unless the run has finished already; an interrupted run goes on."""
    if (run_dir / FINISHED).exists():
        print(f"{run_dir} is trained already", flush=True)
        return
    flags = ["--config_path", str(config), "--output_dir", str(run_dir), *set_flags(settings)]
    if (run_dir / "checkpoints" / "last.ckpt").exists():
        flags.append("--resume")
    usage = run("train.py", *flags)
    (run_dir / FINISHED).write_text(json.dumps(vars(usage)) + "\n", encoding="utf-8")


def training_usage(run_dir: Path) -> dict[str, float]:
    """What the training of a run took, as in ``Usage``; of a resumed run its last part."""
    return dict(json.loads((run_dir / FINISHED).read_text(encoding="utf-8")))


def evaluate(run_dir: Path, retriever: str, report: Path, *flags: str) -> dict[str, Any]:
    """Evaluate a run, unless the report exists already."""
    if not report.exists():
        run("eval.py", "--run_dir", str(run_dir), "--retriever", retriever, "--json", str(report), *flags)
    return dict(json.loads(report.read_text(encoding="utf-8")))
