"""The plan of docs/scaling.md, by hand for round numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "plan_scaling.py"


@pytest.fixture(scope="module")
def planner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plan_scaling", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


JOB = {
    "interactions": 1e6,
    "items": 1e6,
    "width": 25,  # a table of 100 MB
    "dense_weights": 250_000,  # 1 MB
    "history": 6,
    "targets": 2,
    "negatives": 200,
    "device_batch": 100,  # 200 queries, 1,000 rows of 100 bytes = 0.1 MB
    "us_per_query": 50.0,
    "ms_per_step": 10.0,
    "gb_per_s": 1.0,
    "latency_us": 1000.0,
    "codes": 1000,
    "top_l": 100,
    "posting_bytes": 2.0,
    "pairs_per_s": 1e6,
    "build_threads": 5,
    "serving_gb": 1.0,
}


def test_the_formulas(planner: ModuleType) -> None:
    job = planner.Job(**JOB)
    assert (job.table_bytes, job.queries, job.rows_of_step, job.index_bytes) == (1e8, 200, 1000, 2e5)
    plan = planner.plan(job, 4)
    assert plan.memory_whole_gb == pytest.approx(3 * 0.101)
    assert plan.memory_sharded_gb == pytest.approx(3 * (0.025 + 0.001))
    assert plan.compute_s == pytest.approx(0.02)
    # ring: 2 * 3/4 of the bytes at 1 GB/s and 6 messages of 1 ms
    assert plan.whole_s == pytest.approx(1.5 * 0.101 + 0.006)
    # rows there and back: 2 * (3/4 of 0.1 MB and 3 messages); the rest: 1.5 * 1 MB and 6 messages
    assert plan.sharded_s == pytest.approx(2 * (0.75e-4 + 0.003) + 1.5e-3 + 0.006)
    assert plan.epoch_hours == pytest.approx(1250 * (plan.compute_s + plan.sharded_s) / 3600)
    assert plan.efficiency == pytest.approx(plan.compute_s / (plan.compute_s + plan.sharded_s))
    assert plan.build_hours == pytest.approx(1e9 / (1e6 * 5 * 4) / 3600)


def test_one_device_does_not_communicate(planner: ModuleType) -> None:
    plan = planner.plan(planner.Job(**JOB), 1)
    assert plan.whole_s == plan.sharded_s == 0
    assert plan.efficiency == 1
    assert plan.memory_whole_gb == plan.memory_sharded_gb


def test_a_line_for_every_number_of_devices(planner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    planner.main(["--devices", "1", "32", "--items", "1e7"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("item table        2.6 GB")
    assert [line.split()[0] for line in lines[-2:]] == ["1", "32"]


@pytest.mark.parametrize(
    "argv", [["--items", "0"], ["--devices", "8", "-1"], ["--width", "nan"], ["--no", "1"]]
)
def test_wrong_numbers_are_refused(
    planner: ModuleType, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        planner.main(argv)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err
