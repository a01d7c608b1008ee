"""Runs that were trained with relative paths, used from another directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcode.config.command_lines import parse_eval
from sparcode.config.loader import dump_config
from sparcode.config.run import check_data_found, load_run_config
from sparcode.config.schema import Config
from sparcode.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with raw data, a data set and a run of them; the working directory is elsewhere."""
    config = Config.model_validate(
        {"data": {"source": "table", "path": "raw/views.csv", "dataset_dir": "datasets/shop"}}
    )
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for directory in ("raw", "datasets/shop", "runs/a/b"):
        (project / directory).mkdir(parents=True)
    elsewhere.mkdir()
    (project / "raw/views.csv").touch()
    (project / "datasets/shop/dataset.json").touch()
    (project / "runs/a/b/config.yaml").write_text(dump_config(config), encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    return project


def test_the_data_are_found_above_the_run(project: Path) -> None:
    data = parse_eval([str(project / "runs/a/b")]).config.data
    assert data.dataset_dir == str(project / "datasets/shop")
    assert data.path == str(project / "raw/views.csv")


def test_paths_stay_as_they_are_where_the_run_was_trained(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    data = parse_eval(["runs/a/b"]).config.data
    assert (data.dataset_dir, data.path) == ("datasets/shop", "raw/views.csv")


def test_a_missing_data_set_is_made_beside_the_raw_data(project: Path) -> None:
    (project / "datasets/shop/dataset.json").unlink()
    (project / "datasets/shop").rmdir()
    data = parse_eval([str(project / "runs/a/b")]).config.data
    assert data.dataset_dir == str(project / "datasets/shop")
    assert data.path == str(project / "raw/views.csv")


def test_a_data_set_without_its_raw_data_is_enough(project: Path) -> None:
    (project / "raw/views.csv").unlink()
    data = parse_eval([str(project / "runs/a/b")]).config.data
    assert (data.dataset_dir, data.path) == (str(project / "datasets/shop"), "raw/views.csv")


def test_what_is_missing_is_said(project: Path) -> None:
    (project / "datasets").rename(project / "moved")
    (project / "raw").rename(project / "gone")
    run = str(project / "runs/a/b")
    with pytest.raises(ConfigError) as caught:
        check_data_found(parse_eval([run]).config, Path(run))
    for part in (run, "datasets/shop or raw/views.csv", str(Path.cwd()), "--set data.dataset_dir=DIR"):
        assert part in str(caught.value)
    assert load_run_config(Path(run)).data.dataset_dir == "datasets/shop"  # it can be read all the same
    check_data_found(Config(), Path(run))  # generated data need no files
    named = ["--set", f"data.dataset_dir={project / 'moved/shop'}"]
    assert parse_eval([run, *named]).config.data.dataset_dir == str(project / "moved/shop")
    assert parse_eval([run, "--data_path", str(project / "moved/shop")]).config.data.path == "raw/views.csv"


def test_generated_data_are_made_where_they_are_needed(project: Path) -> None:
    (project / "runs/a/b/config.yaml").write_text(dump_config(Config()), encoding="utf-8")
    assert parse_eval([str(project / "runs/a/b")]).config.data.dataset_dir == "datasets/synthetic"
