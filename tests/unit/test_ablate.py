"""The ablations ask for settings that exist, and their tables replace themselves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

from sparcode.config.loader import load_config
from sparcode.config.run import RUN_CONFIG_NAME, load_run_config

ROOT = Path(__file__).parents[2]
BASE = ROOT / "configs" / "ml-1m" / "sparcode_dnn.yaml"


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import ablate

    yield ablate
    for name in ("ablate", "commands"):
        del sys.modules[name]


def test_every_point_and_every_trained_ablation_is_a_valid_configuration(ablate: Any) -> None:
    points = [tuple(point.values()) for point in ablate.points()]
    assert len(points) == len(set(points)) == 1 + sum(len(values) - 1 for values in ablate.VARIED.values())
    assert all(value in ablate.VARIED[name] for name, value in ablate.BASE.items())
    for point in ablate.points():
        load_config(BASE, [ablate.PLAIN, *(f"index.{key}={value}" for key, value in point.items())])
    plain = load_config(BASE, [])
    for title, settings in ablate.TRAINED.items():
        assert (load_config(BASE, settings) != plain) == (title != "as configured")


def test_a_table_replaces_the_one_before_and_leaves_the_others(ablate: Any, tmp_path: Path) -> None:
    page = tmp_path / "ablation.md"
    page.write_text("# Ablations\n")
    row = {"packing": "uint8", "postings_read": 1600, "mb": 13.42, "ndcg@10": 0.36958}
    ablate.rewrite(page, "index", "a", "first\n")
    ablate.rewrite(page, "index", "b", "other\n")
    ablate.rewrite(page, "index", "a", ablate.table_of([row]))
    text = page.read_text()
    assert "first" not in text
    assert "| uint8 | 1,600 | 13.4 | .3696 |\n" in text
    assert text.count("<!-- end -->") == 2
    assert text.index("<!-- index a -->") < text.index("| uint8") < text.index("<!-- index b -->")
    assert "other\n<!-- end -->" in text


def test_settings_of_a_training_do_not_reach_the_evaluations(
    ablate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / RUN_CONFIG_NAME).write_bytes(BASE.read_bytes())
    trained, evaluated = [], []

    def evaluate(run_dir: Path, retriever: str, report: Path, *flags: str) -> dict[str, Any]:
        load_run_config(run, flags[1::2])  # refuses what eval.py refuses
        evaluated.append(flags[1::2])
        metrics = dict.fromkeys(ablate.METRICS, 0.1)
        return {
            "index": {"size_bytes": 1, "postings_read_p50": 9},
            "metrics": metrics,
            "latency_ms": {"search_p50": 1.0},
        }

    monkeypatch.setattr(ablate.commands, "train", lambda config, run_dir, settings: trained.append(settings))
    monkeypatch.setattr(ablate.commands, "training_usage", lambda run_dir: {"cpu_seconds": 60.0})
    monkeypatch.setattr(ablate.commands, "evaluate", evaluate)
    monkeypatch.setattr(ablate, "draw", lambda rows, name, path: None)
    flags = ["--train", str(BASE), "--set", "train.epochs=2", "--set", "eval.max_users=7"]
    monkeypatch.setattr(
        sys, "argv", ["ablate.sh", str(run), *flags, "--work", str(tmp_path), "--docs", str(tmp_path)]
    )
    ablate.main()
    assert len(trained) == len(ablate.TRAINED)
    assert all(settings[-2:] == ["train.epochs=2", "eval.max_users=7"] for settings in trained)
    assert len(evaluated) == len(list(ablate.points())) + len(trained)
    assert sum("eval.max_users=7" in settings for settings in evaluated) == len(list(ablate.points()))
    index, _, trainings = (tmp_path / "ablation.md").read_text().partition("<!-- trained run -->")
    assert index.count("\nWith `--set eval.max_users=7`.\n<!-- end -->") == 1
    assert trainings.count("\nWith `--set train.epochs=2 --set eval.max_users=7`.\n<!-- end -->") == 1


def test_without_a_training_every_setting_reaches_the_evaluations(ablate: Any) -> None:
    arguments = argparse.Namespace(train=None, settings=["train.epochs=2", "evl.max_users=7"])
    assert ablate.evaluation_settings(arguments) == arguments.settings  # which refuse both
