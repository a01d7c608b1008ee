"""The main job through the entry scripts: preprocess, train, evaluate, export, infer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]

CONFIG = """
data:
  max_history: 20
  synthetic:
    num_users: 500
    num_items: 150
    interactions_per_user: 24
model:
  embedding_size: 16
  num_query_tokens: 4
  token_size: 8
  encoder: {hidden_size: 32}
  quantizer: {codebook_size: 16}
train:
  epochs: 8
  batch_size: 64
  learning_rate: 0.01
  validate_every: 4
  monitor: ndcg@10
  loss: {num_negatives: 64}
crosses: {kind: none}
index:
  top_l: 150
  packing: float32
eval:
  ks: [10, 20]
  latency_queries: 5
  fidelity_queries: 100
export:
  verify_queries: 50
"""

REPORT_KEYS = {
    "dataset",
    "model",
    "encoder",
    "retriever",
    "rescore",
    "split",
    "seed",
    "num_queries",
    "num_items",
    "first_items",
    "crosses",
    "settings",
    "leaks",
    "metrics",
    "beyond_accuracy",
    "fidelity",
    "size_bytes",
    "index",
    "latency_ms",
}


def run(script: str, *argv: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run an entry script away from the sources and check its exit code."""
    process = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == code, process.stderr
    return process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the configuration, the data set and a trained run."""
    home = tmp_path_factory.mktemp("smoke")
    (home / "small.yaml").write_text(CONFIG, encoding="utf-8")
    made = run("preprocess.py", "--config_path", "small.yaml", "--output", "data", cwd=home)
    assert "data set synthetic" in made.stdout
    assert json.loads((home / "data" / "dataset.json").read_text("utf-8"))["counts"]["items"] == 150
    trained = run("train.py", *train_arguments(), cwd=home)
    assert "epoch 8" in trained.stderr
    assert trained.stdout.splitlines() == ["next:", "  python eval.py run", "  python export.py run"]
    return home


def train_arguments() -> list[str]:
    data = "data.dataset_dir=data"
    return ["--config_path", "small.yaml", "--set", data, "--output_dir", "run"]


@pytest.fixture(scope="module")
def reports(home: Path) -> dict[str, dict[str, Any]]:
    """The JSON of ``eval.py`` by retriever."""
    found = {}
    for retriever in ("index", "exact", "popularity"):
        path = home / f"{retriever}.json"
        per_user = path.with_suffix(".parquet")
        process = run(
            "eval.py", "--run_dir", "run", "--retriever", retriever, "--json", path, "--per_user", per_user,
            cwd=home,
        )  # fmt: skip
        assert "recall" in process.stdout
        assert str(path) in process.stdout
        found[retriever] = json.loads(path.read_text("utf-8"))
    return found


def test_a_run_directory_holds_what_the_documents_promise(home: Path) -> None:
    run_dir = home / "run"
    promised = {"config.yaml", "metrics.jsonl", "checkpoints", "choices.json", "finished.json"}
    assert {path.name for path in run_dir.iterdir()} >= promised
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(run_dir.rglob("events.out.tfevents.*"))
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert rows[-1]["codebook"]["perplexity"] > 1
    assert rows[-1]["samples_per_second"] > 0
    assert "ndcg@10" in rows[-1]["valid"]


def test_reports_have_the_promised_form(reports: dict[str, dict[str, Any]]) -> None:
    index = reports["index"]
    assert set(index) == REPORT_KEYS
    assert (index["model"], index["encoder"], index["retriever"]) == ("sparcode", "dnn", "index")
    assert (index["split"], index["num_items"]) == ("test", 150)
    assert set(index["metrics"]) == {
        f"{name}@{k}" for name in ("recall", "ndcg", "precision", "hit_rate", "mrr") for k in (10, 20)
    }
    assert set(index["index"]) >= {
        "num_terms",
        "num_lists",
        "num_postings",
        "index_density",
        "size_bytes",
    }
    probes = index["settings"]["probes"]
    assert 0 < index["index"]["postings_read_p50"] <= index["index"]["postings_read_p99"] <= 4 * probes * 150
    assert reports["popularity"]["settings"] == index["settings"]  # those of the run
    assert index["index"]["encoding"] == "float32"
    assert index["index"]["num_terms"] == 4 * 16
    assert index["size_bytes"] == index["index"]["size_bytes"] > 0
    assert reports["popularity"]["size_bytes"] == 4 * (150 + 1)
    assert reports["exact"]["size_bytes"] is None
    assert set(index["latency_ms"]) == {"encode_p50", "search_p50", "search_p99", "threads", "batch"}
    assert reports["popularity"]["model"] == "popularity"
    assert reports["exact"]["index"] == reports["exact"]["fidelity"] == {}


def test_means_of_per_user_metrics_are_those_of_the_report(
    reports: dict[str, dict[str, Any]], home: Path
) -> None:
    for retriever, report in reports.items():
        per_user = pd.read_parquet(home / f"{retriever}.parquet")
        assert per_user["user"].is_unique
        assert len(per_user) == report["num_queries"]
        for key, value in report["metrics"].items():
            assert per_user[key].mean() == pytest.approx(value, abs=1e-12)


def test_popularity_recommends_the_same_popular_items_to_all(reports: dict[str, dict[str, Any]]) -> None:
    index, popularity = (reports[name]["beyond_accuracy"] for name in ("index", "popularity"))
    assert popularity["coverage@10"] < index["coverage@10"] <= 1
    assert popularity["novelty@10"] < index["novelty@10"]
    assert popularity["popularity_percentile@10"] > index["popularity_percentile@10"]
    assert 0 < index["cold_users"]["num_queries"] < reports["index"]["num_queries"]
    assert 0 < index["tail_items"]["num_items"] < 150
    assert index["tail_items"]["recall@10"] > popularity["tail_items"]["recall@10"]


def test_the_index_is_clearly_above_popularity(reports: dict[str, dict[str, Any]]) -> None:
    index, popularity = (reports[name]["metrics"] for name in ("index", "popularity"))
    assert index["ndcg@10"] > 1.1 * popularity["ndcg@10"]
    assert index["recall@10"] > 1.1 * popularity["recall@10"]


def test_the_whole_index_ranks_as_the_network_does(reports: dict[str, dict[str, Any]]) -> None:
    """top_l is the catalogue: nothing is pruned, and the floors of the lists leave the order alone."""
    index, exact = reports["index"], reports["exact"]
    assert index["fidelity"]["index_recall@20"] == 1.0
    for key, value in exact["metrics"].items():
        assert index["metrics"][key] == pytest.approx(value, abs=1e-3)


def test_a_second_run_into_the_same_directory_is_refused(home: Path) -> None:
    before = (home / "run" / "metrics.jsonl").read_bytes()
    process = run("train.py", *train_arguments(), cwd=home, code=2)
    assert process.stderr.splitlines()[-1].startswith("error: run: the run directory already holds a run")
    assert (home / "run" / "metrics.jsonl").read_bytes() == before


def test_resuming_a_finished_run_does_nothing(home: Path) -> None:
    before = {path: path.read_bytes() for path in (home / "run").rglob("*.ckpt")}
    metrics = (home / "run" / "metrics.jsonl").read_bytes()
    run("train.py", *train_arguments(), "--resume", cwd=home)
    assert (home / "run" / "metrics.jsonl").read_bytes() == metrics
    assert {path: path.read_bytes() for path in (home / "run").rglob("*.ckpt")} == before


def test_export_and_infer_recommend_by_external_ids(home: Path) -> None:
    run("export.py", "--run_dir", "run", "--output", "bundle", cwd=home)
    assert {path.name for path in (home / "bundle").iterdir()} >= {
        "manifest.json",
        "encoder.mindir",
        "scorer.mindir",
        "index",
    }
    items = json.loads((home / "data" / "item_ids.json").read_text("utf-8"))
    queries = [
        {"query_id": "known", "history": items[:5]},
        {"query_id": "filtered", "history": items[:5], "exclude": items[5:20]},
        {"query_id": "allowed", "history": items[:5], "allow": items[40:60]},
        {"query_id": "unknown", "history": ["no such item"]},
    ]
    lines = "".join(json.dumps(query) + "\n" for query in queries)
    (home / "queries.jsonl").write_text(lines, encoding="utf-8")
    os.rename(home / "run", home / "run-away")  # the bundle alone must do
    try:
        process = run(
            "infer.py", "--bundle", "bundle", "--input", "queries.jsonl", "--topk", "7",
            "--output", "out.jsonl", cwd=home,
        )  # fmt: skip
    finally:
        os.rename(home / "run-away", home / "run")
    answers = {row["query_id"]: row for row in map(json.loads, (home / "out.jsonl").open(encoding="utf-8"))}
    assert list(answers) == ["known", "filtered", "allowed", "unknown"]
    ranked = {name: [entry["item"] for entry in row["items"]] for name, row in answers.items()}
    scores = [entry["score"] for entry in answers["known"]["items"]]
    assert scores == sorted(scores, reverse=True)
    assert len(ranked["known"]) == 7
    assert set(ranked["known"]) <= set(items) - set(items[:5])
    assert not set(ranked["filtered"]) & set(items[:20])
    assert set(ranked["allowed"]) <= set(items[40:60])
    assert "1 with nothing known" in process.stdout
    assert "unknown" in process.stderr or "skipped" in process.stderr
