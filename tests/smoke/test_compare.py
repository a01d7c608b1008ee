"""compare.py on trained runs of a tiny data set: the table, reuse of stored metrics, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import ring_config
from sparcode.entry import run_entry
from sparcode.evaluation.per_user import read_per_user

ROOT = Path(__file__).parents[2]

SHORT: dict[str, Any] = {"train.epochs": 1, "train.validation_users": 20, "crosses.kind": "following"}
RUNS: dict[str, dict[str, Any]] = {
    "tower": {**SHORT, "model.name": "two_tower"},
    "codes": {**SHORT, "seed": 1, "index.packing": "float32"},
    "other": {**SHORT, "model.name": "two_tower", "data.protocol": "ratio", "data.dataset_dir": "ratio"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with three trained runs, one of another split."""
    from sparcode.config.arguments import TrainArguments
    from sparcode.pipeline.train import train_run

    home = tmp_path_factory.mktemp("compare")
    for name, values in RUNS.items():
        values = dict(values)
        if "data.dataset_dir" in values:
            values["data.dataset_dir"] = str(home / values["data.dataset_dir"])
        train_run(TrainArguments(ring_config(home, values), home / name, resume=False))
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(ROOT))


def compare(*argv: str) -> int:
    import compare as script

    return run_entry(script.main, list(argv))


def test_the_table_has_baselines_and_every_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("tower", "codes", "--exact", "--json", "out.json", "--plot", "out.png") == 0
    text = capsys.readouterr().out
    result = json.loads((home / "out.json").read_text("utf-8"))
    names = ["popularity", "crosses", "tower (exact)", "codes (index)", "codes (exact)"]
    assert [row["name"] for row in result["systems"]] == names
    assert all(f"\n{name} " in text for name in names)
    assert "written to out.json" in text
    assert (home / "out.png").read_bytes().startswith(b"\x89PNG")
    assert result["baseline"] == "tower (exact)"
    assert result["differing_keys"]["model.name"] == ["two_tower", "sparcode"]
    assert result["differing_keys"]["seed"] == [0, 1]
    assert not any("dataset_dir" in key for key in result["differing_keys"])
    rows = {row["name"]: row for row in result["systems"]}
    own = rows["tower (exact)"]["metrics"]["ndcg@10"]
    assert own["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    codes = rows["codes (index)"]["metrics"]["ndcg@10"]
    assert codes["difference"]["value"] == pytest.approx(codes["value"] - own["value"])
    assert codes["low"] <= codes["value"] <= codes["high"]
    assert rows["codes (index)"]["size_bytes"] > 0
    assert set(rows["codes (index)"]["microseconds"]) == {"encode", "search"}


def test_stored_metrics_are_those_of_the_table_and_are_used_again(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare("tower", "--json", "first.json") == 0
    result = json.loads((home / "first.json").read_text("utf-8"))
    stored = read_per_user(home / "tower" / "per_user" / "test-exact.parquet")
    row = next(row for row in result["systems"] if row["name"] == "tower (exact)")
    assert stored.metrics["ndcg@10"].mean() == pytest.approx(row["metrics"]["ndcg@10"]["value"])

    from sparcode.pipeline import compare as pipeline

    def refuse(*args: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure", refuse)
        assert compare("tower", "--json", "second.json") == 0
        assert json.loads((home / "second.json").read_text("utf-8")) == result
        assert compare("tower", "--set", "eval.ks=[3]") == 1  # other settings: to be measured
    shutil.copytree(home / "codes", home / "moved")
    shutil.rmtree(home / "moved" / "per_user", ignore_errors=True)
    shutil.copytree(home / "tower" / "per_user", home / "moved" / "per_user")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure", refuse)
        assert compare("moved") == 1  # another checkpoint
    capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tower", "other"], "other: the run has another data set, or another split of it, than tower"),
        (["tower", "tower/../tower"], "a run is named twice"),
        (["tower", "codes", "--baseline", "other"], "the baseline is none of the runs"),
        (["tower", "--metrics", "ndcg@7"], "--metrics: not measured"),
        (["tower", "nowhere"], "nowhere: no config.yaml in the run directory"),
        (["tower", "--set", "seed=3"], "seed cannot be set after training"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"error: {message}" in printed.err or message in printed.err.splitlines()[-1]
    if "other" in argv and "--baseline" not in argv:
        assert "data.protocol ('leave_one_out' there, 'ratio' here)" in printed.err


def test_runs_of_other_users_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(home / "codes", home / "fewer")
    path = home / "fewer" / "config.yaml"
    text = path.read_text("utf-8")
    assert "max_users: 0" in text
    path.write_text(text.replace("max_users: 0", "max_users: 7"), encoding="utf-8")
    assert compare("tower", "fewer") == 2
    assert "fewer: the run is evaluated with another eval.max_users than tower" in capsys.readouterr().err
    assert compare("tower", "fewer", "--set", "eval.max_users=7") == 0
    assert "7 users" in capsys.readouterr().out


def test_a_baseline_need_not_be_the_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("tower", "codes", "--baseline", "codes", "--json", "based.json", "--split", "valid") == 0
    result = json.loads((home / "based.json").read_text("utf-8"))
    assert (result["baseline"], result["split"]) == ("codes (index)", "valid")
    capsys.readouterr()
