"""Columns of item attributes: numbers, categories, and sets of categories, one row per item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import IndexFormatError, UsageError

Column: TypeAlias = "Number | Category | MultiCategory"

UNKNOWN = -1
"""Code of an item whose category is not known."""


@dataclass(frozen=True, eq=False)
class Number:
    """A number per item.

    Attributes:
        values: (num_items + 1,) float64; row i = item i; NaN = unknown; row 0 is padding and NaN.
    """

    values: NDArray[np.float64]

    kind = "number"

    @classmethod
    def from_values(cls, values: Sequence[float | None] | NDArray) -> Number:
        """Of the items 1, 2, ... in order; None and NaN are unknown.

        Raises:
            UsageError: a value that is no number.
        """
        try:
            rows = np.array([np.nan, *values], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError("values are no numbers", received=error) from error
        return cls(rows)

    @property
    def num_rows(self) -> int:
        return len(self.values)

    def padded(self, num_rows: int) -> Number:
        """With rows of unknown values behind, ``num_rows`` in all."""
        return Number(np.pad(self.values, (0, num_rows - self.num_rows), constant_values=np.nan))

    def check(self) -> None:
        """Raise IndexFormatError when an invariant does not hold."""
        if self.values.ndim != 1 or not len(self.values) or not np.isnan(self.values[0]):
            raise IndexFormatError("row 0 of a number must be unknown")
        if np.isinf(self.values).any():
            raise IndexFormatError("number is infinite", where=f"row {int(np.isinf(self.values).argmax())}")


@dataclass(frozen=True, eq=False)
class _Coded:
    """What columns with a dictionary share.

    Attributes:
        vocabulary: distinct texts; position = code.
    """

    vocabulary: tuple[str, ...]

    @cached_property
    def _codes_by_text(self) -> dict[str, int]:
        return {text: code for code, text in enumerate(self.vocabulary)}

    def table_of(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(len(vocabulary) + 1,) whether each code is one of the texts; False in the end, for code -1."""
        table = np.zeros(len(self.vocabulary) + 1, dtype=np.bool_)
        table[[self._codes_by_text[text] for text in texts if text in self._codes_by_text]] = True
        return table

    def unknown_texts(self, texts: Sequence[str]) -> list[str]:
        """Those that no item has."""
        return [text for text in texts if text not in self._codes_by_text]

    def _check_codes(self, codes: NDArray, least: int) -> None:
        texts = all(isinstance(text, str) for text in self.vocabulary)
        if not texts or len(self._codes_by_text) != len(self.vocabulary):
            raise IndexFormatError("vocabulary must hold distinct texts")
        if codes.size and (int(codes.min()) < least or int(codes.max()) >= len(self.vocabulary)):
            raise IndexFormatError(
                "code out of range",
                expected=f"{least} to {len(self.vocabulary) - 1}",
                received=f"{int(codes.min())} to {int(codes.max())}",
            )


@dataclass(frozen=True, eq=False)
class Category(_Coded):
    """One text per item.

    Attributes:
        vocabulary: distinct texts; position = code.
        codes: (num_items + 1,) int32; row i = item i; -1 = unknown; row 0 is padding and -1.
    """

    codes: NDArray[np.int32]

    kind = "category"

    @classmethod
    def from_values(cls, values: Sequence[str | None]) -> Category:
        """Of the items 1, 2, ... in order; None is unknown."""
        vocabulary = tuple(sorted({value for value in values if value is not None}))
        codes = {text: code for code, text in enumerate(vocabulary)}
        rows = [UNKNOWN, *(UNKNOWN if value is None else codes[value] for value in values)]
        return cls(vocabulary, np.array(rows, dtype=np.int32))

    @property
    def num_rows(self) -> int:
        return len(self.codes)

    def padded(self, num_rows: int) -> Category:
        """With rows of unknown values behind, ``num_rows`` in all."""
        codes = np.pad(self.codes, (0, num_rows - self.num_rows), constant_values=UNKNOWN)
        return Category(self.vocabulary, codes)

    def check(self) -> None:
        """Raise IndexFormatError when an invariant does not hold."""
        if self.codes.ndim != 1 or not len(self.codes) or self.codes[0] != UNKNOWN:
            raise IndexFormatError("row 0 of a category must be unknown")
        self._check_codes(self.codes, UNKNOWN)


@dataclass(frozen=True, eq=False)
class MultiCategory(_Coded):
    """A set of texts per item, as compressed sparse rows; an unknown set is an empty one.

    Attributes:
        vocabulary: distinct texts; position = code.
        indptr: (num_items + 2,) int64; item i has the codes ``indptr[i]`` to ``indptr[i + 1] - 1``; row 0
            is padding and empty.
        codes: (n,) int32, ascending and unique within a row.
    """

    indptr: NDArray[np.int64]
    codes: NDArray[np.int32]

    kind = "set"

    @classmethod
    def from_values(cls, values: Sequence[Sequence[str] | None]) -> MultiCategory:
        """Of the items 1, 2, ... in order; None is an empty set."""
        rows = [() if value is None else value for value in values]
        vocabulary = tuple(sorted({text for row in rows for text in row}))
        numbers = {text: code for code, text in enumerate(vocabulary)}
        coded = [sorted({numbers[text] for text in row}) for row in rows]
        indptr = np.cumsum([0, 0, *map(len, coded)], dtype=np.int64)
        return cls(vocabulary, indptr, np.array([code for row in coded for code in row], dtype=np.int32))

    @property
    def num_rows(self) -> int:
        return len(self.indptr) - 1

    def padded(self, num_rows: int) -> MultiCategory:
        """With empty rows behind, ``num_rows`` in all."""
        indptr = np.pad(self.indptr, (0, num_rows - self.num_rows), mode="edge")
        return MultiCategory(self.vocabulary, indptr, self.codes)

    def check(self) -> None:
        """Raise IndexFormatError when an invariant does not hold."""
        indptr, codes = self.indptr, self.codes
        if indptr.ndim != 1 or codes.ndim != 1 or len(indptr) < 2 or indptr[0] != 0 or indptr[1] != 0:
            raise IndexFormatError("row 0 of a set must be empty")
        if indptr[-1] != len(codes) or (np.diff(indptr) < 0).any():
            raise IndexFormatError("borders of the rows of a set do not fit its codes")
        self._check_codes(codes, 0)
        ascends = np.ones(len(codes) + 1, dtype=np.bool_)
        ascends[1:-1] = codes[1:] > codes[:-1]
        ascends[indptr] = True  # where a row begins
        if not ascends.all():
            raise IndexFormatError("codes of a set do not ascend", where=f"entry {int(np.argmin(ascends))}")


def coded_rows(vocabulary: Sequence[str], rows: ArrayLike) -> MultiCategory:
    """A set column of codes in padded rows.

    Args:
        vocabulary: texts by id - 1.
        rows: (num_items + 1, width) int ids, 0 = nothing.
    """
    ids = np.sort(np.asarray(rows), axis=1)
    kept = ids > 0
    kept[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    kept[0] = False
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1, dtype=np.int64))])
    return MultiCategory(tuple(vocabulary), indptr, (ids[kept] - 1).astype(np.int32))
