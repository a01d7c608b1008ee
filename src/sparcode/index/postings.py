"""Posting lists as plain arrays, with checked invariants, and lists on their way there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import IndexFormatError
from sparcode.index.arrays import borders_of, read_only

MAX_ITEM_ID = np.iinfo(np.int32).max - 1
"""Largest item id that a posting can hold."""

_CHECK_BLOCK = 1 << 22
"""Postings checked at once, so that checking needs a few tens of megabytes whatever the index size."""


class Lists(NamedTuple):
    """Lists of consecutive terms on their way into an index.

    Attributes:
        lengths: (T,) int64 postings of each list.
        item_ids: (n,) int32, the lists one after the other.
        scores: (n,) float32, less the floor of the list.
        floors: (T,) float32 what was subtracted from the scores of each list.
    """

    lengths: NDArray[np.int64]
    item_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    floors: NDArray[np.float32]

    def postings(self, num_items: int) -> Postings:
        """As checked posting lists.

        Raises:
            IndexFormatError: an invariant of :class:`Postings` does not hold.
        """
        return make_postings(borders_of(self.lengths), self.item_ids, self.scores, num_items)


def join_lists(parts: Iterable[Lists]) -> Lists:
    """The lists of several parts, one part after the other; at least one part."""
    return Lists(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Postings:
    """Posting lists in compressed sparse row form, keyed by term id; the arrays are read-only.

    Attributes:
        indptr: (num_terms + 1,) int64; list t is ``item_ids[indptr[t]:indptr[t + 1]]``.
        item_ids: (num_postings,) int32, ascending and unique within a list, in [0, num_items].
        scores: (num_postings,) float32, finite and above 0.
        num_items: size of the catalogue; the largest item id that may occur.
    """

    indptr: NDArray[np.int64]
    item_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    num_items: int

    @property
    def num_terms(self) -> int:
        """Posting lists, empty ones included."""
        return len(self.indptr) - 1

    @property
    def num_postings(self) -> int:
        """Postings of all lists."""
        return len(self.item_ids)

    @property
    def size_bytes(self) -> int:
        """Bytes of the three arrays."""
        return self.indptr.nbytes + self.item_ids.nbytes + self.scores.nbytes

    def list_lengths(self) -> NDArray[np.int64]:
        """(num_terms,) int64 number of postings of each list."""
        return np.diff(self.indptr)

    def posting_list(self, term_id: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item ids and scores of one list, as views."""
        start, stop = self.indptr[term_id : term_id + 2]
        return self.item_ids[start:stop], self.scores[start:stop]

    def part(self, first: int, stop: int) -> Postings:
        """The lists of the terms ``first .. stop - 1``, as views."""
        start, end = self.indptr[[first, stop]]
        borders = read_only(self.indptr[first : stop + 1] - start)
        return Postings(borders, self.item_ids[start:end], self.scores[start:end], self.num_items)


def make_postings(indptr: ArrayLike, item_ids: ArrayLike, scores: ArrayLike, num_items: int) -> Postings:
    """Convert to the stored types and check every invariant of :class:`Postings`.

    Raises:
        IndexFormatError: naming the first invariant that does not hold, and where.
    """
    postings = Postings(
        indptr=read_only(_whole_numbers(indptr, "indptr"), np.int64),
        item_ids=read_only(_item_ids(item_ids), np.int32),
        scores=read_only(np.asarray(scores), np.float32),
        num_items=int(num_items),
    )
    check_structure(postings)
    check_contents(postings)
    return postings


def check_structure(postings: Postings) -> None:
    """Check counts and list borders; cost grows with the number of terms only.

    Raises:
        IndexFormatError: naming the array at fault.
    """
    if not 0 <= postings.num_items <= MAX_ITEM_ID:
        raise IndexFormatError(
            "num_items out of range", expected=f"0 to {MAX_ITEM_ID}", received=postings.num_items
        )
    indptr, count = postings.indptr, postings.num_postings
    if indptr.ndim != 1 or len(indptr) < 1 or postings.item_ids.ndim != 1:
        raise IndexFormatError("indptr and item_ids must be vectors, indptr not empty")
    if postings.scores.shape != postings.item_ids.shape:
        raise IndexFormatError(
            "as many scores as item_ids are needed",
            expected=postings.item_ids.shape,
            received=postings.scores.shape,
        )
    if indptr[0] != 0 or indptr[-1] != count:
        raise IndexFormatError(
            "indptr must run from 0 to the number of postings",
            expected=f"0 to {count}",
            received=f"{indptr[0]} to {indptr[-1]}",
        )
    falling = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falling):
        raise IndexFormatError("indptr decreases", where=f"term {falling[0]}", expected="an ascending indptr")


def check_contents(postings: Postings) -> None:
    """Check every posting: item ids in range, ascending and unique in their list, scores finite and positive.

    Raises:
        IndexFormatError: naming the term and the value at fault.
    """
    for start in range(0, postings.num_postings, _CHECK_BLOCK):
        stop = min(start + _CHECK_BLOCK, postings.num_postings)
        items, scores = postings.item_ids[start:stop], postings.scores[start:stop]
        _refuse(postings, start, (items < 0) | (items > postings.num_items), "item id out of range",
                f"0 to {postings.num_items}", items)  # fmt: skip
        with np.errstate(invalid="ignore"):
            good = np.isfinite(scores) & (scores > 0)
        _refuse(postings, start, ~good, "score not finite and positive", "a finite score above 0", scores)
        _check_ascending(postings, start, stop)


def _check_ascending(postings: Postings, start: int, stop: int) -> None:
    first = max(start - 1, 0)  # overlaps the previous block by one posting
    items = postings.item_ids[first:stop]
    same_list = np.ones(len(items), dtype=bool)
    low, high = np.searchsorted(postings.indptr, [first, stop])
    same_list[postings.indptr[low:high] - first] = False
    wrong = np.zeros(len(items), dtype=bool)
    wrong[1:] = (items[1:] <= items[:-1]) & same_list[1:]
    _refuse(postings, first, wrong, "item ids of a list not ascending and unique", "a larger item id", items)


def _refuse(
    postings: Postings, start: int, wrong: NDArray[np.bool_], what: str, expected: str, values: NDArray
) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        term = int(np.searchsorted(postings.indptr, start + at, side="right")) - 1
        raise IndexFormatError(
            what, where=f"term {term}, posting {start + at}", expected=expected, received=values[at]
        )


def _whole_numbers(values: ArrayLike, name: str) -> NDArray:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise IndexFormatError(f"{name} is not an integer array", expected="integers", received=array.dtype)
    return array


def _item_ids(values: ArrayLike) -> NDArray:
    array = _whole_numbers(values, "item_ids")
    if array.size and array.dtype != np.int32 and (array.min() < 0 or array.max() > MAX_ITEM_ID):
        raise IndexFormatError(
            "item id out of range", expected=f"0 to {MAX_ITEM_ID}", received=f"{array.min()} to {array.max()}"
        )
    return array


def make_floors(floors: ArrayLike | None, num_terms: int) -> NDArray[np.float32] | None:
    """Check what was subtracted from the scores of each list.

    Args:
        floors: (num_terms,) float, finite: an item without a posting counts as the floor; None = nothing was.
        num_terms: lists of the index.

    Raises:
        IndexFormatError: naming the term at fault.
    """
    if floors is None:
        return None
    values = np.asarray(floors)
    if values.shape != (num_terms,) or (values.size and not np.issubdtype(values.dtype, np.floating)):
        raise IndexFormatError(
            "floors must hold one number per term",
            expected=f"({num_terms},) floating",
            received=f"{values.shape} {values.dtype}",
        )
    if not np.isfinite(values).all():
        raise IndexFormatError(
            "floor is not finite", where=f"term {np.isfinite(values).argmin()}", expected="a finite float32"
        )
    return read_only(values, np.float32)
