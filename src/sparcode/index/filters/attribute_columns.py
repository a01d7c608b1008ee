"""Columns of item attributes as Arrow arrays, one row per item; row 0 is padding and null.

======== ============================== =================================================
kind     Arrow type                     row
======== ============================== =================================================
number   float64                        a finite number; null = unknown
category dictionary<int32, string>      one text; null = unknown
set      list<dictionary<int32, string>> distinct or repeated texts; null = an empty set
======== ============================== =================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import IndexFormatError, UsageError

_TEXT = pa.dictionary(pa.int32(), pa.string())
_KINDS = {"number": pa.float64(), "category": _TEXT, "set": pa.list_(_TEXT)}


def number(values: Sequence[float | None] | NDArray) -> pa.Array:
    """Numbers of the items 1, 2, ... in order; None and NaN are unknown.

    Raises:
        UsageError: a value that is no number.
    """
    try:
        rows = np.array([np.nan, *values], dtype=np.float64) + 0.0  # -0 becomes 0
    except (TypeError, ValueError) as error:
        raise UsageError("values are no numbers", received=error) from error
    return pa.array(rows, from_pandas=True)


def category(values: Sequence[str | None]) -> pa.Array:
    """Texts of the items 1, 2, ... in order; None is unknown."""
    return pa.array([None, *values], pa.string()).dictionary_encode()


def category_set(values: Sequence[Sequence[str] | None]) -> pa.Array:
    """Sets of texts of the items 1, 2, ... in order; None is an empty set."""
    rows = pa.array([None, *values], pa.list_(pa.string()))
    return pa.ListArray.from_arrays(rows.offsets, rows.values.dictionary_encode())


def coded(vocabulary: Sequence[str], rows: ArrayLike) -> pa.Array:
    """A category of (num_items + 1,) int ids, or a set of (num_items + 1, width) of them; 0 = nothing.

    Args:
        vocabulary: texts by id - 1.
        rows: row i = item i.
    """
    ids = np.array(rows)
    ids[0] = 0
    real = ids > 0
    codes = pa.array(ids[real] - 1 if ids.ndim > 1 else ids - 1, pa.int32())
    if ids.ndim == 1:
        codes = pc.replace_with_mask(codes, pa.array(~real), pa.scalar(None, pa.int32()))
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(vocabulary, pa.string()))
    if ids.ndim == 1:
        return texts
    borders = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(borders, pa.int32()), texts)


def kind_of(column: pa.Array) -> str:
    """``number``, ``category`` or ``set``."""
    return next(kind for kind, known in _KINDS.items() if column.type == known)


def check_column(name: str, column: pa.Array) -> None:
    """Refuse a column that is of no kind, or whose rows are damaged.

    Raises:
        IndexFormatError: naming the column.
    """
    if not isinstance(column, pa.Array) or column.type not in _KINDS.values():
        raise IndexFormatError(
            "column is of no known kind", where=name, expected=" | ".join(_KINDS),
            received=getattr(column, "type", type(column).__name__),
        )  # fmt: skip
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise IndexFormatError("column is inconsistent", where=name, received=error) from error
    if column.offset:
        raise IndexFormatError("column is a part of another one", where=name)
    if not len(column) or column[0].as_py():
        raise IndexFormatError("row 0 must be unknown", where=name)
    if column.type == _KINDS["number"] and column[0].is_valid:
        raise IndexFormatError("row 0 must be unknown", where=name)
    if column.type == _KINDS["number"] and not pc.all(pc.is_finite(column), min_count=0).as_py():
        raise IndexFormatError("number is not finite", where=name)
