"""Item features become attributes: numbers where all values are, unknown where the data set says missing."""

from __future__ import annotations

import numpy as np
import pytest

from bundle_cases import NUM_ITEMS, Case, copy_of, exported
from sparcode.errors import BundleError
from sparcode.index.filters import Category, MultiCategory, Number
from sparcode.serving import open_bundle
from sparcode.serving.attributes import attributes_of_features
from sparcode.types import FeatureSpec

SPECS = [
    FeatureSpec("genres", "multi", size=3, width=2),
    FeatureSpec("year", "categorical", size=3),
    FeatureSpec("studio", "categorical", size=3),
    FeatureSpec("content", "dense", size=2, width=2),
]
ARRAYS = {
    "genres": np.array([[0, 0], [1, 2], [0, 0], [2, 0]], np.int32),
    "year": np.array([0, 2, 0, 1], np.int32),
    "studio": np.array([0, 1, 2, 0], np.int32),
    "content": np.zeros((4, 2), np.float32),
}
VOCABULARIES = {"genres": ["", "7", "War"], "year": ["", "1990", "2001"], "studio": ["", "1990", "nan"]}


def test_features_become_columns_of_their_kind() -> None:
    attributes = attributes_of_features(SPECS, ARRAYS, VOCABULARIES)
    assert attributes is not None
    assert attributes.names == ("genres", "year", "studio")
    genres, year, studio = map(attributes.column, attributes.names)
    assert isinstance(genres, MultiCategory)
    assert (genres.vocabulary, genres.indptr.tolist(), genres.codes.tolist()) == (
        ("7", "War"),
        [0, 0, 2, 2, 3],
        [0, 1, 1],
    )
    assert isinstance(year, Number)
    np.testing.assert_array_equal(year.values, [np.nan, 2001, np.nan, 1990])
    assert isinstance(studio, Category)  # "nan" is a name here, not a number
    assert (studio.vocabulary, studio.codes.tolist()) == (("1990", "nan"), [-1, 0, 1, -1])


def test_dense_features_alone_are_no_attributes() -> None:
    assert attributes_of_features(SPECS[3:], ARRAYS, VOCABULARIES) is None
    assert attributes_of_features([], {}, {}) is None


def test_a_bundle_keeps_attributes_that_its_network_does_not_read() -> None:
    bundle = open_bundle(exported(Case(features=False)).path)
    assert bundle.manifest.item_features == ()
    assert bundle.attributes is not None
    assert bundle.attributes.names == ("genre", "year")
    assert bundle.attributes.num_items == NUM_ITEMS


@pytest.mark.parametrize("verify", [True, False])
def test_damaged_attributes_are_a_damaged_bundle(tmp_path, verify: bool) -> None:
    path = copy_of(Case(), tmp_path / "bundle")
    section = next((path / "attributes").glob("values_*.bin"))
    content = bytearray(section.read_bytes())
    content[20] ^= 1  # in the header
    section.write_bytes(content)
    with pytest.raises(BundleError, match=section.name):
        open_bundle(path, verify=verify)
