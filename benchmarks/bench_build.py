"""How fast an index is built: ``python benchmarks/bench_build.py --json build.json --plot build.png``.

Two questions. Does exhaustive building of 65,536 codes against the 3,260 items of ML-1M keep up with the
matrix product of the same machine? And how long do 4,096 codes against 1,000,000 items take, with part files?
Parts of tokens and items are random: the cost depends on shapes alone.

A scorer's floating-point operations are counted as 2 for each column of its dot product and 3 for each hidden
unit (add, ReLU, multiply), per pair; the matrix product counts 2 for each column. Pin the threads of the
matrix product with OMP_NUM_THREADS and OPENBLAS_NUM_THREADS; ``--threads`` is the number of blocks at a time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reporting import add_output_options, machine, peak_memory_gb, print_table, seconds_of, write_report

from sparcode.index import BuildOptions, BuildShare, build_index
from sparcode.model.pair_kernels import PairKernel, PairScorer

WIDTH, HIDDEN = 64, 64
ROUNDS = 7
"""Turns of matrix product and building, of which the median counts."""

KERNELS = {
    "dot": PairKernel(WIDTH),
    "mlp": PairKernel(0, HIDDEN, np.linspace(-1, 1, HIDDEN, dtype=np.float32)),
}
COLUMNS = [
    "case",
    "scorer",
    "codes",
    "items",
    "seconds",
    "gflop_per_s",
    "of_matmul",
    "of_matmul_lowest",
    "of_matmul_highest",
    "pairs_per_s",
    "peak_gb",
]


class ArrayScorer:
    """Scores tokens that are token parts already.

    Args:
        kernel: of the scorer.
        num_items: rows of random item parts.
    """

    fingerprint = "benchmark"

    def __init__(self, kernel: PairKernel, num_items: int) -> None:
        self.kernel, self.num_items = kernel, num_items
        width = kernel.dot_width + kernel.hidden_size
        self.parts = np.random.default_rng(1).standard_normal((num_items, width), dtype=np.float32)
        self._scorer = PairScorer(kernel, self.parts)

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        return self._scorer.block(tokens, start, stop)


def codebooks_of(kernel: PairKernel, size: int) -> NDArray[np.float32]:
    """(1, 2, size, P_t): two shared codebooks of random codewords."""
    own = kernel.hidden_size if kernel.weights is None else 0
    width = kernel.dot_width + kernel.hidden_size + own
    return np.random.default_rng(2).standard_normal((1, 2, size, width), dtype=np.float32)


def flops_of(kernel: PairKernel) -> int:
    """Floating-point operations of one pair."""
    return 2 * kernel.dot_width + 3 * kernel.hidden_size


def matmul_rate(codes: int, items: int, width: int) -> float:
    """Operations a second of a plain product (codes, width) x (width, items), its memory touched before."""
    rng = np.random.default_rng(3)
    left = rng.standard_normal((codes, width), dtype=np.float32)
    right = rng.standard_normal((width, items), dtype=np.float32)
    out = np.zeros((codes, items), np.float32)
    return 2.0 * codes * width * items / seconds_of(lambda: np.matmul(left, right, out=out), 2)[-1]


def row_of(case: str, name: str, result: Any, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    index = result.index
    return {
        "case": case,
        "scorer": name,
        "codes": index.num_terms,
        "items": index.num_items,
        "seconds": seconds,
        "pairs_per_s": result.report.num_pairs / seconds,
        "postings": index.num_postings,
        "peak_gb": peak_memory_gb(),
    }


def exhaustive(size: int, items: int, top_l: int, threads: int) -> list[dict[str, Any]]:
    """All ``size ** 2`` codes against a small catalogue, each scorer with its matrix product."""
    rows = []
    for name, kernel in KERNELS.items():
        scorer, books = ArrayScorer(kernel, items), codebooks_of(kernel, size)
        options = BuildOptions(top_l=top_l, signed=True, threads=threads)
        build_index(scorer, books[:, :, :16], options)  # compiles
        width = kernel.dot_width + kernel.hidden_size
        rates, taken = [], []
        for _ in range(ROUNDS):  # in turns, so that both see the same machine
            rates.append(matmul_rate(size**2, items, width))
            started = time.perf_counter()
            result = build_index(scorer, books, options)
            taken.append(time.perf_counter() - started)
        row = row_of("exhaustive", name, result, float(np.median(taken)))
        flops = flops_of(kernel) * row["codes"] * items
        row["gflop_per_s"] = flops / row["seconds"] / 1e9
        row["matmul_gflop_per_s"] = float(np.median(rates)) / 1e9
        shares = flops / np.array(taken) / np.array(rates)
        row["of_matmul"] = float(np.median(shares))
        row["of_matmul_lowest"], row["of_matmul_highest"] = float(shares.min()), float(shares.max())
        rows.append(row)
    return rows


def large(size: int, items: int, threads: int) -> list[dict[str, Any]]:
    """All ``size ** 2`` codes against a large catalogue."""
    kernel = KERNELS["dot"]
    scorer, books = ArrayScorer(kernel, items), codebooks_of(kernel, size)
    options = BuildOptions(top_l=1000, signed=True, threads=threads)
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        result = build_index(scorer, books, options, share=BuildShare(Path(directory) / "parts"))
        return [row_of("large catalogue", "dot", result, time.perf_counter() - started)]


def draw(report: dict[str, Any], path: Path) -> None:
    """Rates of exhaustive building beside those of the matrix product."""
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if row["case"] == "exhaustive"]
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    axes.bar(places - 0.2, [row["matmul_gflop_per_s"] for row in rows], 0.4, label="plain matrix product")
    axes.bar(places + 0.2, [row["gflop_per_s"] for row in rows], 0.4, label="building, selection included")
    axes.set_xticks(places, [row["scorer"] for row in rows])
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{rows[0]['codes']:,} codes x {rows[0]['items']:,} items, {report['threads']} thread(s)")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description="Measures the building of indexes.")
    parser.add_argument("--threads", type=int, default=1, help="blocks of codes scored at the same time")
    parser.add_argument("--cases", choices=["all", "exhaustive", "large"], default="all")
    add_output_options(parser)
    flags = parser.parse_args()
    report: dict[str, Any] = {
        "machine": machine(),
        "threads": flags.threads,
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "all")),
    }
    size, items, top_l = (48, 600, 100) if flags.small else (256, 3260, 400)
    rows = report["rows"] = []
    if flags.cases != "large":
        rows += exhaustive(size, items, top_l, flags.threads)
        write_report(flags.json, report)
    if flags.cases != "exhaustive":
        rows += large(*((16, 20_000) if flags.small else (64, 1_000_000)), flags.threads)
    print_table(rows, COLUMNS)
    write_report(flags.json, report)
    if flags.plot is not None and flags.cases != "large":
        draw(report, flags.plot)


if __name__ == "__main__":
    main()
