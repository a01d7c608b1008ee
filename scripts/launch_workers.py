"""Runs an entry script in several workers by msrun, and says which worker failed and why when one does.

Called by the shell scripts: ``launch_workers.py --workers 2 --log_dir logs train.py --output_dir run ...``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

DEFAULT_PORT = 8118
CLUSTER_SECONDS = 300
"""How long workers and scheduler wait for each other at the start."""

TAIL_LINES = 15
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
"""What msrun gets to end the other workers before it is ended itself."""

NO_WORKER = "99999"  # msrun copies no log to its own output; this script follows that of its first worker
_NOISE = b"[INFO] DISTRIBUTED"  # what MindSpore prints at any log level when a cluster ends
_FAILED = re.compile(r"Worker process (\d+) exit with exception\. Error code: (-?\d+)")
_STARTED = re.compile(r"^worker of rank (\d+) of \d+: process (\d+)$", re.MULTILINE)


class LaunchError(Exception):
    """The workers cannot be started; the message is one line."""


@dataclass(frozen=True)
class Plan:
    """What to run where."""

    workers: int
    nodes: int
    node_rank: int
    master_addr: str
    master_port: int
    log_dir: Path
    command: list[str]

    @property
    def local_workers(self) -> int:
        return self.workers // self.nodes

    @property
    def first_local_rank(self) -> int:
        return self.node_rank * self.local_workers


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LaunchError(message)


def parse(argv: Sequence[str]) -> Plan:
    """The plan of a command line.

    Raises:
        LaunchError: wrong flags or numbers that do not fit together.
    """
    parser = _Parser(prog="launch_workers.py", allow_abbrev=False)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--node_rank", type=int, default=0)
    parser.add_argument("--master_addr", default="127.0.0.1")
    parser.add_argument("--master_port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--log_dir", type=Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    flags = parser.parse_args(argv)
    plan = Plan(**vars(flags))
    if plan.workers < 1:
        raise LaunchError(f"WORKERS must be at least 1, not {plan.workers}")
    if plan.nodes < 1 or plan.workers % plan.nodes:
        raise LaunchError(f"{plan.workers} workers cannot be divided equally among --nodes {plan.nodes}")
    if not 0 <= plan.node_rank < plan.nodes:
        raise LaunchError(f"--node_rank must be 0 to {plan.nodes - 1}, not {plan.node_rank}")
    if plan.nodes > 1 and plan.master_addr == "127.0.0.1":
        raise LaunchError("several nodes need the address of node 0: --master_addr")
    if not 1024 <= plan.master_port <= 65535:
        raise LaunchError(f"--master_port must be 1024 to 65535, not {plan.master_port}")
    return plan


def check_port(plan: Plan) -> None:
    """Find out at once what msrun would notice after minutes, and not name.

    Raises:
        LaunchError: the port is in use, or the address is not one of this machine though this is node 0.
    """
    if plan.node_rank:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.master_addr, plan.master_port))
        except OSError as error:
            raise LaunchError(
                f"{plan.master_addr} port {plan.master_port}: {error.strerror}; "
                "choose another with --master_port (node 0 needs an address of its own as --master_addr)"
            ) from error


def launch(plan: Plan) -> int:
    """Run the workers to their end and return the exit code of the job.

    Raises:
        LaunchError: the port is in use, or MindSpore is not installed.
    """
    check_port(plan)
    binaries = Path(sys.executable).parent  # msrun starts what is called python there
    if not (binaries / "msrun").is_file():
        raise LaunchError(f"no msrun beside {sys.executable}: MindSpore is not installed in that environment")
    plan.log_dir.mkdir(parents=True, exist_ok=True)
    for old in [*plan.log_dir.glob("worker_*.log"), plan.log_dir / "scheduler.log"]:
        old.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // plan.local_workers, 1)))
    msrun = [
        str(binaries / "msrun"),
        f"--worker_num={plan.workers}",
        f"--local_worker_num={plan.local_workers}",
        f"--node_rank={plan.node_rank}",
        f"--master_addr={plan.master_addr}",
        f"--master_port={plan.master_port}",
        f"--log_dir={plan.log_dir}",
        f"--cluster_time_out={CLUSTER_SECONDS}",
        f"--tail_worker_log={NO_WORKER}",
        "--join=True",
        *plan.command,
    ]
    own_log = plan.log_dir / "msrun.log"
    with own_log.open("wb") as log:
        process = subprocess.Popen(
            msrun, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _follow(process, plan, own_log)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)  # msrun ends all workers then
        _end(process)
        sys.stderr.write("error: interrupted\n")
        return 130
    return 0 if process.returncode == 0 else _report(plan, own_log.read_text(errors="replace"))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _follow(process: subprocess.Popen[bytes], plan: Plan, own_log: Path) -> None:
    """Show the log of the first worker here until the job ends or a worker has failed."""
    shown = plan.log_dir / f"worker_{plan.first_local_rank}.log"
    position = 0
    while True:
        running = process.poll() is None
        if shown.exists():
            position = _show(shown, position, to_the_end=not running)
        if not running:
            return
        if _FAILED.search(own_log.read_text(errors="replace")):
            _end(process)
            return
        time.sleep(POLL_SECONDS)


def _show(log: Path, position: int, to_the_end: bool) -> int:
    """Copy the complete lines after ``position`` to stdout, or all that there is; return the new position."""
    with log.open("rb") as file:
        file.seek(position)
        text = file.read()
    if not to_the_end:
        text = text[: text.rfind(b"\n") + 1]
    lines = text.splitlines(keepends=True)
    sys.stdout.buffer.write(b"".join(line for line in lines if not line.startswith(_NOISE)))
    sys.stdout.flush()
    return position + len(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let msrun end the workers, then end it and the scheduler, which would wait for its lost workers."""
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _report(plan: Plan, text: str) -> int:
    """Say what failed; return the exit code of the worker, 128 + signal for one that was killed."""
    failed = _FAILED.search(text)
    if failed is None:
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else "msrun said nothing"
        sys.stderr.write(f"error: the job did not run: {last}; logs in {plan.log_dir}\n")
        return 1
    pid, code = int(failed[1]), int(failed[2])
    rank = _rank_of(pid, plan.log_dir)
    name = f"rank {rank}" if rank is not None else f"process {pid}"
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    sys.stderr.write(f"error: {name} {end}; the other workers were ended\n")
    if rank is not None:
        path = plan.log_dir / f"worker_{rank}.log"
        sys.stderr.write(f"last lines of {path}:\n")
        lines = path.read_text(errors="replace").splitlines()
        for line in [line for line in lines if not line.startswith(_NOISE.decode())][-TAIL_LINES:]:
            sys.stderr.write(f"  {line}\n")
    return 128 - code if code < 0 else code


def _rank_of(pid: int, log_dir: Path) -> int | None:
    for path in log_dir.glob("worker_*.log"):
        for rank, process in _STARTED.findall(path.read_text(errors="replace")):
            if int(process) == pid:
                return int(rank)
    return None


def main(argv: Sequence[str]) -> int:
    """Launch; a wrong call is one line and code 2."""
    try:
        return launch(parse(argv))
    except LaunchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
