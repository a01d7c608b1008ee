"""Two real processes, started by msrun, against one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
from worker_cases import CASES, case_config, evaluate

from sparcode.config.command_lines import TrainArguments
from sparcode.pipeline import train as train_pipeline
from sparcode.pipeline.choices import CHOICE_FILE
from sparcode.training import loop
from sparcode.training.checkpoint import read_checkpoint

HERE = Path(__file__).parent
LAUNCHER = HERE.parents[1] / "scripts" / "launch_workers.py"

# Sums of float32 are added in another order; rounding grows from step to step. Adam makes much of the
# rounding of weights whose gradient is zero but for it, such as a bias that a softmax does not see: so losses
# are compared, and the item table, whose entries move by about 0.5 in these runs.
LOSS_TOLERANCE = 2e-4
TABLE_TOLERANCE = 5e-3

pytestmark = pytest.mark.skipif(
    shutil.which("msrun", path=str(Path(sys.executable).parent)) is None, reason="needs msrun"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts two workers, and ends them with the test."""
    jobs: list[subprocess.Popen[str]] = []

    def begin(directory: Path, *argv: str, port: int | None = None) -> subprocess.Popen[str]:
        jobs.append(start_job(directory, argv, port or free_port()))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.terminate()
        job.wait(60)


def start_job(directory: Path, argv: tuple[str, ...], port: int) -> subprocess.Popen[str]:
    """Two workers that train in ``directory``."""
    for case in set(argv) & set(CASES):
        case_config(directory, case)  # writes the data, which the workers would do at the same time
    return subprocess.Popen(
        [
            *(sys.executable, str(LAUNCHER), "--workers", "2", "--log_dir", str(directory / "logs")),
            *("--master_port", str(port), str(HERE / "worker_cases.py"), str(directory)),
            *argv,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train_alone(directory: Path, case: str, *, resume: bool = False) -> None:
    config = case_config(directory, case)
    train_pipeline.train_run(TrainArguments(config, directory / case, resume))


def records(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def check_same_run(one: Path, other: Path) -> None:
    """Same losses, validation metrics and weights, but for rounding."""
    mine, theirs = records(one), records(other)
    assert [row["epoch"] for row in mine] == [row["epoch"] for row in theirs] == [1, 2, 3, 4]
    for first, second in zip(mine, theirs, strict=True):
        for name in ("loss", "softmax_loss", "commitment_loss"):
            assert first[name] == pytest.approx(second[name], rel=LOSS_TOLERANCE), name
        assert first.get("codebook") == second.get("codebook")
        for name in ("recall@10", "ndcg@10"):
            assert first["valid"][name] == pytest.approx(second["valid"][name], abs=0.02)
    tables = [
        read_checkpoint(run / "checkpoints" / "last.ckpt")[0]["tower.id_table"].asnumpy()
        for run in (one, other)
    ]
    np.testing.assert_allclose(*tables, atol=TABLE_TOLERANCE)


def check_same_evaluation(directory: Path, case: str) -> None:
    """What two workers reported of a run is what one process finds in it; the index is the same one."""
    together = json.loads((directory / f"{case}_eval.json").read_text())
    checksum = evaluate(directory, case, directory / "alone.json")
    alone = json.loads((directory / "alone.json").read_text())
    assert together["num_queries"] == alone["num_queries"] > 0
    assert together["metrics"] == pytest.approx(alone["metrics"], rel=1e-12)
    assert together["fidelity"] == pytest.approx(alone["fidelity"])
    assert together["index"]["num_postings"] == alone["index"]["num_postings"] > 0
    checksums = [(directory / f"{case}_index_{rank}.txt").read_text() for rank in range(2)]
    assert checksums == [str(checksum)] * 2
    chosen = directory / case / CHOICE_FILE
    (together,) = json.loads(chosen.read_text())["choices"]
    chosen.unlink()
    evaluate(directory, case, directory / "alone.json")
    (alone,) = json.loads(chosen.read_text())["choices"]
    assert together["settings"] == pytest.approx(alone["settings"])
    assert len(together["tried"]) == len(alone["tried"]) > 50
    for mine, theirs in zip(together["tried"], alone["tried"], strict=True):
        assert mine == pytest.approx(theirs)


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(("sparcode", "--evaluate"), id="sparcode"),
        pytest.param(("two_tower", "all_to_all"), id="others", marks=pytest.mark.slow),
    ],
)
def test_two_workers_follow_one(start: Start, tmp_path: Path, argv: tuple[str, ...]) -> None:
    cases = [argument for argument in argv if not argument.startswith("--")]
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    job = start(two, *argv)
    for case in cases:
        train_alone(one, case)
    output, errors = job.communicate(timeout=400)
    assert job.returncode == 0, errors + output
    for case in cases:
        check_same_run(two / case, one / case)
        first, second = ((two / f"{case}_weights_{rank}.txt").read_text().split() for rank in range(2))
        assert len(first) == records(two / case)[-1]["step"] > 12
        assert first == second  # of every weight, codebook and moment after every step
        if "--evaluate" in argv:
            check_same_evaluation(two, case)
    assert "worker of rank 0 of 2" in output  # the log of the first worker is shown
    assert "worker of rank 1 of 2" in (two / "logs" / "worker_1.log").read_text()


class Stop(Exception):
    """Ends a run as a crash would."""


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_which_goes_on_with_one_worker_and_then_with_two(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "sparcode"
    job = start(tmp_path, "sparcode")
    while not (run_dir / "checkpoints" / "last.ckpt").exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    log = tmp_path / "logs" / "worker_1.log"
    pid = int(re.findall(r"worker of rank 1 of 2: process (\d+)", log.read_text())[0])
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert job.returncode == 128 + signal.SIGKILL
    assert errors.startswith("error: rank 1 was killed by SIGKILL; the other workers were ended\n")
    assert f"last lines of {log}:\n" in errors
    assert "sparcode on ring" in errors

    def stop_after_the_third(self: loop.EpochRecords, record: dict) -> None:
        if record["epoch"] == 3:
            raise Stop
        append(self, record)

    append = loop.EpochRecords.append
    with monkeypatch.context() as patch:
        patch.setattr(loop.EpochRecords, "append", stop_after_the_third)
        with pytest.raises(Stop):
            train_alone(tmp_path, "sparcode", resume=True)
    assert records(run_dir)[-1]["epoch"] == 2
    job = start(tmp_path, "sparcode", "--resume")
    output, errors = job.communicate(timeout=400)
    assert job.returncode == 0, errors
    assert "resumed after epoch 2" in output

    straight = tmp_path / "straight"
    straight.mkdir()
    train_alone(straight, "sparcode")
    check_same_run(run_dir, straight / "sparcode")


@pytest.mark.slow
def test_an_error_of_a_worker_is_shown_with_its_code(start: Start, tmp_path: Path) -> None:
    job = start(tmp_path, "no_such_case")
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 1
    assert re.match(r"error: rank [01] ended with exit code 1; the other workers were ended\n", errors)
    assert "error: internal error: KeyError: 'no_such_case'" in errors


def test_a_busy_port_is_one_line(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        job = start(tmp_path, "sparcode", port=port)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 2
    assert errors.startswith(f"error: 127.0.0.1 port {port}: ")
    assert "--master_port" in errors
    assert errors.count("\n") == 1
