"""Generated files of the paper's data sets have the format that the sources read, and the stated sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparcode.config.loader import load_config
from sparcode.data.dataset import Dataset, preprocess

ROOT = Path(__file__).parents[2]


def sample(dataset: str, directory: Path, config: str, *settings: str) -> Dataset:
    script = ROOT / "scripts" / "make_paper_sample.py"
    command = [sys.executable, str(script), dataset, str(directory), "--scale", "0.01"]
    subprocess.run(command, check=True, timeout=120)
    places = [f"data.path={directory}", f"data.dataset_dir={directory}/made", "data.name=sample"]
    return preprocess(load_config(ROOT / "configs" / config, [*places, *settings]).data)


def test_deezer_sample_has_the_split_and_the_width_of_the_features(tmp_path: Path) -> None:
    data = sample("deezer", tmp_path, "deezer/sparcode_dnn.yaml")
    assert (data.num_users, data.num_items) == (1000, 500)
    assert [int((part.counts() > 0).sum()) for part in (data.train, data.valid, data.test)] == [700, 200, 100]
    assert sum(spec.size for spec in data.user_features) == 20 * 128 + 19
    assert data.item_features[0].size == 128


def test_movielens_sample_has_every_movie_and_exactly_so_many_ratings(tmp_path: Path) -> None:
    data = sample("ml-10m", tmp_path, "ml-10m/sparcode_sasrec.yaml")
    assert (data.num_users, data.num_items) == (699, 200)
    assert data.counts["raw_interactions"] == 699 * 100 // 2
    assert data.ordered


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_valid(config: Path) -> None:
    assert load_config(config, []).data.name == config.parent.name
