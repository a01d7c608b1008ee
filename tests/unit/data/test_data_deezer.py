"""Deezer cold start: users are features, the split is given, every song is a candidate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparcode.data.dataset import preprocess
from sparcode.data.deezer import read_deezer
from sparcode.errors import ConfigError, DataError


def users(
    indices: list[int], songs: list[list[int]], plays: list[float], ages: list[float]
) -> dict[str, Any]:
    numbers = np.array(indices, dtype=np.float64)
    return {
        "user_index": indices,
        "d1d30_songs": songs,
        "country_embedding1": numbers + 0.1,
        "country_embedding0": numbers,
        "country_embedding10": numbers + 0.3,
        "artist_embedding_0": -numbers,
        "nb_play": plays,
        "age_value": ages,
        "something_else": numbers,
    }


@pytest.fixture
def files(tmp_path):
    """The four files of the variant svd, as frames that a test may change before they are saved."""
    return {
        "song_embeddings": {
            "song_index": [100, 50, 75, 60],
            "features_svd": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
            "features_mf": [[0.5] * 3] * 4,
        },
        "user_features_train_svd": users([1, 2], [[100, 50], [50]], [0, np.e**2 - 1], [20, 30]),
        "user_features_validation_svd": users([4], [[75, 75]], [np.e**3 - 1], [25]),
        "user_features_test_svd": users([3, 5], [[50, 75], []], [0, 0], [35, 20]),
    }


@pytest.fixture
def config(files, make_config, tmp_path):
    def save(**values: Any):
        (tmp_path / "raw").mkdir(exist_ok=True)
        for name, frame in files.items():
            pd.DataFrame(frame).to_parquet(tmp_path / "raw" / f"{name}.parquet", index=False)
        return make_config("deezer", protocol="pre_split", **values)

    return save


def test_users_of_all_parts_and_all_songs(config):
    data = preprocess(config())
    assert data.query_kind == "features"
    assert data.user_ids == ["1", "2", "4", "3", "5"]
    assert data.item_ids == ["100", "50", "75", "60"]
    assert data.train.counts().tolist() == [2, 1, 0, 0, 0]
    assert data.train.of(0).tolist() == [1, 2]
    assert data.valid.of(2).tolist() == [3]
    assert data.test.of(3).tolist() == [2, 3]
    assert data.item_arrays["embedding"].tolist() == [[0, 0], [1, 2], [3, 4], [5, 6], [7, 8]]
    assert {(spec.name, spec.kind, spec.size) for spec in data.user_features} == {
        ("country", "dense", 3),
        ("artist", "dense", 1),
        ("stats", "dense", 2),
    }


def test_embedding_columns_are_in_numeric_order(config):
    data = preprocess(config())
    np.testing.assert_allclose(data.user_arrays["country"][3], [3.0, 3.1, 3.3], rtol=1e-6)
    np.testing.assert_allclose(data.user_arrays["artist"][:, 0], [-1, -2, -4, -3, -5])


def test_statistics_are_standardised_with_train_users_alone(config):
    # log1p(plays): train 0 and 2 (mean 1, deviation 1), validation 3.
    # Ages: train 20 and 30 (mean 25, deviation 5), validation 25, test 35 and 20.
    stats = preprocess(config()).user_arrays["stats"]
    np.testing.assert_allclose(stats, [[-1, -1], [1, 1], [2, 0], [-1, 2], [-1, -1]], atol=1e-6)


def test_variant_mf_reads_the_other_embedding(config, files):
    for part in ("train", "validation", "test"):
        files[f"user_features_{part}_mf"] = files.pop(f"user_features_{part}_svd")
    data = preprocess(config(deezer={"embeddings": "mf"}))
    assert data.item_features[0].size == 3


def test_song_that_is_not_in_the_catalogue(config, files):
    files["user_features_test_svd"]["d1d30_songs"] = [[50], [51]]
    with pytest.raises(DataError, match=r"user_features_test_svd\.parquet: row 2: song .* received 51"):
        read_deezer(config())


def test_user_in_two_parts(config, files):
    files["user_features_test_svd"]["user_index"] = [3, 1]
    with pytest.raises(DataError, match=r"user occurs twice; .* received 1"):
        read_deezer(config())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_feature_that_is_not_finite(config, files, value):
    files["user_features_train_svd"]["country_embedding1"] = [0.0, value]
    with pytest.raises(
        DataError, match=r"user_features_train_svd\.parquet: row 2: value is null, NaN or infinite"
    ):
        read_deezer(config())


@pytest.mark.parametrize("column", ["user_index", "d1d30_songs", "age_value"])
def test_missing_column(config, files, column):
    del files["user_features_train_svd"][column]
    with pytest.raises(DataError, match=f"unknown column '{column}'"):
        read_deezer(config())


def test_embeddings_of_different_lengths(config, files):
    files["song_embeddings"]["features_svd"] = [[1.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    with pytest.raises(DataError, match="embeddings of different lengths"):
        read_deezer(config())


def test_missing_file(config, files):
    del files["user_features_validation_svd"]
    with pytest.raises(DataError, match=r"user_features_validation_svd\.parquet: file does not exist"):
        read_deezer(config())


def test_filters_are_refused(config):
    with pytest.raises(
        ConfigError, match=r"data\.min_user_interactions: the published split is used as it is"
    ):
        read_deezer(config(min_user_interactions=5))
