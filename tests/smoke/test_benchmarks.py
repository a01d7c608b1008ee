"""The benchmarks run in their small form and report what they are asked for."""

import importlib.util
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
@pytest.mark.parametrize("name", ["bench_filter", "bench_format"])
def test_others_check_what_they_measure(name: str, tmp_path: Path) -> None:
    report = run_small(name, tmp_path)
    assert report["machine"]["processor"]
    assert len(report) > 3


def test_rescoring_is_measured_with_and_without_crosses(tmp_path: Path) -> None:
    report = run_small("bench_rescoring", tmp_path, "--depths", "200")
    errors = {row["parts"]: row["rms_error"] for row in report["rounding"]}
    assert 0 < errors["float16"] < 1e-3 < errors["int8"]
    assert {(row["parts"], row["history"]) for row in report["rows"]} == {
        (parts, history) for parts in ("float16", "float32") for history in (0, 20, 100)
    }
    assert all(row["single_us"] > 0 and row["batch_us"] > 0 for row in report["rows"])


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


def test_crosses_alone_are_compared_with_the_dense_regression_and_their_own_short_lists(
    tmp_path: Path,
) -> None:
    lines = [
        " ".join(map(str, [user, *((user + 3 * step) % 40 for step in range(12))])) for user in range(40)
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.txt").write_text("\n".join(f"{user} {(user + 36) % 40}" for user in range(40)) + "\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{source: user_lines, path: {tmp_path}, dataset_dir: {tmp_path / 'ds'}, protocol: pre_split, "
        "valid_ratio: 0.1, use_user_features: false, use_item_features: false}\ncrosses: {kind: ridge}\n"
    )
    command = [sys.executable, str(BENCHMARKS / "bench_crosses.py"), "--config_path", str(config)]
    report = tmp_path / "report.json"
    options = ["--dense", "1", "--vary", "crosses.ridge=0.5,5", "--lists", "2", "--json", str(report)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())["rows"]
    settings = ["dense 1 user_power 0", "dense 1 user_power 0.5", "ridge=0.5", "ridge=5"]
    assert [row["setting"] for row in rows] == [name for name in settings for _ in range(3)]
    assert [row["list"] for row in rows[:3]] == ["all", "cut 2", "floor 2"]
    assert all(row["longest"] <= 2 for row in rows if row["list"] != "all")
    assert min(row["ndcg@10"] for row in rows if row["list"] == "all") > 0.3


@pytest.mark.slow
def test_the_terms_of_the_built_in_data_are_switched_off_one_by_one(tmp_path: Path) -> None:
    rows = run_small("bench_builtin_data", tmp_path)["rows"]
    assert [row["world"] for row in rows] == ["all terms", "no popularity"]
    names = ["world", "dnn", "popularity", "crosses", "sasrec", "sasrec + crosses"]
    assert all(sorted(row) == sorted(names) for row in rows)
    assert all(0.0 < row[name] < 1.0 for row in rows for name in names[1:])


@pytest.mark.slow
def test_engines_of_every_size_search_one_network(tmp_path: Path) -> None:
    work = ("--work_dir", str(tmp_path / "work"))
    report = run_small("bench_scale", tmp_path, *work, "--plot", str(tmp_path / "scale.png"))
    (result,) = report["sizes"]
    assert result["num_items"] == 1000
    stages = {stage["stage"]: stage for stage in result["stages"]}
    assert set(stages) == {"world", "dataset", "run", "choice", "index", "measure"}
    assert all(stage["seconds"] > 0 for stage in result["stages"])
    assert all(stages[name]["peak_gb"] > 0 for name in ("world", "dataset", "run", "measure"))
    rows = {(row["engine"], row["setting"]): row for row in result["rows"]}
    exact, world = rows["two-tower", "exact"], rows["the world itself", ""]
    popular = rows["popularity", ""]
    assert world["ndcg@50"] > exact["ndcg@50"] > popular["ndcg@50"] > 0
    for row in rows.values():
        if row["engine"].startswith("sparcode"):
            assert row["reads_p99"] <= 200 * int(row["setting"].removeprefix("probes="))
        if row["engine"] == "sparcode, rescored":
            assert row["index_recall@100"] > 0.9  # lists of 200 of the 1,000 items
        if row["engine"] != "the world itself":
            assert row["single_us"] > 0
            assert row["batch_us"] > 0
            assert row["size_bytes"] > 0
    engines = {row["engine"] for row in rows.values()}
    for name, module in (("hnswlib", "hnswlib"), ("faiss-hnsw", "faiss"), ("faiss-ivf", "faiss")):
        assert (name in engines) == (importlib.util.find_spec(module) is not None)
    before = (tmp_path / "work" / "1000" / "run.json").read_bytes()
    run_small("bench_scale", tmp_path, *work, "--set", "index.top_l=50")
    assert (tmp_path / "work" / "1000" / "run.json").read_bytes() == before  # it was not trained again
