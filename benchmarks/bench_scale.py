"""How does the system behave from ten thousand items to a million?

    python benchmarks/bench_scale.py --sizes 10000 100000 1000000 --work_dir runs/scale --json scale.json

For each size a world in which relevance is known is generated (``scale_world.py``), preprocessed, and one
network is trained on it without quantization (configs/scale/sparcode_dnn.yaml), by commands that are printed.
Its score is the dot product of a two-tower; codes are fitted to it afterwards, and what an index leaves open
is chosen on validation users. On this one network an exact search, graphs and inverted files of other
libraries, and SparCode answer the same queries (``scale_measuring.py``): accuracy on held-out interactions,
time and bytes of a row belong together.

Everything runs on one thread. Peak memory is that of a stage's process, or, of an index, that of the process
while it was built, with network and vectors in it. ``--work_dir`` keeps worlds and runs: a second call takes
what is there, if it was made by the same command.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import add_output_options, machine, print_table, write_report

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "scale" / "sparcode_dnn.yaml"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Size:
    """What depends on the size of the catalogue.

    Attributes:
        num_interactions: drawn from the world.
        num_queries: test users that engines answer.
        settings: keys of the configuration.
    """

    num_interactions: int
    num_queries: int
    settings: dict[str, Any]


def size_of(num_items: int, small: bool) -> Size:
    """Settings of a size: those of the largest of 10^4, 10^5 and 10^6 that is not above it, or of 10^4."""
    if small:
        return Size(20_000, 100, {"train.batch_size": 256, "model.quantizer.codebook_size": 64})
    interactions = int(1e6 * (num_items / 1e4) ** 0.5)
    users, codes = "train.validation_users", "model.quantizer.codebook_size"
    if num_items < 100_000:
        chosen = {"train.batch_size": 1024, users: 1000, codes: 4096, "index.top_l": 200}
    elif num_items < 1_000_000:
        chosen = {"train.batch_size": 2048, users: 500, codes: 8192, "index.top_l": 500}
    else:
        chosen = {"train.batch_size": 8192, users: 200, codes: 16384, "index.top_l": 1000}
    return Size(interactions, 2000, chosen)


def main() -> None:
    """Measures every size, prints its tables and writes the report after each of them."""
    arguments = parse_arguments()
    if arguments.measure is not None:
        measure(arguments)
        return
    report: dict[str, Any] = {"machine": machine(), "threads": 1, "sizes": []}
    with tempfile.TemporaryDirectory(prefix="sparcode-") as scratch:
        work_dir = arguments.work_dir or Path(scratch)
        for num_items in [1_000] if arguments.small else arguments.sizes:
            result = run_size(num_items, (work_dir / str(num_items)).resolve(), arguments)
            report["sizes"].append(result)
            print_size(result)
            write_report(arguments.json, report)
    if arguments.plot:
        from plots import draw_scale

        draw_scale(report, arguments.plot)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="items")
    parser.add_argument("--work_dir", type=Path, help="keep worlds and runs here (default: nowhere)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every size")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--num_queries", type=int, help=argparse.SUPPRESS)
    add_output_options(parser)
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> None:
    """The second half of a size, in a process of its own."""
    from scale_measuring import measure_run

    measure_run(arguments.measure, arguments.set, arguments.num_queries)


# ---- stages, each in a process of its own


def run_size(num_items: int, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing in ``place``, then measure."""
    size = size_of(num_items, arguments.small)
    own = [f"{key}={json.dumps(value)}" for key, value in size.settings.items()]
    settings = [*own, *arguments.set]
    later = [setting for setting in settings if setting.startswith(("index.", "eval."))]
    # training chooses what the index leaves open: for the lists of this size, so that it is done once; other
    # lists may be asked for afterwards without another training
    kept = [setting for setting in settings if setting in own or setting not in later]
    print(f"\n{num_items:,} items")
    stages = [make(name, command, place) for name, command in commands(num_items, size, kept, place)]
    command = [__file__, "--measure", str(place), "--num_queries", str(size.num_queries)]
    measuring = run_command("measure", command + sets(later))
    measured = json.loads((place / "measured.json").read_text(encoding="utf-8"))
    stages = [*stages, *measured.pop("stages"), measuring]
    return {"settings": settings, **measured, "stages": stages}


def commands(num_items: int, size: Size, settings: list[str], place: Path) -> list[tuple[str, list[str]]]:
    """Name and command of every stage before the measuring; the name is the directory that it makes."""
    world, dataset, run = (str(place / name) for name in ("world", "dataset", "run"))
    numbers = ["--num_items", str(num_items), "--num_interactions", str(size.num_interactions)]
    config = ["--config_path", str(CONFIG)]
    where = sets([f"data.path={world}", f"data.dataset_dir={dataset}"])
    return [
        ("world", [str(ROOT / "benchmarks" / "scale_world.py"), "--output", world, *numbers]),
        ("dataset", [str(ROOT / "preprocess.py"), *config, "--input", world, "--output", dataset]),
        ("run", [str(ROOT / "train.py"), *config, *where, *sets(settings), "--output_dir", run]),
    ]


def sets(settings: list[str]) -> list[str]:
    """``--set`` before each of the settings."""
    return [word for setting in settings for word in ("--set", setting)]


def make(name: str, command: list[str], place: Path) -> dict[str, Any]:
    """Run a stage unless it was run before; what an interrupted one has left is deleted.

    Raises:
        SystemExit: it was run by another command, or fails.
    """
    record, directory = place / f"{name}.json", place / name
    if record.is_file():
        stage = dict(json.loads(record.read_text(encoding="utf-8")))
        if stage["command"] != shown(command):
            raise SystemExit(f"error: {directory} was made by another command: choose another --work_dir")
        print(f"{directory} is there")
        return stage
    if directory.exists():
        shutil.rmtree(directory)
    place.mkdir(parents=True, exist_ok=True)
    stage = {**run_command(name, command), **facts(name, directory)}
    write_report(record, stage)
    return stage


def run_command(name: str, command: list[str]) -> dict[str, Any]:
    """Run a Python script: its seconds and its peak memory.

    Raises:
        SystemExit: it fails.
    """
    print(shown(command), flush=True)
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, **ONE_THREAD})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {name} failed with exit code {process.returncode}")
    seconds, peak = time.perf_counter() - started, usage.ru_maxrss / 2**20
    return {"stage": name, "seconds": seconds, "peak_gb": peak, "command": shown(command)}


def shown(command: list[str]) -> str:
    """The command as one would type it in the root of the project."""
    words = [word.removeprefix(f"{ROOT}{os.sep}") for word in command]
    return shlex.join(["python", *words])


def facts(name: str, directory: Path) -> dict[str, Any]:
    """What a stage says of what it made."""
    if name == "world":
        return dict(json.loads((directory / "world.json").read_text(encoding="utf-8")))
    if name == "dataset":
        return dict(json.loads((directory / "dataset.json").read_text(encoding="utf-8"))["counts"])
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    seconds = sum(epoch["train_seconds"] for epoch in epochs)
    samples = sum(epoch["train_seconds"] * epoch["samples_per_second"] for epoch in epochs)
    return {"train_seconds": seconds, "samples_per_second": samples / seconds, "valid": epochs[-1]["valid"]}


# ---- what is printed

STAGE_COLUMNS = ["stage", "seconds", "peak_gb", "train", "test", "samples_per_second", "num_postings"]
COLUMNS = {
    "engine": "engine",
    "setting": "setting",
    "ndcg@10": "ndcg@10",
    "ndcg@50": "ndcg@50",
    "recall@50": "recall@50",
    "index_recall@100": "index_recall@100",
    "single_us": "single_us",
    "batch_us": "batch_us",
    "size_mb": "MB",
    "build_seconds": "build_s",
    "build_peak_gb": "peak_gb",
    "reads_p50": "reads_p50",
    "reads_p99": "reads_p99",
}


def print_size(result: dict[str, Any]) -> None:
    """The tables of a size: stages, encoding, engines."""
    print_table(result["stages"], STAGE_COLUMNS)
    chosen = ", ".join(f"{name} {value}" for name, value in result["index_settings"].items())
    print(f"chosen on validation users: {chosen}\n")
    print_table(result["encoding"], list(result["encoding"][0]))
    print()
    rows = []
    for row in result["rows"]:
        size = row.get("size_bytes")
        shown_row = {**row, "size_mb": None if size is None else size / 1e6}
        rows.append({title: shown_row.get(column) for column, title in COLUMNS.items()})
    print_table(rows, list(COLUMNS.values()))


if __name__ == "__main__":
    main()
