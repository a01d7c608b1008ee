"""tune.py: real trials of a tiny data set, and the study's bookkeeping over a training that is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from helpers import ring_config
from sparcode.config.arguments import TrainArguments
from sparcode.config.loader import dump_config, load_config
from sparcode.entry import run_entry
from sparcode.errors import TrainingError

pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
SPACE = """
common:
  train.learning_rate: {low: 0.001, high: 0.1, log: true}
  model.embedding_size: {choices: [8, 16]}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration of one epoch and a small space."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    values = {"train.epochs": 1, "train.validation_users": 20, "model.name": "two_tower"}
    (tmp_path / "ring.yaml").write_text(dump_config(ring_config(tmp_path, values)), encoding="utf-8")
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    return tmp_path


def tune(*argv: str, repeat_seeds: int = 1) -> int:
    import tune as script

    flags = ["--config_path", "ring.yaml", "--space", "space.yaml", "--output_dir", "study"]
    return run_entry(script.main, [*flags, "--repeat_seeds", str(repeat_seeds), *argv])


def trials(home: Path) -> pd.DataFrame:
    return pd.read_csv(home / "study" / "trials.csv", index_col="trial", float_precision="round_trip")


def test_two_trials_leave_a_configuration_that_trains(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune("--trials", "2") == 0
    out = capsys.readouterr().out
    assert "2 complete; valid ndcg@10" in out
    table = trials(home)
    assert table["state"].tolist() == ["complete"] * 2
    assert table.loc[0, "train.learning_rate"] == 0.01  # the configuration itself comes first
    best = int(table["value"].idxmax())
    config = load_config(home / "study" / "best.yaml")
    assert config.train.learning_rate == table.loc[best, "train.learning_rate"]
    assert config.model.embedding_size == table.loc[best, "model.embedding_size"]
    assert config.data == load_config(home / "ring.yaml").data
    kept = [str(path.relative_to(home / "study")) for path in (home / "study").rglob("*.ckpt")]
    assert kept == [f"trials/{best:04d}/checkpoints/best.ckpt"]

    from sparcode.pipeline.train import train_run

    train_run(TrainArguments(config, home / "trained", resume=False))
    assert (home / "trained" / "checkpoints" / "best.ckpt").is_file()


class Training:
    """Stands for ``fit_run``: a value by learning rate and seed, with what a test wants to go wrong."""

    def __init__(self, fail: dict[int, BaseException] | None = None, lucky: bool = False) -> None:
        self.fail, self.lucky = fail or {}, lucky
        self.calls: list[tuple[str, int]] = []

    def __call__(self, arguments: TrainArguments, after_epoch: Any = None) -> Any:
        config = arguments.config
        self.calls.append((arguments.output_dir.name, config.seed))
        (arguments.output_dir / "checkpoints").mkdir(parents=True)
        for name in ("best", "last"):
            (arguments.output_dir / "checkpoints" / f"{name}.ckpt").touch()
        if len(self.calls) - 1 in self.fail:
            raise self.fail[len(self.calls) - 1]
        value = 0.5 - config.train.learning_rate
        if self.lucky and arguments.output_dir.name.startswith("0000"):
            value = 0.9 if config.seed == 0 else 0.1
        if after_epoch is not None:
            for epoch in range(1, 9):
                after_epoch({"epoch": epoch, "valid": {"ndcg@10": value}})
        return SimpleNamespace(state=SimpleNamespace(best=value))


def play(training: Training, monkeypatch: pytest.MonkeyPatch) -> Training:
    from sparcode.pipeline import tune as pipeline

    monkeypatch.setattr(pipeline, "fit_run", training)
    return training


def test_an_interrupted_study_continues_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = play(Training({2: KeyboardInterrupt()}), monkeypatch)
    assert tune("--trials", "4") == 130
    assert len(first.calls) == 3
    assert trials(home)["state"].tolist() == ["complete", "complete", "interrupted"]
    lost = trials(home).loc[2, "train.learning_rate"]
    second = play(Training(), monkeypatch)
    assert tune("--trials", "4") == 0
    assert [name for name, _ in second.calls] == ["0003", "0004"]
    assert trials(home).loc[3, "train.learning_rate"] == pytest.approx(lost)
    assert not (home / "study" / "trials" / "0002").exists()
    third = play(Training(), monkeypatch)
    assert tune("--trials", "4") == 0  # nothing is left to do
    assert third.calls == []


def test_a_trial_that_diverges_is_recorded_and_not_fatal(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(Training({1: TrainingError("the loss became nan")}), monkeypatch)
    assert tune("--trials", "3") == 0
    table = trials(home)
    assert table["state"].tolist()[:2] == ["complete", "failed"]
    assert table.loc[1, "error"] == "the loss became nan"
    assert "1 failed" in capsys.readouterr().out
    assert tune("--trials", "3") == 0
    assert len(trials(home)) == 3  # a failed trial is done


def test_a_study_in_which_nothing_succeeds_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(Training({number: TrainingError("the loss became nan") for number in range(2)}), monkeypatch)
    assert tune("--trials", "2") == 1
    assert "no trial came to its end; received the loss became nan" in capsys.readouterr().err


def test_the_best_three_are_repeated_and_the_best_mean_wins(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = play(Training(lucky=True), monkeypatch)
    assert tune("--trials", "4", repeat_seeds=3) == 0
    repeated = [(name.partition("-")[0], seed) for name, seed in training.calls[4:]]
    assert len(repeated) == 6
    assert sorted({seed for _, seed in repeated}) == [1, 2]
    table = trials(home)
    assert table["value"].idxmax() == 0
    assert table.loc[0, "mean"] == pytest.approx((0.9 + 0.1 + 0.1) / 3)
    best = load_config(home / "study" / "best.yaml")
    three = table[table["seeds"] == 3]
    assert best.train.learning_rate == three.loc[three["mean"].idxmax(), "train.learning_rate"]
    assert three["mean"].idxmax() != 0
    assert best.seed == 0
    assert tune("--trials", "4", repeat_seeds=3) == 0
    assert len(training.calls) == 10  # repetitions are not done again
    assert len(list((home / "study").rglob("*.ckpt"))) == 1


def test_worse_trials_are_pruned(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(Training(), monkeypatch)
    assert tune("--trials", "12") == 0
    pruned = trials(home).query("state == 'pruned'")
    assert len(pruned) >= 1
    assert (pruned["epochs"] < 8).all()
    assert pruned["value"].max() <= trials(home)["value"].max()


def test_another_configuration_in_the_same_directory_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(Training(), monkeypatch)
    assert tune("--trials", "1") == 0
    assert tune("--trials", "2", "--set", "train.epochs=2") == 2
    assert "study: the study there is of another configuration" in capsys.readouterr().err
