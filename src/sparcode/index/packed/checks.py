"""Invariants of packed posting lists (docs/index_format.md)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError
from sparcode.index.packed.bits import check_ids
from sparcode.index.packed.packed_lists import PackedLists
from sparcode.index.postings import MAX_ITEM_ID

_CHECK_CODES = 1 << 22
"""Codes checked at once."""


def check_packed_structure(lists: PackedLists) -> None:
    """Check counts and sizes; cost grows with the number of terms only.

    Raises:
        IndexFormatError: naming the array at fault.
    """
    if not 0 <= lists.num_items <= MAX_ITEM_ID:
        raise IndexFormatError(
            "num_items out of range", expected=f"0 to {MAX_ITEM_ID}", received=lists.num_items
        )
    for name in ("id_words", "steps"):
        if len(getattr(lists, name)) != lists.num_terms:
            raise IndexFormatError(
                f"{name} must hold one number per term",
                expected=lists.num_terms,
                received=len(getattr(lists, name)),
            )
    _refuse("lengths", (lists.lengths < 0) | (lists.lengths > lists.num_items + 1), lists.lengths)
    _refuse(
        "id_words", (lists.id_words < 0) | ((lists.lengths == 0) != (lists.id_words == 0)), lists.id_words
    )
    _refuse("steps", ~(np.isfinite(lists.steps) & (lists.steps > 0)), lists.steps)
    for name, size in (("ids", lists.id_starts[-1] + 2), ("codes", lists.code_starts[-1])):
        if len(getattr(lists, name)) != size:
            raise IndexFormatError(
                f"size of {name} contradicts the lists", expected=size, received=len(getattr(lists, name))
            )


def check_packed_contents(lists: PackedLists) -> None:
    """Check every posting: ids fill their words and are in range, scores are finite and above 0.

    Raises:
        IndexFormatError: naming the first term at fault.
    """
    term = _first_wrong_ids(lists.lengths, lists.id_starts, lists.ids, lists.num_items)
    if term >= 0:
        raise IndexFormatError("packed item ids are inconsistent", where=f"term {term}, section 'ids'")
    if lists.ids[-2:].any():
        raise IndexFormatError("the last two words are not 0", where="section 'ids'")
    _check_codes(lists)


def _check_codes(lists: PackedLists) -> None:
    for start in range(0, len(lists.codes), _CHECK_CODES):
        codes = lists.codes[start : start + _CHECK_CODES]
        terms = np.searchsorted(lists.code_starts, np.arange(start, start + len(codes)), side="right") - 1
        with np.errstate(over="ignore", invalid="ignore"):
            scores = codes.astype(np.float32) * lists.steps[terms]
        wrong = ~(np.isfinite(scores) & (scores > 0))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise IndexFormatError(
                "code of no score",
                where=f"term {terms[at]}, section 'codes'",
                expected="a finite score above 0",
                received=codes[at],
            )


@njit(nogil=True, cache=True)
def _first_wrong_ids(lengths, id_starts, ids, last):  # type: ignore[no-untyped-def]
    for term in range(len(lengths)):
        start, stop = id_starts[term], id_starts[term + 1]
        if stop > start and not check_ids(ids, start, stop, lengths[term], last):
            return term
    return -1


def _refuse(name: str, wrong: NDArray[np.bool_], values: NDArray) -> None:
    if wrong.any():
        term = int(np.argmax(wrong))
        raise IndexFormatError(f"{name} out of range", where=f"term {term}", received=values[term])
