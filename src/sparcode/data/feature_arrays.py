"""Raw features -> the arrays, specifications and vocabularies of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sparcode.data.raw import RawFeature
from sparcode.data.vocabulary import feature_vocabulary
from sparcode.errors import DataError
from sparcode.types import FeatureRole, FeatureSpec


@dataclass
class EncodedFeatures:
    """Features of all users or all items.

    Attributes:
        specs: one per feature.
        arrays: by feature name: categorical (rows,) int32, multi (rows, width) int32 padded with 0,
            dense (rows, size) float32.
        vocabularies: by name of categorical and multi features: external values, position = stored id.
        roles: how every feature was made of its source.
        numbers: by name of number features: raw values, float64 rows as in ``arrays``, NaN = missing.
    """

    specs: list[FeatureSpec] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    roles: list[FeatureRole] = field(default_factory=list)
    numbers: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def encode_features(
    features: Sequence[RawFeature], kept: NDArray[np.int64], *, padding_row: bool
) -> EncodedFeatures:
    """Encode the kept rows of all features.

    Args:
        features: raw features over all rows of the source.
        kept: (rows,) positions of the rows that stay, in their new order.
        padding_row: put a row of zeros in front (items, whose id 0 is padding).

    Raises:
        DataError: two features share a name, or a feature has another number of rows than its owner.
    """
    encoded = EncodedFeatures()
    for feature in features:
        if feature.name in encoded.arrays:
            raise DataError("feature name occurs twice", where=feature.name)
        if len(kept) and len(feature.values) <= int(kept.max()):
            raise DataError(
                "feature has too few rows",
                where=feature.name,
                expected=f"more than {int(kept.max())}",
                received=len(feature.values),
            )
        role = _role(feature, kept)
        encoded.roles.append(role)
        if feature.kind == "number":
            values = np.asarray(feature.values, np.float64)[kept]
            encoded.numbers[feature.name] = np.concatenate([[np.nan] * padding_row, values])
        array, spec, vocabulary = _encode_feature(feature, kept, role)
        if padding_row:
            array = np.concatenate([np.zeros((1, *array.shape[1:]), dtype=array.dtype), array])
        encoded.specs.append(spec)
        encoded.arrays[feature.name] = array
        if vocabulary is not None:
            encoded.vocabularies[feature.name] = vocabulary
    return encoded


def _role(feature: RawFeature, kept: NDArray[np.int64]) -> FeatureRole:
    role = FeatureRole(feature.name, feature.kind, feature.columns, feature.separator)
    if feature.kind != "number":
        return role
    values = np.asarray(feature.values, np.float64)[kept]
    known = values[~np.isnan(values)]
    if not len(known):
        return role
    spread = float(known.std())
    return replace(role, mean=float(known.mean()), scale=spread if spread > 0.0 else 1.0)


def _encode_feature(
    feature: RawFeature, kept: NDArray[np.int64], role: FeatureRole
) -> tuple[NDArray[Any], FeatureSpec, list[str] | None]:
    if feature.kind == "number":
        numbers = role.standardised(np.asarray(feature.values, np.float64)[kept])
        return numbers, FeatureSpec(feature.name, "dense", size=2, width=2), None
    if feature.kind == "dense":
        dense = np.asarray(feature.values, dtype=np.float32)[kept]
        size = dense.shape[1]
        return dense, FeatureSpec(feature.name, "dense", size=size, width=size), None
    if feature.kind == "categorical":
        labels = cast("Sequence[str]", feature.values)
        return _encode_categorical(feature.name, [labels[row] for row in kept])
    sets = cast("Sequence[Sequence[str]]", feature.values)
    return _encode_multi(feature.name, [sets[row] for row in kept])


def _encode_categorical(name: str, values: list[str]) -> tuple[NDArray[Any], FeatureSpec, list[str]]:
    vocabulary = feature_vocabulary(values)
    ids = {value: number for number, value in enumerate(vocabulary)}
    array = np.fromiter((ids[value] for value in values), dtype=np.int32, count=len(values))
    return array, FeatureSpec(name, "categorical", size=len(vocabulary)), vocabulary


def _encode_multi(name: str, rows: list[Sequence[str]]) -> tuple[NDArray[Any], FeatureSpec, list[str]]:
    vocabulary = feature_vocabulary(value for row in rows for value in row)
    ids = {value: number for number, value in enumerate(vocabulary)}
    encoded = [sorted({ids[value] for value in row} - {0}) for row in rows]
    width = max((len(row) for row in encoded), default=1) or 1
    array = np.zeros((len(rows), width), dtype=np.int32)
    for row, members in enumerate(encoded):
        array[row, : len(members)] = members
    return array, FeatureSpec(name, "multi", size=len(vocabulary), width=width), vocabulary
