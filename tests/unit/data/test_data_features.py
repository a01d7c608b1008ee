"""Encoding of features: vocabularies, padding, missing values."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.data.feature_arrays import encode_features
from sparcode.data.raw import RawFeature
from sparcode.errors import DataError
from sparcode.types import FeatureSpec

KEPT = np.array([3, 0, 2])


def test_categorical_with_missing_value_and_padding_row():
    feature = RawFeature("year", "categorical", ["1999", "gone", "", "200"])
    encoded = encode_features([feature], KEPT, padding_row=True)
    assert encoded.specs == [FeatureSpec("year", "categorical", size=3)]
    assert encoded.vocabularies == {"year": ["", "200", "1999"]}  # numeric order; dropped rows leave no value
    assert encoded.arrays["year"].tolist() == [0, 1, 2, 0]
    assert encoded.arrays["year"].dtype == np.int32


def test_multi_is_a_set_padded_with_zeros():
    feature = RawFeature("tags", "multi", [["b", "a", "b"], ["z"], [], ["c"]])
    encoded = encode_features([feature], KEPT, padding_row=False)
    assert encoded.specs == [FeatureSpec("tags", "multi", size=4, width=2)]
    assert encoded.arrays["tags"].tolist() == [[3, 0], [1, 2], [0, 0]]


def test_multi_without_any_value_has_width_one():
    encoded = encode_features([RawFeature("tags", "multi", [[]] * 4)], KEPT, padding_row=True)
    assert encoded.arrays["tags"].tolist() == [[0]] * 4


def test_dense():
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    encoded = encode_features([RawFeature("vector", "dense", values)], KEPT, padding_row=True)
    assert encoded.specs == [FeatureSpec("vector", "dense", size=2, width=2)]
    assert encoded.arrays["vector"].tolist() == [[0, 0], [6, 7], [0, 1], [4, 5]]
    assert encoded.vocabularies == {}


def test_repeated_name_and_wrong_number_of_rows():
    feature = RawFeature("year", "categorical", ["1"] * 4)
    with pytest.raises(DataError, match="year: feature name occurs twice"):
        encode_features([feature, feature], KEPT, padding_row=False)
    with pytest.raises(DataError, match="year: feature has too few rows; expected more than 3; received 2"):
        encode_features([RawFeature("year", "categorical", ["1"] * 2)], KEPT, padding_row=False)
