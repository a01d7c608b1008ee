"""Kinds of columns of tabular raw data: which values are valid and what they become.

Columns are Arrow chunked arrays until they are merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from sparcode.data.text import MAX_INT64
from sparcode.data.vocabulary import encode_dictionary
from sparcode.errors import DataError

ColumnKind = Literal["id", "label", "rating", "timestamp", "time"]
"""``id``: non-negative int64; ``label``: text that is not empty; ``rating``: finite number;
``timestamp``: non-negative int64; ``time``: non-negative number or date and time (ISO 8601)."""

NUMBER_TYPES: tuple[Any, ...] = (pa.int64(), pa.float64())
DATE_TYPES: tuple[Any, ...] = (pa.timestamp("us"), pa.timestamp("us", tz="UTC"))
"""Types that a ``time`` column may have, preferred first."""


@dataclass(frozen=True)
class IdColumn:
    """External ids of a column.

    Attributes:
        codes: (n,) int32 positions in ``values``.
        values: distinct ids in the order of :func:`sparcode.data.vocabulary.sort_values`.
    """

    codes: NDArray[np.int32]
    values: list[str]


def check_columns(available: Sequence[str], wanted: Sequence[str], where: object) -> None:
    """Check that columns exist.

    Raises:
        DataError: naming the first unknown column and listing those there are.
    """
    for name in wanted:
        if name not in available:
            raise DataError(
                f"unknown column {name!r}",
                where=where,
                expected=f"one of {', '.join(available)}",
                remedy="correct the column name or restore the file",
            )


def arrow_type(kind: ColumnKind, time_type: Any) -> Any:
    """Arrow type that text of a kind is parsed into."""
    if kind == "label":
        return pa.dictionary(pa.int32(), pa.string())
    if kind == "rating":
        return pa.float64()
    return time_type if kind == "time" else pa.int64()


def is_valid(kind: ColumnKind, column: Any) -> bool:
    """Whether all values of a column are valid for its kind."""
    if column.null_count:
        return False
    if not len(column):
        return True
    if kind == "label":
        return not any("" in chunk.dictionary.to_pylist() for chunk in column.chunks)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_floating(column.type) and not pa.compute.all(pa.compute.is_finite(column)).as_py():
        return False
    return kind == "rating" or pa.compute.min(column).as_py() >= 0


def describe_fault(kind: ColumnKind, text: str) -> str | None:
    """What is wrong with a field, or None when it looks right."""
    stripped = text.strip()
    if kind == "label":
        return "is empty" if not text else None
    if kind == "id" and stripped.startswith("-"):
        return "is not a non-negative integer"
    integer = kind in ("id", "timestamp")
    try:
        number = int(stripped) if integer else float(stripped)
    except ValueError:
        return _unparsable(kind, stripped)
    if math.isnan(number):
        return "is NaN"
    if math.isinf(number) or (integer and number > MAX_INT64):
        return f"overflows, expected at most {MAX_INT64}" if integer else "is not finite"
    if number < 0 and kind != "rating":
        return "is negative"
    return None


def _unparsable(kind: ColumnKind, text: str) -> str:
    if text.lower() == "nan":
        return "is NaN"
    if kind == "rating":
        return "is not a number"
    return (
        "is not a time, expected a number or date as in the first row"
        if kind == "time"
        else "is not an integer"
    )


def merge_columns(kind: ColumnKind, blocks: list[Any]) -> NDArray[Any] | IdColumn:
    """Join the blocks of one column; see :func:`sparcode.data.delimited.read_delimited` for the result."""
    if kind == "label":
        return _merge_labels(blocks)
    if kind == "rating":
        return np.concatenate([block.to_numpy().astype(np.float32) for block in blocks])
    return np.concatenate([_numbers(block) for block in blocks])


def _numbers(column: Any) -> NDArray[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy()


def _merge_labels(blocks: list[Any]) -> IdColumn:
    chunks = [chunk for block in blocks for chunk in block.chunks]
    merged = pa.chunked_array(chunks).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in merged.chunks])
    return IdColumn(*encode_dictionary(codes, merged.chunk(0).dictionary.to_pylist()))
