"""The training loop: exact resume, early stopping, divergence, what a run leaves behind."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import ring_config, tiny_config, tiny_dataset
from sparcode.config.command_lines import EvalArguments, TrainArguments
from sparcode.config.schema import Config
from sparcode.data.batching import BatchOptions, make_batches
from sparcode.errors import CheckpointError, ConfigError, OutputError, TrainingError
from sparcode.model.factory import build_network
from sparcode.pipeline import runs
from sparcode.pipeline import train as train_pipeline
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.training import loop
from sparcode.training.checkpoint import read_checkpoint
from sparcode.training.loop import Trainer, TrainerParts
from sparcode.training.world import World

TIMES = ("samples_per_second", "train_seconds")
STEPS = 6
"""Steps of an epoch: the windows of 60 users in batches of 16."""

BASE: dict[str, Any] = {"train.epochs": 4, "train.quantize_from": 0.5, "train.validation_users": 30}
SASREC: dict[str, Any] = {
    **BASE,
    "model.encoder.name": "sasrec",
    "model.encoder.dropout": 0.2,
    "train.loss.negatives": "mixed",
}


class Killed(BaseException):
    """Stands for the process being killed: nothing in the loop may catch it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ring")


def train(config: Config, run_dir: Path, resume: bool = False) -> None:
    train_pipeline.train_run(TrainArguments(config, run_dir, resume))


def train_and_die(config: Config, run_dir: Path, after_steps: int, resume: bool = False) -> None:
    """Train until the process is killed in the middle of an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "EpochProgress", _killer(after_steps))
        with pytest.raises(Killed):
            train(config, run_dir, resume)


def _killer(after_steps: int) -> type:
    class DyingProgress(loop.EpochProgress):
        def __init__(self, title: str, steps: int, total: int, done: int, note: str) -> None:
            super().__init__(title, steps, total, done, note)
            self.steps_done = done

        def advance(self, samples: int, loss: float) -> None:
            super().advance(samples, loss)
            self.steps_done += 1
            if self.steps_done == after_steps:
                raise Killed

    return DyingProgress


def records(run_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the times."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        for key in TIMES:
            row.pop(key)
        row.get("valid", {}).pop("seconds", None)
    return rows


def parameters(run_dir: Path, name: str = "last") -> dict[str, np.ndarray]:
    stored, _ = read_checkpoint(run_dir / "checkpoints" / f"{name}.ckpt")
    return {key: np.asarray(value.asnumpy()) for key, value in stored.items()}


@pytest.fixture(scope="module")
def straight(home: Path) -> Path:
    """Four epochs of SASRec with dropout, without interruption."""
    train(ring_config(home, SASREC), home / "straight")
    return home / "straight"


def test_metrics_cover_both_phases(straight: Path) -> None:
    rows = records(straight)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [STEPS, 2 * STEPS, 3 * STEPS, 4 * STEPS]
    assert [row["quantized"] for row in rows] == [False, False, True, True]
    assert [row["commitment_loss"] > 0 for row in rows] == [False, False, True, True]
    assert ["codebook" in row for row in rows] == [False, False, True, True]
    for row in rows:
        commitment = 0.25 * row["commitment_loss"]
        assert row["loss"] == pytest.approx(row["softmax_loss"] + commitment, rel=1e-5)
        assert set(row["valid"]) >= {"ndcg@10", "recall@5", "recall@10"}
    assert rows[-1]["softmax_loss"] < rows[0]["softmax_loss"]
    assert 0 < rows[-1]["codebook"]["usage"] <= 1
    assert 1 <= rows[-1]["codebook"]["perplexity"] <= 4
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0.01 * (1 - (epoch * STEPS - 1) / (4 * STEPS)) for epoch in (1, 2, 3, 4)]
    )


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(STEPS + 2, id="before-the-codebooks-are-fitted"),
        pytest.param(3 * STEPS + 1, id="after-the-codebooks-are-fitted"),
    ],
)
def test_resuming_is_exact(home: Path, straight: Path, tmp_path: Path, death: int) -> None:
    config = ring_config(home, SASREC)
    train_and_die(config, tmp_path / "run", death)
    assert len(records(tmp_path / "run")) == death // STEPS
    train(config, tmp_path / "run", resume=True)
    assert records(tmp_path / "run") == records(straight)
    mine, theirs = parameters(tmp_path / "run"), parameters(straight)
    assert mine.keys() == theirs.keys()
    assert {"quantizer.codebooks", "quantizer.ema_sums", "quantizer.ema_counts"} <= mine.keys()
    assert any(key.startswith("moment1") for key in mine)
    for key, value in mine.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_the_comparison_can_fail(home: Path, straight: Path, tmp_path: Path) -> None:
    """Self-test: another seed gives other losses, so equal losses mean something."""
    train_and_die(ring_config(home, {**SASREC, "seed": 1}), tmp_path / "run", STEPS + 1)
    assert records(tmp_path / "run")[0]["loss"] != records(straight)[0]["loss"]


def test_resuming_a_finished_run_changes_nothing(home: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    before = parameters(tmp_path / "run")
    train(ring_config(home, SASREC), tmp_path / "run", resume=True)
    assert records(tmp_path / "run") == records(straight)
    for key, value in parameters(tmp_path / "run").items():
        np.testing.assert_array_equal(value, before[key])


def test_best_is_the_best_quantized_epoch_and_last_is_the_last(straight: Path) -> None:
    _, last = read_checkpoint(straight / "checkpoints" / "last.ckpt")
    stored, best = read_checkpoint(straight / "checkpoints" / "best.ckpt")
    rows = records(straight)
    assert (last.epoch, last.step, last.quantized) == (4, 4 * STEPS, True)
    assert last.metrics == rows[-1]["valid"]
    assert best.quantized
    quantized = {row["epoch"]: row["valid"]["ndcg@10"] for row in rows if row["quantized"]}
    assert best.epoch == max(quantized, key=lambda epoch: (quantized[epoch], -epoch))
    assert best.metrics["ndcg@10"] == max(quantized.values())
    assert last.state["best"] == best.metrics["ndcg@10"]
    assert last.state["best_epoch"] == best.epoch
    assert best.config["model"]["encoder"]["name"] == "sasrec"
    assert not any(key.startswith("moment") for key in stored)
    assert sorted(path.name for path in (straight / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_run_is_opened_with_the_weights_of_its_best_checkpoint(home: Path, straight: Path) -> None:
    run = runs.open_run(ring_config(home, SASREC), straight)
    stored = parameters(straight, "best")
    for parameter in run.network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), stored[parameter.name])


def test_a_second_run_into_the_same_directory_is_refused(home: Path, straight: Path) -> None:
    with pytest.raises(OutputError, match="already holds a run; add --resume"):
        train(ring_config(home, SASREC), straight)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"train.learning_rate": 0.02}, "train.learning_rate"),
        ({"model.quantizer.codebook_size": 8}, "model.quantizer.codebook_size"),
        ({"seed": 5}, "seed"),
        ({"data.max_history": 4}, "data.max_history"),
    ],
)
def test_resuming_with_another_configuration_names_the_key(
    home: Path, straight: Path, change: dict[str, Any], key: str
) -> None:
    with pytest.raises(CheckpointError, match=f"another configuration; received different {key};"):
        train(ring_config(home, {**SASREC, **change}), straight, resume=True)


def test_evaluation_settings_may_change_on_resume(home: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    train(ring_config(home, {**SASREC, "eval.threads": 2}), tmp_path / "run", resume=True)


def test_resuming_without_a_run(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.ckpt: there is no checkpoint; train first"):
        train(ring_config(home, BASE), tmp_path / "run", resume=True)


def test_resuming_from_a_damaged_checkpoint(home: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="the checkpoint is damaged"):
        train(ring_config(home, SASREC), tmp_path / "run", resume=True)


def test_resuming_on_other_data(home: Path, straight: Path, tmp_path: Path) -> None:
    lines = (home / "ring.txt").read_text("utf-8").splitlines()
    (tmp_path / "ring.txt").write_text("\n".join(lines[:-1]) + "\n", "utf-8")
    shutil.copytree(straight, tmp_path / "run")
    with pytest.raises(CheckpointError, match="trained on another data set"):
        train(ring_config(tmp_path, SASREC), tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match="trained on another data set"):
        runs.open_run(ring_config(tmp_path, SASREC), tmp_path / "run")


# ---- the loop alone, on small models and with a scripted validation

LEVELS = np.array([0.0, 100.0, 200.0, 300.0])
"""What the codebooks are fitted on."""


def trainer(config: Config, run_dir: Path, values: list[float]) -> Trainer:
    """A trainer on the in-memory ring whose validations give these values, one after the other."""
    dataset = tiny_dataset(features=False)
    network = build_network(config.model, runs.data_shape(config, dataset))
    batches = make_batches(dataset, BatchOptions(16, 6, 4, 0))
    scripted = iter(values)
    parts = TrainerParts(
        network,
        batches,
        train_pipeline.step_inputs(config, dataset, network, batches),
        lambda quantized: {"ndcg@10": next(scripted)},
        lambda: np.repeat(LEVELS, 3 * 4).reshape(4, 3, 4).astype(np.float32),
        dataset.fingerprint,
        World(),
    )
    return Trainer(config, parts, run_dir)


def test_early_stopping_counts_validations_without_improvement(tmp_path: Path) -> None:
    config = tiny_config({"model.name": "two_tower", "train.epochs": 9, "train.patience": 2})
    state = trainer(config, tmp_path, [0.1, 0.3, 0.3, 0.2, 0.9]).fit(resume=False)
    assert (state.epoch, state.best, state.best_epoch, state.stale) == (4, 0.3, 2, 2)
    _, best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert (best.epoch, best.metrics) == (2, {"ndcg@10": 0.3})
    resumed = trainer(config, tmp_path, []).fit(resume=True)
    assert resumed.epoch == 4


def test_validation_every_second_epoch_and_always_at_the_end(tmp_path: Path) -> None:
    config = tiny_config({"model.name": "two_tower", "train.epochs": 3, "train.validate_every": 2})
    trainer(config, tmp_path, [0.1, 0.2]).fit(resume=False)
    assert ["valid" in row for row in records(tmp_path)] == [False, True, True]


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config({"model.name": "two_tower", "train.epochs": 3})
    broken = trainer(config, tmp_path, [0.1, 0.2, 0.3])
    steps = broken._parts.batches.steps_per_epoch
    monkeypatch.setattr(loop, "learning_rate_at", lambda _, step, total: 1e30 if step >= steps else 1e-3)
    with pytest.raises(TrainingError) as caught:
        broken.fit(resume=False)
    message = str(caught.value)
    assert re.match(rf"epoch 2: the loss became (nan|inf) at step {steps + 2}; ", message)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert f"the last good checkpoint is {last}" in message
    assert "lower train.learning_rate" in message
    stored, meta = read_checkpoint(last)
    assert (meta.epoch, meta.step) == (1, steps)
    assert all(np.isfinite(value.asnumpy()).all() for value in stored.values())
    assert [row["epoch"] for row in records(tmp_path)] == [1]


def test_a_loss_that_is_not_finite_in_the_first_epoch(tmp_path: Path) -> None:
    config = tiny_config({"model.name": "two_tower", "train.learning_rate": 1e30})
    with pytest.raises(TrainingError, match="no checkpoint was written yet"):
        trainer(config, tmp_path, []).fit(resume=False)
    assert records(tmp_path) == []


def test_the_best_value_is_forgotten_at_the_border_and_collapse_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Codewords far from every token: only one of four is ever used."""
    values = {"train.epochs": 2, "train.quantize_from": 0.5, "train.collapse_warning": 0.5}
    with caplog.at_level(logging.INFO, "sparcode"):
        state = trainer(tiny_config(values), tmp_path, [0.9, 0.1]).fit(resume=False)
    assert (state.best, state.best_epoch, state.quantized) == (0.1, 2, True)
    _, best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert best.epoch == 2
    assert records(tmp_path)[1]["codebook"] == {"usage": 0.25, "perplexity": pytest.approx(1.0)}
    assert "codebook collapse: only 25 % of the codewords are used" in caplog.text
    assert "epoch 1: codebooks fitted by k-means on 4 queries" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_the_last_epoch_is_always_quantized(tmp_path: Path, share: float) -> None:
    config = tiny_config({"train.epochs": 3, "train.quantize_from": share})
    epoch = trainer(config, tmp_path, [])._quantize_epoch
    assert epoch == {0.0: 0, 0.3: 1, 0.99: 2}[share]


def test_a_run_leaves_tensorboard_events(straight: Path) -> None:
    assert list((straight / "tensorboard").glob("events.out.tfevents.*"))
    assert math.isfinite(records(straight)[0]["loss"])


# ---- codebooks that are fitted when training is over

LATE: dict[str, Any] = {**SASREC, "train.quantize_from": 1.0, "train.epochs": 2}


@pytest.fixture(scope="module")
def late(home: Path) -> Path:
    train(ring_config(home, LATE), home / "late")
    return home / "late"


def test_without_a_second_phase_no_epoch_has_codes_and_the_end_has(late: Path) -> None:
    rows = records(late)
    assert [row["quantized"] for row in rows] == [False, False]
    assert [row["commitment_loss"] for row in rows] == [0, 0]
    assert not any("codebook" in row for row in rows)
    _, best = read_checkpoint(late / "checkpoints" / "best.ckpt")
    _, last = read_checkpoint(late / "checkpoints" / "last.ckpt")
    assert best.quantized
    assert last.quantized
    assert last.metrics == best.metrics
    assert parameters(late, "best")["quantizer.codebooks"].any()


def test_resuming_between_the_last_epoch_and_the_fitting_is_exact(
    home: Path, late: Path, tmp_path: Path
) -> None:
    def die(_: Trainer) -> None:
        raise Killed

    config = ring_config(home, LATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_quantize_best", die)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    assert not parameters(tmp_path / "run", "best")["quantizer.codebooks"].any()
    train(config, tmp_path / "run", resume=True)
    assert records(tmp_path / "run") == records(late)
    for name in ("best", "last"):
        mine, theirs = parameters(tmp_path / "run", name), parameters(late, name)
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_codebooks_are_fitted_to_the_best_epoch(tmp_path: Path) -> None:
    config = tiny_config({"train.epochs": 3, "train.quantize_from": 1.0})
    one = trainer(config, tmp_path, [0.3, 0.1, 0.2, 0.15])
    plain, seen = one._parts.validate, []

    def watched(quantized: bool) -> dict[str, float]:
        seen.append((quantized, one._network.tower.id_table.asnumpy().copy()))
        return plain(quantized)

    one._parts = replace(one._parts, validate=watched)
    state = one.fit(resume=False)
    assert [quantized for quantized, _ in seen] == [False, False, False, True]
    np.testing.assert_array_equal(seen[3][1], seen[0][1])
    assert (seen[2][1] != seen[0][1]).any()
    assert (state.best, state.best_epoch, state.quantized) == (0.15, 1, True)
    assert set(one._steps) == {False}  # no step with codes was ever made
    stored, best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert (best.quantized, best.metrics) == (True, {"ndcg@10": 0.15})
    np.testing.assert_array_equal(stored["tower.id_table"].asnumpy(), seen[0][1])
    books = stored["quantizer.codebooks"].asnumpy().reshape(-1, 4, 2)
    np.testing.assert_allclose(np.sort(books, 1), np.broadcast_to(LEVELS[:, None], books.shape), atol=1)


def test_a_run_that_stopped_early_is_not_trained_on_after_the_fitting(tmp_path: Path) -> None:
    config = tiny_config({"train.epochs": 9, "train.patience": 2, "train.quantize_from": 1.0})
    state = trainer(config, tmp_path, [0.3, 0.2, 0.1, 0.05]).fit(resume=False)
    assert (state.epoch, state.best, state.best_epoch, state.quantized) == (3, 0.05, 1, True)
    assert trainer(config, tmp_path, []).fit(resume=True).epoch == 3


@pytest.mark.parametrize("model", ["sparcode", "two_tower"])
def test_a_checkpoint_is_chosen_as_it_is_served(tmp_path: Path, model: str) -> None:
    """Validation has the crosses and probes of serving: evaluation with them finds its metric."""
    values = {"model.name": model, "crosses.kind": "following", "index.probes": 3, "train.epochs": 3}
    config, run_dir = ring_config(tmp_path, {**values, "eval.latency_queries": 0}), tmp_path / "run"
    train(config, run_dir)
    _, meta = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
    weight, monitor = meta.metrics["cross_weight"], config.train.monitor
    assert weight > 0
    given = config.model_copy(update={"crosses": config.crosses.model_copy(update={"weight": weight})})
    retriever = "index" if model == "sparcode" else "exact"
    report = evaluate_run(EvalArguments(given, run_dir, "valid", retriever, None))
    assert report["crosses"]["weight"] == weight
    assert report["metrics"][monitor] == pytest.approx(meta.metrics[monitor], abs=1e-6)
    if model == "sparcode":
        assert runs.open_run(config, run_dir).network.quantizer.probes == 3


def test_a_split_without_targets_is_refused_in_a_sentence(tmp_path: Path) -> None:
    values = {"model.name": "two_tower", "train.epochs": 1, "data.protocol": "ratio", "data.test_ratio": 0.0}
    config = ring_config(tmp_path, values)
    train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"no user .* has a target in the test split"):
        evaluate_run(EvalArguments(config, tmp_path / "run", "test", "exact", None))
