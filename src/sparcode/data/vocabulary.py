"""External ids and values <-> positions.

The order is a function of the set of ids alone, never of the order of the file: ascending, numerically
when every id is written as a plain integer, else by code point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from sparcode.data.raw import MISSING


def is_plain_integer(text: str) -> bool:
    """Whether ``text`` is a decimal integer in its shortest writing ("7", "-3"; not "07", "+1", "1_0")."""
    digits = text[1:] if text.startswith("-") else text
    return digits.isascii() and digits.isdigit() and str(int(text)) == text


def sort_values(values: Iterable[str]) -> list[str]:
    """Distinct values in ascending order: numeric when all are plain integers, else by code point."""
    distinct = set(values)
    if all(map(is_plain_integer, distinct)):
        return sorted(distinct, key=int)
    return sorted(distinct)


def encode_integers(values: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Replace integer ids by their rank.

    Args:
        values: (n,) int64.

    Returns:
        (n,) int32 positions, and the distinct ids, ascending.
    """
    codes, distinct = pd.factorize(values, sort=True)
    return codes.astype(np.int32, copy=False), np.asarray(distinct, dtype=np.int64)


def encode_dictionary(codes: NDArray[Any], values: Sequence[str]) -> tuple[NDArray[np.int32], list[str]]:
    """Re-number dictionary codes so that their values ascend.

    Args:
        codes: (n,) integer positions in ``values``.
        values: distinct external ids, in any order.

    Returns:
        (n,) int32 positions in the sorted list, and the sorted list.
    """
    ordered = sort_values(values)
    rank = {value: position for position, value in enumerate(ordered)}
    lookup = np.fromiter((rank[value] for value in values), dtype=np.int32, count=len(values))
    return lookup[codes], ordered


def encode_texts(texts: pl.Series) -> tuple[NDArray[np.int32], list[str]]:
    """Replace texts by their rank among the distinct ones.

    Returns:
        (n,) int32 positions in the sorted list, and the sorted list.
    """
    encoded = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    return encode_dictionary(encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist())


def feature_vocabulary(values: Iterable[str]) -> list[str]:
    """External values of a categorical or multi feature by stored id; id 0 is the missing value."""
    return [MISSING, *sort_values(value for value in values if value != MISSING)]
