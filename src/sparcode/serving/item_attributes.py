"""Item features of a data set -> item attributes that queries can filter by."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparcode.index import ItemAttributes
from sparcode.index.filters import category, category_set, coded, number
from sparcode.index.filters.attribute_columns import kind_of
from sparcode.serving.bundle import Bundle
from sparcode.serving.item_changes import ItemChange
from sparcode.serving.user_features import external_id, finite_number, listed_values
from sparcode.types import FeatureRole, FeatureSpec

_log = logging.getLogger(__name__)


def attributes_of_features(
    specs: Sequence[FeatureSpec],
    arrays: Mapping[str, NDArray[Any]],
    vocabularies: Mapping[str, Sequence[str]],
    numbers: Mapping[str, NDArray[np.float64]] | None = None,
) -> ItemAttributes | None:
    """Attributes named like the features.

    Categorical features become categories, or numbers where every value is written as one (years); multi
    features and paths become sets. Numbers are those of the source; other dense vectors are left out: data
    sets keep them standardised, so that no query could name a value.

    Args:
        specs: item features.
        arrays: rows of each, row 0 = padding.
        vocabularies: values of each by stored id, 0 = missing.
        numbers: raw values of features that are numbers, NaN = missing, row 0 = padding.

    Returns:
        None if no feature can be filtered by.
    """
    columns: dict[str, pa.Array] = {}
    for spec in specs:
        if spec.name in (numbers or {}):
            columns[spec.name] = number((numbers or {})[spec.name][1:])
        if spec.kind == "dense":
            continue
        values, rows = list(vocabularies[spec.name])[1:], arrays[spec.name]
        years = None if spec.kind == "multi" else _numbers(values)
        if years is None:
            columns[spec.name] = coded(values, rows)
        else:
            columns[spec.name] = number(np.array([np.nan, *years])[rows[1:]])
    return ItemAttributes(columns) if columns else None


def changed_attributes(
    old: Bundle, numbers: Mapping[str, int], changes: Sequence[ItemChange]
) -> ItemAttributes | None:
    """Attributes of a bundle after some items were given other features.

    They hold what was given, whether or not the network knows it; what was left out is missing.

    Args:
        old: the bundle before.
        numbers: internal ids by external ones of the catalogue now.
        changes: items with features.

    Raises:
        DataError: a value of another kind.
    """
    if old.attributes is None or not changes:
        return old.attributes
    ids = np.array([numbers[change.item] for change in changes], np.int64)
    roles = old.roles.get("item", {})
    columns: dict[str, pa.Array] = {}
    for name, column in old.attributes.columns.items():
        role = roles.get(name)
        given = [
            ((change.features or {}).get(name), f"{change.where}: feature {name!r}") for change in changes
        ]
        match kind_of(column):
            case "number":
                columns[name] = number([_number(value, where, role) for value, where in given])
            case "category":
                columns[name] = category([_text(value, where) for value, where in given])
            case _:
                columns[name] = category_set([_texts(value, where, role) for value, where in given])
    return old.attributes.with_rows(len(numbers), ids, columns)


def _number(value: object, where: str, role: FeatureRole | None) -> float | None:
    if role is None or role.kind != "number":  # a categorical feature whose values are numbers in text
        text = "" if value is None else external_id(value, where)
        found = _numbers([text]) if text else None
        if text and found is None:
            _log.warning("%s: %r is no number: unknown to filters", where, text)
        return None if found is None else found[0]
    if isinstance(value, list | tuple | np.ndarray) and len(value) == 2:  # as the data set stores it
        scaled, missing = value
        return None if missing else float(scaled) * role.scale + role.mean
    return None if value is None else finite_number(value, where)


def _text(value: object, where: str) -> str | None:
    return (None if value is None else external_id(value, where)) or None


def _texts(value: object, where: str, role: FeatureRole | None) -> list[str]:
    return [] if value is None else [text for text in listed_values(value, where, role) if text]


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers, None if one is not written as a finite number or there is none."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
