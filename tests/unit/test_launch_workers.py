"""The launcher's refusals and reports, without starting anything."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "launch_workers.py"


@pytest.fixture(scope="module")
def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch_workers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_plan_of_two_nodes(launcher: ModuleType, tmp_path: Path) -> None:
    plan = launcher.parse(
        [
            *("--workers", "8", "--nodes", "2", "--node_rank", "1", "--master_addr", "10.0.0.1"),
            *("--log_dir", str(tmp_path), "train.py", "--output_dir", "run", "--nodes"),
        ]
    )
    assert (plan.local_workers, plan.first_local_rank) == (4, 4)
    assert plan.command == ["train.py", "--output_dir", "run", "--nodes"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--workers", "0"], "WORKERS must be at least 1, not 0"),
        (["--workers", "3", "--nodes", "2"], "3 workers cannot be divided equally among --nodes 2"),
        (["--workers", "2", "--nodes", "0"], "--nodes 0"),
        (["--workers", "2", "--node_rank", "1"], "--node_rank must be 0 to 0, not 1"),
        (["--workers", "2", "--nodes", "2"], "the address of node 0: --master_addr"),
        (["--workers", "2", "--master_port", "80"], "--master_port must be 1024 to 65535, not 80"),
        (["--workers", "two"], "invalid int value: 'two'"),
        (["--nodes", "1"], "--workers"),
    ],
)
def test_a_wrong_call_is_one_line(
    launcher: ModuleType, capsys: pytest.CaptureFixture[str], flags: list[str], problem: str
) -> None:
    assert launcher.main([*flags, "--log_dir", "logs", "train.py"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert problem in error


def test_an_address_of_another_machine_is_named(
    launcher: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = [
        "--workers",
        "2",
        "--nodes",
        "2",
        "--master_addr",
        "203.0.113.9",
        "--log_dir",
        str(tmp_path),
        "x.py",
    ]
    assert launcher.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 203.0.113.9 port 8118: ")
    assert "--master_addr" in error


def test_a_failure_is_told_with_rank_code_and_the_end_of_the_log(
    launcher: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [
        "worker of rank 3 of 4: process 77",
        *(f"line {n}" for n in range(40)),
        "[INFO] DISTRIBUTED noise",
    ]
    (tmp_path / "worker_3.log").write_text("\n".join(lines) + "\n")
    (tmp_path / "worker_2.log").write_text("worker of rank 2 of 4: process 7\n")
    plan = launcher.parse(["--workers", "4", "--log_dir", str(tmp_path), "train.py"])
    assert launcher._report(plan, "... Worker process 77 exit with exception. Error code: 2.") == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "error: rank 3 ended with exit code 2; the other workers were ended"
    assert error[-1] == "  line 39"
    assert len(error) == 2 + launcher.TAIL_LINES
    assert launcher._report(plan, "Worker process 7 exit with exception. Error code: -9.") == 137
    assert "rank 2 was killed by SIGKILL" in capsys.readouterr().err
    assert launcher._report(plan, "no worker\nfailed\n\n") == 1
    assert "error: the job did not run: failed; logs in" in capsys.readouterr().err


def test_lines_of_a_log_are_shown_once_and_without_noise(
    launcher: ModuleType, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    log = tmp_path / "worker_0.log"
    log.write_text("one\n[INFO] DISTRIBUTED noise\ntwo\nhal")
    position = launcher._show(log, 0, to_the_end=False)
    assert capsysbinary.readouterr().out == b"one\ntwo\n"
    log.write_text("one\n[INFO] DISTRIBUTED noise\ntwo\nhalf")
    launcher._show(log, position, to_the_end=True)
    assert capsysbinary.readouterr().out == b"half"


def test_an_environment_without_mindspore_is_named(
    launcher: ModuleType,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "check_port", lambda plan: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert launcher.main(["--workers", "2", "--log_dir", str(tmp_path / "logs"), "train.py"]) == 2
    assert capsys.readouterr().err.startswith(f"error: no msrun beside {tmp_path / 'python'}: ")
    assert not (tmp_path / "logs").exists()
