"""The public face: fit, evaluate, export and load, as a reader of the README would use them."""

from __future__ import annotations

from pathlib import Path

import pytest

import sparcode
from sparcode.errors import ConfigError, UsageError
from sparcode.serving import Retriever

SMALL = {
    "data.max_history": 10,
    "data.synthetic": {"num_users": 200, "num_items": 80},
    "model": {"embedding_size": 16, "num_query_tokens": 2, "token_size": 8},
    "model.quantizer.codebook_size": 16,
    "train.epochs": 2,
    "train.batch_size": 64,
    "train.loss.num_negatives": 32,
    "train.monitor": "ndcg@10",
    "crosses.kind": "none",
    "index.top_l": 40,
    "eval.ks": [5, 10],
    "eval.latency_queries": 0,
    "eval.fidelity_queries": 0,
    "export.verify_queries": 10,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sparcode.api.Run:  # type: ignore[name-defined]
    home = tmp_path_factory.mktemp("face")
    (home / "own.yaml").write_text("data:\n  name: shop\n", encoding="utf-8")
    overrides = {**SMALL, "data.dataset_dir": str(home / "data")}
    return sparcode.fit(home / "own.yaml", output_dir=home / "run", overrides=overrides)


def test_fit_leaves_a_run_that_can_be_loaded(run) -> None:
    assert (run.path / "checkpoints" / "best.ckpt").is_file()
    again = sparcode.load(run.path)
    assert again.config == run.config
    assert (again.config.data.name, again.config.train.epochs) == ("shop", 2)
    assert repr(again) == f"Run({str(run.path)!r}: sparcode on shop)"


def test_evaluate_gives_the_report_of_the_command(run) -> None:
    report = run.evaluate()
    assert (report["dataset"], report["retriever"], report["split"]) == ("shop", "index", "test")
    assert set(report["metrics"]) >= {"recall@5", "ndcg@10"}
    assert 0 < report["metrics"]["recall@10"] <= 1
    popular = sparcode.evaluate(run.path, split="valid", retriever="popularity", overrides={"eval.ks": [3]})
    assert (popular["model"], popular["split"]) == ("popularity", "valid")
    assert "recall@3" in popular["metrics"]
    assert "recall@10" not in popular["metrics"]


def test_an_exported_bundle_recommends(run) -> None:
    report = sparcode.export(run.path, run.path / "bundle")
    assert report.verification.num_queries == 10
    retriever = Retriever.load(report.path)
    history = [retriever.recommend([{"history": []}], k=1)[0][0][0]]  # the most popular item
    (items,) = retriever.recommend([{"history": history}], k=5, exclude_seen=True)
    assert len(items) == 5
    assert history[0] not in {item for item, _ in items}


def test_what_cannot_be_is_refused_by_name(run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs \(overrides\['train\.epochs'\]\).*integer > 0"):
        sparcode.fit(output_dir=tmp_path / "run", overrides={"train.epochs": 0})
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="cannot be set after training"):
        run.evaluate(overrides={"train.epochs": 3})
    with pytest.raises(UsageError, match="unknown split"):
        run.evaluate(split="train")
    with pytest.raises(UsageError, match="hnsw cannot serve a sparcode model"):
        run.evaluate(retriever="hnsw")
    with pytest.raises(ConfigError, match=r"no config\.yaml in the run directory"):
        sparcode.load(tmp_path)
