"""Item features of a data set -> item attributes that queries can filter by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparcode.index import ItemAttributes
from sparcode.index.filters import coded, number
from sparcode.serving.bundle import Bundle
from sparcode.types import FeatureSpec


def attributes_of_features(
    specs: Sequence[FeatureSpec],
    arrays: Mapping[str, NDArray[Any]],
    vocabularies: Mapping[str, Sequence[str]],
) -> ItemAttributes | None:
    """Attributes named like the features.

    Categorical features become categories, or numbers where every value is written as one (years); multi
    features become sets. Dense vectors are left out: data sets keep them standardised, so that no query could
    name a value.

    Args:
        specs: item features.
        arrays: rows of each, row 0 = padding.
        vocabularies: values of each by stored id, 0 = missing.

    Returns:
        None if no feature can be filtered by.
    """
    columns: dict[str, pa.Array] = {}
    for spec in specs:
        if spec.kind == "dense":
            continue
        values, rows = list(vocabularies[spec.name])[1:], arrays[spec.name]
        numbers = None if spec.kind == "multi" else _numbers(values)
        if numbers is None:
            columns[spec.name] = coded(values, rows)
        else:
            columns[spec.name] = number(np.array([np.nan, *numbers])[rows[1:]])
    return ItemAttributes(columns) if columns else None


def changed_attributes(old: Bundle, arrays: Sequence[NDArray[Any]], num_items: int) -> ItemAttributes | None:
    """Attributes of a bundle whose item features have changed.

    Features that the network does not read are not given with new items, so these are unknown there.

    Args:
        old: the bundle before.
        arrays: rows of its item features now, row 0 = padding.
        num_items: size of the catalogue now.
    """
    if old.attributes is None:
        return None
    specs = old.manifest.item_features
    rows = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
    read = attributes_of_features(specs, rows, old.vocabularies.get("item", {}))
    kept = old.attributes.padded(num_items)
    return kept if read is None else ItemAttributes(kept.columns | read.columns)


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers, None if one is not written as a finite number or there is none."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
