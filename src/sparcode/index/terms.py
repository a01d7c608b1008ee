"""What an index knows of its terms beside their posting lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import IndexFormatError


@dataclass(frozen=True)
class TermTable:
    """Floors and redirects of the terms of an index; the arrays are read-only.

    Attributes:
        floors: (num_terms,) float32, finite: what was subtracted from every score of a list, so that an item
            without a posting counts as the floor; None = nothing was.
        redirects: (num_terms,) int32: the term whose list answers for each term, itself where the list was
            built; None = every list was built.
    """

    floors: NDArray[np.float32] | None = None
    redirects: NDArray[np.int32] | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in (self.floors, self.redirects) if array is not None)

    def resolve(self, term_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The terms whose lists answer for ``term_ids``; -1 (no term) stays.

        Args:
            term_ids: int64 of any shape, each in [-1, num_terms).
        """
        if self.redirects is None:
            return term_ids
        resolved = self.redirects[np.maximum(term_ids, 0)].astype(np.int64)
        return np.where(term_ids < 0, -1, resolved)


def make_term_table(
    num_terms: int, floors: ArrayLike | None = None, redirects: ArrayLike | None = None
) -> TermTable:
    """Convert to the stored types and check every invariant of :class:`TermTable`.

    Raises:
        IndexFormatError: naming the array and the term at fault.
    """
    return TermTable(
        None if floors is None else _floors(np.asarray(floors), num_terms),
        None if redirects is None else _redirects(np.asarray(redirects), num_terms),
    )


def _floors(values: NDArray, num_terms: int) -> NDArray[np.float32]:
    _check_shape(values, num_terms, "floors")
    bad = ~np.isfinite(values)
    if bad.any():
        raise IndexFormatError(
            "floor is not finite", where=f"term {int(np.argmax(bad))}", expected="a finite float32"
        )
    return _frozen(values, np.float32)


def _redirects(values: NDArray, num_terms: int) -> NDArray[np.int32]:
    _check_shape(values, num_terms, "redirects")
    bad = (values < 0) | (values >= num_terms)
    if not bad.any():
        bad = values[values] != values
    if bad.any():
        at = int(np.argmax(bad))
        raise IndexFormatError(
            "redirect does not name a term with a list of its own",
            where=f"term {at}",
            expected=f"0 to {num_terms - 1}, a term that is redirected to itself",
            received=values[at],
        )
    return _frozen(values, np.int32)


def _check_shape(values: NDArray, num_terms: int, name: str) -> None:
    kind = np.floating if name == "floors" else np.integer
    if values.shape != (num_terms,) or (values.size and not np.issubdtype(values.dtype, kind)):
        raise IndexFormatError(
            f"{name} must hold one number per term",
            expected=f"({num_terms},) {kind.__name__}",
            received=f"{values.shape} {values.dtype}",
        )


def _frozen(values: NDArray, dtype: type) -> NDArray:
    view: NDArray = np.ascontiguousarray(values, dtype=dtype).view()
    view.flags.writeable = False
    return view
