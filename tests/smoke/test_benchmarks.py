"""The benchmarks run in their small form and report what they are asked for."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_small(name: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", "--json", str(report), *options]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(report.read_text()))


def test_building_reports_every_case(tmp_path: Path) -> None:
    report = run_small("bench_build", tmp_path)
    assert [row["scorer"] for row in report["rows"][:2]] == ["dot", "mlp"]
    assert all(row["of_matmul"] > 0 for row in report["rows"][:2])
    assert [row["case"] for row in report["rows"][2:]] == ["large catalogue"]
    assert report["rows"][-1]["postings"] == 256 * 1000
    assert report["machine"]["processor"]
    assert report["blas_threads"] == "1"


@pytest.mark.slow
def test_searching_compares_packed_lists_and_exhaustive_scoring(tmp_path: Path) -> None:
    engines = ("sparcode", "exhaustive")
    report = run_small("bench_search", tmp_path, "--threads", "1", "--engines", *engines)
    (work,) = report["workloads"]
    recall = {(row["engine"], row["setting"]): row["recall"] for row in work["points"]}
    assert recall.pop(("sparcode", "uint8")) >= 0.98
    assert recall.pop(("exhaustive", "every item, every token")) == work["index_recall"] > 0.95
    assert set(recall) == {("sparcode", "float32")}
    assert set(recall.values()) == {1.0}
    assert all(row["batch_us"] > 0 and row["single_p50_us"] > 0 for row in work["points"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bench_filter", "bench_format"])
def test_others_check_what_they_measure(name: str, tmp_path: Path) -> None:
    report = run_small(name, tmp_path)
    assert report["machine"]["processor"]
    assert len(report) > 3


@pytest.mark.slow
def test_training_steps_are_measured_for_every_scorer(tmp_path: Path) -> None:
    report = run_small("bench_train_step", tmp_path, "--tokens", "wide", "--scorers", "dot", "mlp")
    assert [row["scorer"] for row in report["rows"]] == ["dot", "mlp", "two-tower"]
    assert 0 < report["rows"][1]["scored_codes"] <= 256
    assert all(row["samples_s"] > 0 for row in report["rows"])


@pytest.mark.slow
def test_two_workers_are_measured_beside_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    report = run_small("bench_distributed", tmp_path, "--port", str(port))
    assert [part["workers"] for part in report["workers"]] == [1, 2]
    (alone,), (together,) = (part["steps"] for part in report["workers"])
    assert alone["reduce_ms"] == 0 < together["reduce_ms"] < together["step_ms"]
    assert alone["queries"] == together["queries"]
    assert [row["bytes"] for row in report["workers"][1]["allreduce"]] == [4, 4000, 40000]
