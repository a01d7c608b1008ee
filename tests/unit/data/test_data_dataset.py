"""The data set directory: round trip, reuse, atomic replacement, and every kind of damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sparcode.config.data_schema import DataConfig, SyntheticConfig
from sparcode.data import dataset_directory
from sparcode.data.dataset import Dataset, prepare_dataset, preprocess
from sparcode.errors import DataError, OutputError

SMALL = SyntheticConfig(num_users=40, num_items=120, interactions_per_user=40)


@pytest.fixture
def config(tmp_path) -> DataConfig:
    return DataConfig(synthetic=SMALL, dataset_dir=str(tmp_path / "sets" / "small"))


@pytest.fixture
def directory(config) -> Path:
    preprocess(config)
    return Path(config.dataset_dir)


def test_loading_gives_what_was_written(config):
    made, loaded = prepare_dataset(config), Dataset.load(config.dataset_dir)
    assert made.fingerprint == loaded.fingerprint
    assert made.counts == loaded.counts
    assert (loaded.num_users, loaded.num_items) == (40, 120)
    assert isinstance(loaded.train.items, np.memmap)
    assert loaded.train.counts().sum() == loaded.counts["train"]
    assert loaded.item_arrays["category"].shape == (121,)
    assert loaded.item_arrays["category"][0] == 0
    assert loaded.item_features[0].size == len(loaded.item_vocab["category"])
    assert loaded.user_arrays["age_group"].shape == (40,)


def test_an_existing_directory_is_reused(config, monkeypatch):
    made = prepare_dataset(config)
    monkeypatch.setattr("sparcode.data.dataset.read_source", None)
    relaxed = config.model_copy(update={"max_history": 3, "use_item_features": False})
    assert prepare_dataset(relaxed).fingerprint == made.fingerprint


def test_an_empty_directory_is_filled(config):
    Path(config.dataset_dir).mkdir(parents=True)
    assert prepare_dataset(config).num_users == 40


@pytest.mark.parametrize(
    ("update", "key"),
    [
        ({"protocol": "ratio"}, "data.protocol"),
        ({"min_user_interactions": 5}, "data.min_user_interactions"),
        ({"synthetic": SMALL.model_copy(update={"seed": 1})}, "data.synthetic.seed"),
    ],
)
def test_a_directory_of_another_data_section_is_refused(config, directory, update, key):
    with pytest.raises(DataError, match=f"made with another {key}; .*set another data.dataset_dir or delete"):
        prepare_dataset(config.model_copy(update=update))


def test_sections_of_other_sources_do_not_matter(config, directory):
    prepare_dataset(DataConfig(**{**dict(config), "deezer": {"embeddings": "mf"}}))


def test_fingerprint_ignores_the_name(config, tmp_path):
    other = config.model_copy(update={"name": "other", "dataset_dir": str(tmp_path / "b")})
    assert preprocess(config).fingerprint == preprocess(other).fingerprint


def test_preprocessing_again_replaces_the_directory(config, directory):
    (directory / "stray").write_text("x")
    preprocess(config)
    assert not (directory / "stray").exists()
    assert [entry.name for entry in directory.parent.iterdir()] == ["small"]


def test_other_directories_are_not_overwritten(config):
    taken = Path(config.dataset_dir)
    taken.mkdir(parents=True)
    (taken / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="exists and is not a data set directory"):
        preprocess(config)
    assert (taken / "thesis.tex").read_text() == "precious"
    with pytest.raises(DataError, match=r"dataset\.json"):
        prepare_dataset(config)


def test_a_full_disk_leaves_the_old_data_set_and_nothing_half_written(config, directory, monkeypatch):
    calls = []

    def save(path, array, **_):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"partial")

    before = Dataset.load(directory).fingerprint
    monkeypatch.setattr(dataset_directory.np, "save", save)
    with pytest.raises(OutputError, match="No space left on device"):
        preprocess(config)
    assert [entry.name for entry in directory.parent.iterdir()] == ["small"]
    assert Dataset.load(directory).fingerprint == before


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        preprocess(DataConfig(synthetic=SMALL, dataset_dir=str(tmp_path / "file" / "out")))


def test_every_file_is_missed_and_every_flipped_byte_is_noticed(directory, tmp_path):
    names = sorted(entry.name for entry in directory.iterdir())
    # description, 2 id lists, vocabularies, 3 x 2 split arrays, 4 item features, 2 user features
    assert len(names) == 16
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        if name != "dataset.json":
            with pytest.raises(DataError, match=f"{name}: damaged file"):
                Dataset.load(copy)
        (copy / name).unlink()
        with pytest.raises(DataError, match=f"{name}: missing file"):
            Dataset.load(copy)
        shutil.rmtree(copy)


def test_truncated_array(directory):
    path = directory / "train_items.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"train_items\.npy: damaged file of the data set; expected sha256"):
        Dataset.load(directory)


def edit(directory: Path, **values: object) -> None:
    path = directory / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_edited_description_and_other_versions(directory):
    edit(directory, ordered=False)
    with pytest.raises(DataError, match="description and fingerprint do not agree"):
        Dataset.load(directory)
    edit(directory, format_version=99)
    with pytest.raises(DataError, match="expected sparcode-dataset version 1; received version 99"):
        Dataset.load(directory)
    (directory / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json: damaged"):
        Dataset.load(directory)


def replace_array(directory: Path, name: str, array: np.ndarray) -> None:
    """Put another array in place with matching checksums, as a faulty writer would."""
    np.save(directory / name, array)
    path = directory / "dataset.json"
    description = json.loads(path.read_text())
    description["sha256"][name] = dataset_directory.file_sha256(directory / name)
    description["fingerprint"] = dataset_directory.fingerprint(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("train_items.npy", lambda a: a[:-1], "unexpected type or shape"),
        ("train_items.npy", lambda a: a.astype(np.int64), "unexpected type or shape"),
        ("train_items.npy", lambda a: np.where(a == a[0], 0, a).astype(np.int32), "item id out of range"),
        ("train_items.npy", lambda a: np.where(a == a[0], 121, a).astype(np.int32), "item id out of range"),
        ("valid_indptr.npy", lambda a: a[::-1].copy(), "offsets do not fit"),
        ("item_feature_0.npy", lambda a: a[1:], "unexpected type or shape"),
        ("item_feature_0.npy", lambda a: a + np.int32(9), "feature value out of range"),
    ],
)
def test_inconsistent_arrays(directory, name, change, what):
    replace_array(directory, name, change(np.load(directory / name)))
    with pytest.raises(DataError, match=f"{name}: .*{what}"):
        Dataset.load(directory)


def test_missing_directory(tmp_path):
    with pytest.raises(DataError, match="data set directory does not exist"):
        Dataset.load(tmp_path / "nowhere")
