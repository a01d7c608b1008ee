"""What every benchmark prints beside its figures, and where it puts them."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGES = ("numpy", "numba", "mindspore", "torch", "faiss-cpu", "hnswlib")


def add_output_options(parser: argparse.ArgumentParser, plot: bool = True) -> None:
    """``--json``, ``--small`` and, of benchmarks that draw, ``--plot``."""
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    if plot:
        parser.add_argument(
            "--plot", type=Path, help="draw them into this PNG or SVG file (needs matplotlib)"
        )
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to try the command")


def machine() -> dict[str, Any]:
    """Processor, cores, load, versions and date."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES if _version(name)},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def peak_memory_gb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reset_peak_memory() -> bool:
    """Let :func:`peak_resident_gb` start again from what is resident now; False where that is forbidden."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_resident_gb() -> float:
    """Largest resident size since :func:`reset_peak_memory`; Linux alone tells."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kilobytes / 2**20


def seconds_of(call: Callable[[], object], repeats: int) -> NDArray[np.float64]:
    """(repeats,) wall-clock seconds of each call."""
    taken = np.empty(repeats)
    for place in range(repeats):
        started = time.perf_counter()
        call()
        taken[place] = time.perf_counter() - started
    return taken


def read_bandwidth(num_bytes: int = 1 << 29) -> float:
    """Bytes per second that one thread reads from memory: best of five sums over a large array."""
    array = np.ones(num_bytes // 8, dtype=np.float64)
    return num_bytes / seconds_of(array.sum, 5).min()


def write_report(path: Path | None, report: dict[str, Any]) -> None:
    """Write a report as JSON, if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def print_table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Rows under a heading, columns aligned; a missing value is empty."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[c]) for line in [columns, *cells]) for c in range(len(columns))]
    for line in [columns, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.4g}"
    return str(value)
