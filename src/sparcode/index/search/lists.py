"""Where a kernel finds the posting lists of a query.

A kernel reads two flat arrays, ``item_ids`` and ``scores``, and for every place of a query the range
``starts .. stops`` of its list in them. It does not care whether the arrays are those of the index or
scratch memory that lists were decoded into: that is the business of a :class:`ListSource`. Only lists with a
code for every item are handed over as they are (:class:`DenseLists`), since kernels add them up faster than
they can be decoded. A source hands a
batch over in blocks of consecutive queries, so that scratch memory is as large as one block and still in the
cache when the kernel reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.index.postings import Postings


def read_only(values: NDArray) -> NDArray:
    """A C-contiguous read-only view or copy: kernels are compiled for one type of each argument."""
    view: NDArray = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class DenseLists:
    """Lists of b queries that have a code for each of the items 0 to num_items; code 0 = no posting.

    A score is ``step * code``, rounded to float32.

    Attributes:
        codes: uint8, read-only: the bytes of the codes, which are uint8, float16 or float32.
        width: bytes of a code: 1, 2 or 4.
        firsts: (b, K_u) int64 first code (not byte) of list j of query q, -1 = it is no dense one; or (0, 0):
            none is.
        steps: (b, K_u) float32.
    """

    codes: NDArray[np.uint8]
    width: int
    firsts: NDArray[np.int64]
    steps: NDArray[np.float32]


NO_DENSE_LISTS = DenseLists(
    read_only(np.empty(0, dtype=np.uint8)),
    1,
    np.empty((0, 0), dtype=np.int64),
    np.empty((0, 0), dtype=np.float32),
)


@dataclass(frozen=True)
class QueryLists:
    """The posting lists of b consecutive queries.

    Attributes:
        item_ids: (n,) int32, read-only; ascending and unique within a list.
        scores: (n,) float32, read-only, finite and not negative.
        starts: (b, K_u) int64; list j of query q is ``item_ids[starts[q, j]:stops[q, j]]``.
        stops: (b, K_u) int64; equal to ``starts`` where there is no list. Lists may overlap or repeat.
        dense: lists that are given as codes instead; ``starts`` equals ``stops`` at their places.
    """

    item_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    dense: DenseLists = NO_DENSE_LISTS

    @property
    def arrays(self) -> tuple:
        """Everything, as kernels take it."""
        dense = self.dense
        codes = dense.codes, dense.width, dense.firsts, dense.steps
        return self.item_ids, self.scores, self.starts, self.stops, codes


class ListScratch:
    """Memory of one search thread that a source may decode lists into; kept from search to search."""

    def __init__(self) -> None:
        self.item_ids = np.empty(0, dtype=np.int32)
        self.scores = np.empty(0, dtype=np.float32)

    def reserve(self, size: int) -> None:
        """Make both arrays at least ``size`` long; what they held is lost."""
        if len(self.item_ids) < size:
            self.item_ids = np.empty(size, dtype=np.int32)
            self.scores = np.empty(size, dtype=np.float32)


class ListSource(Protocol):
    """Posting lists by term id; may be read by several threads at once."""

    @property
    def num_items(self) -> int:
        """Size of the catalogue; the largest item id that may occur."""
        ...

    def blocks(self, term_ids: NDArray[np.int64], scratch: ListScratch) -> Iterator[QueryLists]:
        """The lists of a batch, one block of consecutive queries after the other.

        Args:
            term_ids: (B, K_u) int64 in [-1, num_terms); -1 = no term.
            scratch: belongs to the calling thread. A block may lie in it and is not read again once the
                next one has been asked for. Its arrays are handed over as read-only views.

        Yields:
            Blocks that together hold B queries, in order.
        """
        ...


class PlainLists:
    """Lists that lie decoded in memory or in mapped files: a batch is one block and nothing is copied."""

    def __init__(self, postings: Postings) -> None:
        self._indptr = postings.indptr
        self._item_ids = postings.item_ids
        self._scores = postings.scores
        self._num_items = postings.num_items

    @property
    def num_items(self) -> int:
        return self._num_items

    def blocks(self, term_ids: NDArray[np.int64], scratch: ListScratch) -> Iterator[QueryLists]:
        starts = self._indptr.take(term_ids, mode="wrap")  # -1 becomes the last border, an empty list
        stops = self._indptr.take(term_ids + 1)
        np.copyto(stops, starts, where=term_ids < 0)
        yield QueryLists(self._item_ids, self._scores, starts, stops)
