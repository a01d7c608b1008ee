"""Invariants of packed posting lists (docs/index_format.md)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.errors import IndexFormatError
from sparcode.index.packed.bits import check_ids
from sparcode.index.packed.lists import PackedLists
from sparcode.index.postings import MAX_ITEM_ID


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
    _refuse("id_words", (lists.id_words < 0) | ((lists.lengths == 0) & (lists.id_words > 0)), lists.id_words)
    _refuse("steps", ~(np.isfinite(lists.steps) & (lists.steps > 0)), lists.steps)
    for name, size in (("ids", lists.id_starts[-1] + 2), ("codes", lists.code_starts[-1])):
        if len(getattr(lists, name)) != size:
            raise IndexFormatError(
                f"size of {name} contradicts the lists", expected=size, received=len(getattr(lists, name))
            )


def check_packed_contents(lists: PackedLists) -> None:
    """Check every posting: ids fill their words and are in range, scores are finite and above 0, and a dense
    list has as many codes as postings.

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
    """Scores grow with codes, so that the smallest and the largest code of a list vouch for all."""
    codes = lists.codes.view(np.uint16) if lists.encoding == "float16" else lists.codes
    smallest, largest = np.zeros((2, lists.num_terms), dtype=codes.dtype)
    counts = np.zeros(lists.num_terms, dtype=np.int64)
    _summarize_codes(lists.code_starts, codes, smallest, largest, counts)
    good = counts == lists.lengths
    with np.errstate(over="ignore", invalid="ignore"):
        for ends in (smallest, largest):
            scores = ends.view(lists.codes.dtype).astype(np.float32) * lists.steps
            good &= np.isfinite(scores) & ((scores > 0) | (counts == 0))
    if not good.all():
        term = int(np.argmin(good))
        raise IndexFormatError(
            "codes are inconsistent",
            where=f"term {term}, section 'codes'",
            expected=f"{lists.lengths[term]} finite scores above 0",
        )


@njit(nogil=True, cache=True)
def _summarize_codes(code_starts, codes, smallest, largest, counts):  # type: ignore[no-untyped-def]
    """Smallest and largest code other than 0 of each list, and their number; -1 if one is no number >= 0."""
    for term in range(len(counts)):
        for place in range(code_starts[term], code_starts[term + 1]):
            code = codes[place]
            if code > 0:
                if counts[term] == 0 or code < smallest[term]:
                    smallest[term] = code
                largest[term] = max(largest[term], code)
                counts[term] += 1
            elif code != 0:
                counts[term] = -1
                break


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
