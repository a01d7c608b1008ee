"""Reading of queries: external ids, raw feature values, and everything that may be wrong with them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from bundle_cases import Case, exported, external
from sparcode.errors import DataError
from sparcode.serving import open_bundle
from sparcode.serving.requests import QueryReader, UnknownCounts
from sparcode.serving.user_features import make_feature_reader
from sparcode.types import FeatureSpec

CATEGORICAL = FeatureSpec("age", "categorical", size=3)
MULTI = FeatureSpec("tags", "multi", size=4, width=2)
DENSE = FeatureSpec("profile", "dense", size=2, width=2)


@pytest.fixture(scope="module")
def reader() -> QueryReader:
    return QueryReader(open_bundle(exported(Case()).path))


@pytest.fixture(scope="module")
def feature_reader() -> QueryReader:
    return QueryReader(open_bundle(exported(Case(query_kind="features")).path))


def test_known_items_are_translated_in_order_and_the_others_counted(reader: QueryReader) -> None:
    query = reader.read(
        {
            "history": [external(4), "nope", external(2), external(4)],
            "exclude": [external(9), "gone"],
            "allow": ["a", "b"],
        },
        "q",
    )
    assert query.history.tolist() == [4, 2, 4]
    assert query.exclude.tolist() == [9]
    assert query.allow is not None
    assert query.allow.tolist() == []
    assert query.unknown == UnknownCounts(history=1, filters=3, features=0)
    assert query.is_known


def test_nothing_known_is_noted(reader: QueryReader) -> None:
    query = reader.read({"history": ["nope"], "features": {"age": "99", "tags": ["x"]}}, "q")
    assert not query.is_known
    assert query.allow is None
    assert query.unknown == UnknownCounts(history=1, filters=0, features=2)


@pytest.mark.parametrize("features", [{"age": "18"}, {"tags": ["x", "rock"]}, {"profile": [0.0, 1]}])
def test_one_known_feature_is_enough(reader: QueryReader, features: dict[str, Any]) -> None:
    assert reader.read({"history": [], "features": features}, "q").is_known


def test_feature_values_become_rows(reader: QueryReader) -> None:
    features = {"age": 25, "tags": ["folk", "rock", "folk"], "profile": [1, -2.5]}
    rows = reader.read({"history": [], "features": features}, "q").user_rows
    assert [row.tolist() for row in rows] == [2, [1, 3], [1.0, -2.5]]
    assert [row.dtype for row in rows] == [np.int32, np.int32, np.float32]


def test_missing_features_are_zero(reader: QueryReader) -> None:
    for features in (None, {}, {"age": None, "tags": None, "profile": None}, {"age": "", "tags": []}):
        query = reader.read({"history": [], "features": features}, "q")
        assert [row.tolist() for row in query.user_rows] == [0, [0, 0], [0.0, 0.0]]
        assert not query.is_known
        assert query.unknown == UnknownCounts()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (["i07"], "query must be an object"),
        ("i07", "query must be an object"),
        ({}, "no history"),
        ({"history": None}, "no history"),
        ({"history": "i07"}, "history: not a list"),
        ({"history": [1.5]}, "history: not an id.*1.5"),
        ({"history": [True]}, "not an id"),
        ({"history": [None]}, "not an id"),
        ({"history": [], "k": 3}, "unknown key.*'k'"),
        ({"history": [], "exclude": {"a": 1}}, "exclude: not a list"),
        ({"history": [], "allow": [[]]}, "allow: not an id"),
        ({"history": [], "features": []}, "features must be an object"),
        ({"history": [], "features": {"height": 3}}, r"unknown feature.*age \| tags \| profile.*'height'"),
        ({"history": [], "features": {"age": 1.5}}, "feature 'age': not an id"),
        ({"history": [], "features": {"tags": "rock"}}, "feature 'tags': not a list"),
        (
            {"history": [], "features": {"tags": ["rock", "jazz", "folk"]}},
            "more values.*expected 2; received 3",
        ),
        ({"history": [], "features": {"profile": [1]}}, "expected 2 numbers; received 1 values"),
        ({"history": [], "features": {"profile": 1}}, "not a vector"),
        ({"history": [], "features": {"profile": [1, "2"]}}, "not a number"),
        ({"history": [], "features": {"profile": [1, float("nan")]}}, "not finite"),
        ({"history": [], "features": {"profile": [1, 10**400]}}, "not finite"),
    ],
)
def test_bad_queries_are_refused_by_name(reader: QueryReader, query: object, message: str) -> None:
    with pytest.raises(DataError, match=f"^queries.jsonl:3.*{message}"):
        reader.read(query, "queries.jsonl:3")


def test_integers_are_ids_and_values(reader: QueryReader) -> None:
    query = reader.read({"history": [np.int64(7), 7], "features": {"age": np.int32(18)}}, "q")
    assert query.unknown.history == 2  # "7" is no item of this bundle
    assert query.user_rows[0] == 1


def test_a_bundle_without_histories_needs_features(feature_reader: QueryReader) -> None:
    query = feature_reader.read({"features": {"age": "18"}, "history": [external(3)]}, "q")
    assert query.is_known
    assert query.history.tolist() == [3]
    assert not feature_reader.read({"features": {}, "history": [external(3)]}, "q").is_known
    with pytest.raises(DataError, match="no features"):
        feature_reader.read({"history": [external(3)]}, "q")


def test_the_missing_value_of_a_vocabulary_is_not_a_value() -> None:
    value = make_feature_reader(MULTI, ["", "a", "b", "c"]).read(["", "c"], "q")
    assert value.row.tolist() == [3, 0]


def test_a_warning_names_what_was_unknown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        UnknownCounts().warn("nothing")
        (UnknownCounts(2, 0, 1) + UnknownCounts(1, 0, 0)).warn("queries.jsonl")
    assert [record.getMessage() for record in caplog.records] == [
        "queries.jsonl: not known to the bundle: 3 history items skipped, 1 feature values read as missing"
    ]
