"""Columns of an item or user table -> raw features by kind."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparcode.config.data_schema import FeatureColumn
from sparcode.data.casts import Cast, as_text, cast_number
from sparcode.data.raw import FeatureKind, RawFeature
from sparcode.data.text import at_line
from sparcode.errors import ConfigError, DataError

SEPARATORS = {"multi": "|", "path": "/"}
"""Between values of a feature where the configuration names none."""


def columns_of(name: str, column: FeatureColumn, available: Sequence[str], where: str) -> list[str]:
    """Columns of the table that a feature is made of; none for one with a file of its own.

    Raises:
        ConfigError: no column fits the pattern of an embedding.
    """
    if column.file is not None:
        return []
    pattern = column.columns or name
    if "*" not in pattern:
        return [pattern]
    found = [other for other in available if fnmatchcase(other, pattern)]
    if not found:
        raise ConfigError(
            "no column fits the pattern",
            where=f"{where}.{name}",
            received=pattern,
            expected=", ".join(available),
        )
    return sorted(found, key=_natural)


def _natural(name: str) -> tuple[str, int, str]:
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return head, int(tail or 0), tail


def cast_feature(column: FeatureColumn, series: pl.Series) -> Cast:
    """One column of a feature, checked: float64 for numbers, a list or text for others.

    Empty fields are missing values, except in an embedding, which must be complete.
    """
    if column.kind == "number":
        return cast_number(series, optional=True)
    if column.kind != "embedding":
        return Cast(series)
    return _cast_vectors(series) if series.dtype.is_nested() else cast_number(series)


def _cast_vectors(series: pl.Series) -> Cast:
    listed = (
        pl.DataFrame({"v": series}).select(pl.col("v").cast(pl.List(pl.Float64), strict=False)).to_series()
    )
    sizes = listed.list.len()
    size = int(sizes.drop_nulls().mode().to_numpy().max()) if listed.drop_nulls().len() else 0
    faulty = {
        "is empty": listed.is_null(),
        f"is no vector of {size} numbers": (sizes != size).fill_null(True),
        "holds a value that is not a finite number": listed.list.eval(
            pl.element().is_null() | ~pl.element().is_finite()
        )
        .list.any()
        .fill_null(True),
    }
    return Cast(listed, [(what, wrong) for what, wrong in faulty.items() if wrong.any()])


def make_feature(
    name: str, column: FeatureColumn, casts: Sequence[Cast], rows: NDArray[np.int64]
) -> RawFeature:
    """A feature of all ids.

    Args:
        name: of the feature.
        column: its kind.
        casts: its columns, good rows only.
        rows: (ids,) row of the table of each id, -1 = the table has none: the value is missing.
    """
    names = tuple(cast.values.name for cast in casts)
    separator = column.separator or SEPARATORS.get(column.kind)
    if column.kind in ("number", "embedding"):
        values = _vectors(casts)
        missing = np.full((1, values.shape[1]), np.nan if column.kind == "number" else 0.0)
        taken = np.concatenate([values, missing])[rows]
        if column.kind == "number":
            return RawFeature(name, "number", taken[:, 0], names)
        return RawFeature(name, "dense", taken.astype(np.float32), names)
    series = casts[0].values
    if column.kind == "categorical":
        texts = [*as_text(series).str.strip_chars().fill_null("").to_list(), ""]
        return RawFeature(name, "categorical", [texts[row] for row in rows], names)
    sets = [*_sets(series, separator or "|", column.kind == "path"), ()]
    kind: FeatureKind = "path" if column.kind == "path" else "multi"
    return RawFeature(name, kind, [sets[row] for row in rows], names, separator)


def titles_of(series: pl.Series, rows: NDArray[np.int64]) -> list[str]:
    """Title of every id; empty where the table has none."""
    texts = [*as_text(series).fill_null("").to_list(), ""]
    return [texts[row] for row in rows]


def path_levels(text: str, separator: str) -> list[str]:
    """``Shoes/Boots`` -> ``Shoes`` and ``Shoes/Boots``: every level with all above it.

    Space around levels is dropped, and so are empty ones.
    """
    levels = [level.strip() for level in text.split(separator)]
    levels = [level for level in levels if level]
    return [separator.join(levels[: n + 1]) for n in range(len(levels))]


def _sets(series: pl.Series, separator: str, is_path: bool) -> list[Sequence[str]]:
    if series.dtype.is_nested() and not is_path:
        lists = series.cast(pl.List(pl.String), strict=False).to_list()
        return [[value for value in row or () if value] for row in lists]
    texts = as_text(series).fill_null("").to_list()
    if is_path:
        return [path_levels(text, separator) for text in texts]
    return [[v.strip() for v in text.split(separator) if v.strip()] for text in texts]


def _vectors(casts: Sequence[Cast]) -> NDArray[np.float64]:
    first = casts[0].values
    if not first.dtype.is_nested():
        return np.stack([cast.values.to_numpy() for cast in casts], axis=1).astype(np.float64)
    size = int(first.list.len().max() or 1)  # type: ignore[arg-type]
    return first.explode(empty_as_null=True).to_numpy().astype(np.float64).reshape(-1, size)


def read_embedding_file(name: str, vectors: Path, ids: Path, wanted: Sequence[str]) -> RawFeature:
    """An embedding in an ``.npy`` file (n, size) with a text file of n ids; others are zero.

    Raises:
        DataError: a file is missing or of another shape, a value is not finite, or an id occurs twice.
    """
    try:
        array = np.load(vectors, mmap_mode="r", allow_pickle=False)
        lines = ids.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the embedding {name} ({error})", where=vectors) from error
    keys = [line.rstrip("\r") for line in lines]
    keys = keys[:-1] if keys and not keys[-1] else keys
    if array.ndim != 2 or len(array) != len(keys) or array.dtype.kind not in "fiu":
        raise DataError(
            "embedding and ids do not fit",
            where=vectors,
            expected=f"numbers of shape ({len(keys)}, size), as many rows as {ids} has lines",
            received=f"{array.dtype} {array.shape}",
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise DataError("embedding is not finite", where=f"{vectors}: row {int(np.argmin(finite)) + 1}")
    rows: dict[str, int] = {}
    for row, key in enumerate(keys):
        if rows.setdefault(key, row) != row:
            raise DataError("id occurs twice", where=at_line(ids, row + 1), received=key)
    taken = np.zeros((len(wanted), array.shape[1]), np.float32)
    for place, key in enumerate(wanted):
        if key in rows:
            taken[place] = array[rows[key]]
    return RawFeature(name, "dense", taken)
