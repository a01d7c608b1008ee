"""The public face: fit, evaluate, recommend, export, load, as a reader of docs/python.md uses them."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import sparcode
from own_shop import write_shop
from sparcode.api import BundleDirectory, Report, Run
from sparcode.api.quiet import shown
from sparcode.data.dataset import Dataset
from sparcode.errors import CheckpointError, ConfigError, DataError, OutputError, UsageError
from sparcode.serving import Retriever

ROOT = Path(__file__).parents[2]

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
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of the built-in data, by a configuration."""
    home = tmp_path_factory.mktemp("face")
    (home / "own.yaml").write_text("data:\n  name: shop\n", encoding="utf-8")
    overrides = {**SMALL, "data.dataset_dir": str(home / "data")}
    return sparcode.fit(home / "own.yaml", output_dir=home / "run", overrides=overrides)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    home = write_shop(tmp_path_factory.mktemp("shop"), junk=False)
    return {name: pd.read_csv(home / f"{name}.csv") for name in ("views", "items", "users")}


@pytest.fixture(scope="module")
def frames_run(shop: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of data frames."""
    return fit_shop(shop, tmp_path_factory.mktemp("frames") / "own")


def fit_shop(shop: dict[str, pd.DataFrame], run_dir: Path, **options: Any) -> Run:
    given = {
        "items": shop["items"],
        "users": shop["users"],
        "overrides": {**SMALL, "crosses.kind": "auto"},
        **options,
    }
    return sparcode.fit(shop["views"], output_dir=run_dir, **given)


def test_fit_leaves_a_run_that_can_be_loaded(run: Run) -> None:
    assert (run.path / "checkpoints" / "best.ckpt").is_file()
    again = sparcode.load(run.path)
    assert isinstance(again, Run)
    assert again.config == run.config
    assert (again.config.data.name, again.config.train.epochs) == ("shop", 2)
    assert repr(again) == f"Run({str(run.path)!r}: sparcode on shop)"


def test_evaluate_gives_the_report_of_the_command_beside_the_baselines(run: Run) -> None:
    report = run.evaluate(per_user=True)
    assert (report["dataset"], report["retriever"], report["split"]) == ("shop", "index", "test")
    assert set(report) >= {"metrics", "fidelity", "index", "latency_ms", "num_queries"}
    assert set(report.metrics) >= {"recall@5", "ndcg@10"}
    assert report.per_user is not None
    assert len(report.per_user) == report["num_queries"]
    assert report.per_user["ndcg@10"].mean() == pytest.approx(report.metrics["ndcg@10"])
    alone = sparcode.evaluate(run.path, retriever="popularity", baselines=False)
    assert alone.baselines == {}
    assert alone.per_user is None
    assert report.baselines["popularity"] == pytest.approx(alone.metrics)
    table = report.to_pandas()
    assert list(table.index) == ["popularity", "sparcode, by index"]  # without crosses in SMALL
    assert table.loc["sparcode, by index", "ndcg@10"] == report.metrics["ndcg@10"]
    lines = repr(report).splitlines()
    assert lines[0] == "shop, test split: 200 users, 80 items"
    assert lines[1].split() == ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]
    assert lines[3].endswith(f"{report.metrics['ndcg@10']:.4f}")
    assert max(map(len, lines)) <= 80
    assert f"{report.metrics['ndcg@10']:.4f}" in report._repr_html_()


def test_a_report_with_other_cuts_of_the_validation_split(run: Run) -> None:
    popular = sparcode.evaluate(run.path, split="valid", retriever="popularity", overrides={"eval.ks": [3]})
    assert isinstance(popular, Report)
    assert (popular["model"], popular["split"]) == ("popularity", "valid")
    assert "recall@3" in popular.metrics
    assert "recall@10" not in popular.metrics


def test_an_exported_bundle_recommends(run: Run) -> None:
    bundle = sparcode.export(run.path, run.path / "bundle")
    assert bundle.report is not None
    assert bundle.report.verification.num_queries == 10
    assert repr(bundle).startswith(f"BundleDirectory({str(run.path / 'bundle')!r}: sparcode, 80 items, ")
    again = sparcode.load(bundle.path)
    assert isinstance(again, BundleDirectory)
    assert again.manifest == bundle.manifest
    retriever = again.load()
    assert isinstance(retriever, Retriever)
    history = [retriever.recommend([{"history": []}], k=1)[0][0][0]]  # the most popular item
    (items,) = retriever.recommend([{"history": history}], k=5, exclude_seen=True)
    assert len(items) == 5
    assert history[0] not in {item for item, _ in items}


def test_a_run_of_data_frames_holds_its_data(frames_run: Run, shop, tmp_path: Path, monkeypatch) -> None:
    data = frames_run.config.data
    assert (data.name, data.source, data.dataset_dir) == ("own", "table", str(frames_run.path / "dataset"))
    assert data.table.items.features["category"].kind == "path"
    made = Dataset.load(frames_run.path / "dataset")
    assert (made.num_users, made.num_items) == (60, 40)
    shutil.copytree(frames_run.path, tmp_path / "elsewhere" / "copy")
    monkeypatch.chdir(tmp_path)
    moved = sparcode.load("elsewhere/copy")
    assert isinstance(moved, Run)
    assert moved.config.data.dataset_dir == "elsewhere/copy/dataset"
    report = moved.evaluate(split="valid")
    assert report.metrics == frames_run.evaluate(split="valid", baselines=False).metrics
    weight = {"crosses.weight": 1.0}
    crosses = frames_run.evaluate(split="valid", retriever="crosses", baselines=False, overrides=weight)
    assert report.baselines["crosses alone"] == pytest.approx(crosses.metrics)


def test_users_get_what_they_have_not_had_with_titles(frames_run: Run, shop, tmp_path: Path) -> None:
    found = frames_run.recommend(users=["u7", "u3"], k=4)
    assert list(found.columns) == ["user", "item", "title", "score", "rank"]
    assert found.user.tolist() == ["u7"] * 4 + ["u3"] * 4
    assert found["rank"].tolist() == [1, 2, 3, 4] * 2
    for user, rows in found.groupby("user"):
        views = shop["views"]
        assert not set(rows.item) & set(views.item[views.user == user])
        assert rows.score.is_monotonic_decreasing
    titles = shop["items"].set_index("item_id").title
    assert found.title.tolist() == titles[found.item].tolist()
    # the same as a bundle says of the whole history and the features
    had = shop["views"].query("user == 'u3'").sort_values("event_time").item.tolist()
    bundle = frames_run.export(tmp_path / "bundle", with_histories=True).load()
    place = bundle.bundle.histories.numbers["u3"]
    assert [bundle.bundle.item_ids[item - 1] for item in bundle.bundle.histories.of(place)] == had
    (expected,) = bundle.recommend([{"user": "u3"}], k=4, exclude_seen=True)
    assert found.item[4:].tolist() == [item for item, _ in expected]
    assert found.score[4:].tolist() == pytest.approx([score for _, score in expected], rel=1e-4)


def test_histories_filters_and_items_that_were_seen(frames_run: Run, caplog) -> None:
    histories = [["a1", "a2", "a3"], ["a5"], []]
    cheap = frames_run.recommend(users=["u1"], k=40, where="price < 20", exclude_seen=False)
    assert set(cheap.item) == {f"a{number}" for number in range(1, 15) if number % 9}
    found = frames_run.recommend(histories=histories, k=40, where='brand = "brand1"', exclude_seen=False)
    assert set(found.user) == {0, 1, 2}
    assert set(found.item) == {f"a{number}" for number in range(1, 40, 5)}
    assert "1 of 3 queries know no item: they get the most popular ones" in caplog.text
    unseen = frames_run.recommend(histories=histories, k=40, where='brand = "brand1"')
    assert "a1" not in set(unseen.item[unseen.user == 0])
    assert len(unseen) == len(found) - 1
    empty = frames_run.recommend(users=[])
    assert list(empty.columns) == list(found.columns)
    assert len(empty) == 0


def test_the_index_is_kept_until_the_run_is_trained_on(frames_run: Run) -> None:
    frames_run.recommend(users=["u1"], k=1)
    kept = frames_run._recommender
    frames_run.recommend(users=["u2"], k=1)
    assert frames_run._recommender is kept
    os.utime(frames_run.path / "checkpoints" / "best.ckpt")
    frames_run.recommend(users=["u2"], k=1)
    assert frames_run._recommender is not kept
    once = sparcode.recommend(frames_run.path, users=["u2"], k=1)
    pd.testing.assert_frame_equal(once, frames_run.recommend(users=["u2"], k=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either users or histories"),
        ({"users": ["u1"], "histories": [["a1"]]}, "give either users or histories"),
        ({"users": "u1"}, r"users: not a list of ids; expected a list such as \[.u1.\]; received 'u1'"),
        ({"users": [1.5]}, "users: not an id; expected text or an integer; received 1.5"),
        (
            {"users": ["u1", "x", "y"]},
            "users: unknown users; expected users of the data set .* received 'x', 'y'",
        ),
        ({"histories": ["a1", "a2"]}, "histories: not a list of histories"),
        ({"histories": [["a1", None]]}, "histories: not an id; expected text or an integer; received None"),
        ({"users": ["u1"], "k": 0}, "k out of range"),
        ({"users": ["u1"], "where": 'colour = "red"'}, "colour"),
    ],
)
def test_what_cannot_be_recommended_is_refused(frames_run: Run, arguments, message: str) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        frames_run.recommend(**arguments)


def test_a_directory_that_holds_a_run_is_refused_with_a_remedy(frames_run: Run, shop, tmp_path: Path) -> None:
    before = (frames_run.path / "dataset" / "dataset.json").read_bytes()
    with pytest.raises(OutputError, match=r"already holds a run; choose another output_dir.*resume=True"):
        fit_shop(shop, frames_run.path)
    fewer = {**shop, "views": shop["views"].head(900)}
    with pytest.raises(DataError, match="the data frames are not those that the run was trained on"):
        fit_shop(fewer, frames_run.path, resume=True)
    assert (frames_run.path / "dataset" / "dataset.json").read_bytes() == before
    with pytest.raises(CheckpointError, match="there is no run to resume"):
        fit_shop(shop, tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    same = {name: pl.from_pandas(frame) for name, frame in shop.items()}
    resumed = fit_shop(same, frames_run.path, resume=True)
    assert resumed.config == frames_run.config


def test_what_cannot_be_fitted_is_refused_by_name(run: Run, shop, tmp_path: Path) -> None:
    place, views = tmp_path / "run", shop["views"]
    with pytest.raises(ConfigError, match=r"train\.epochs \(overrides\['train\.epochs'\]\).*integer > 0"):
        sparcode.fit(output_dir=place, overrides={"train.epochs": 0})
    with pytest.raises(ConfigError, match=r"train\.epochs \(overrides\['train\.epochs'\]\).*integer > 0"):
        sparcode.fit(views, output_dir=place, overrides={"train.epochs": 0})
    with pytest.raises(UsageError, match=r"neither a data frame nor.*received 'views\.csv'"):
        sparcode.fit("views.csv", output_dir=place)
    with pytest.raises(UsageError, match="two configurations are given"):
        sparcode.fit("a.yaml", config="b.yaml", output_dir=place)
    with pytest.raises(UsageError, match="items= belongs to a data frame of interactions"):
        sparcode.fit(config=run.config, items=shop["items"], output_dir=place)
    with pytest.raises(UsageError, match="user= belongs to a data frame of interactions"):
        sparcode.fit("own.yaml" if (tmp_path / "own.yaml").exists() else None, user="uid", output_dir=place)
    with pytest.raises(DataError, match="interactions: unknown column 'uid'"):
        sparcode.fit(views, user="uid", output_dir=place)
    with pytest.raises(DataError, match="items: not a data frame"):
        sparcode.fit(views, items=3, output_dir=place)
    assert not place.exists()


def test_what_cannot_be_evaluated_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be set after training"):
        run.evaluate(overrides={"train.epochs": 3})
    with pytest.raises(UsageError, match="unknown split"):
        run.evaluate(split="train")
    with pytest.raises(UsageError, match="hnsw cannot serve a sparcode model"):
        run.evaluate(retriever="hnsw")
    with pytest.raises(ConfigError, match=r"no config\.yaml in the run directory"):
        sparcode.load(tmp_path)


def said(verbose: bool) -> None:
    """Logs as the library does, within what a function shows."""
    with shown(verbose):
        logging.getLogger("sparcode.data").info("reading")
        logging.getLogger("sparcode.data").warning("doubtful: %d", 3)


def test_without_logging_there_are_python_warnings_and_nothing_is_written(monkeypatch, capfd) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logging.getLogger("sparcode").level
    with pytest.warns(sparcode.SparcodeWarning, match="doubtful: 3") as caught:
        said(verbose=False)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said(verbose=True)
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "reading\nwarning: doubtful: 3\n")
    assert logging.getLogger("sparcode").handlers == []
    assert logging.getLogger("sparcode").level == level


def test_where_logging_is_configured_it_gets_each_message_once(monkeypatch, caplog, recwarn) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    said(verbose=False)
    assert caplog.messages == ["doubtful: 3"]
    said(verbose=True)
    assert caplog.messages == ["doubtful: 3", "reading", "doubtful: 3"]
    assert [str(warning.message) for warning in recwarn] == []


def test_the_example_runs_quietly_and_beats_popularity(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg"}
    command = [sys.executable, str(ROOT / "examples" / "own_data.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert all("SparcodeWarning: " in line for line in told), done.stderr
    lines = done.stdout.splitlines()
    (popular,), (crosses,), (model,) = (
        [line.split() for line in lines if line.startswith(name)]
        for name in ("popul", "crosses", "sparcode,")
    )
    assert float(model[-1]) > 1.25 * float(popular[-1])
    assert float(model[-1]) > 0.95 * float(crosses[-1])
    assert (tmp_path / "runs" / "own_data" / "accuracy.png").stat().st_size > 5000
    assert (tmp_path / "runs" / "own_data" / "bundle" / "manifest.json").is_file()
