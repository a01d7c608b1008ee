"""The benchmark of building runs and reports every case."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_build.py"


def test_the_small_benchmark_reports_every_case(tmp_path: Path) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--small", "--json", str(tmp_path / "build.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "build.json").read_text())
    assert [row["scorer"] for row in report["rows"][:4]] == ["dot", "low_rank", "gated", "mlp"]
    assert all(row["of_matmul"] > 0 for row in report["rows"][:4])
    assert {row["case"] for row in report["rows"][4:]} == {"observed, shortlists", "observed, exhaustive"}
    assert report["rows"][-1]["postings"] == 300 * 1000
    assert report["machine"]["processor"]
    assert report["blas_threads"] == "1"
