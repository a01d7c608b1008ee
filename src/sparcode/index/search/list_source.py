"""Where a search finds the posting lists of its queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.index.arrays import read_only
from sparcode.index.postings import Postings


class QueryLists(NamedTuple):
    """The posting lists of b consecutive queries, as the kernel takes them.

    Attributes:
        item_ids: (n,) int32, read-only; ascending and unique within a list.
        scores: (n,) float32, read-only, finite and not negative.
        starts: (b, K_u) int64; list j of query q is ``item_ids[starts[q, j]:stops[q, j]]``.
        stops: (b, K_u) int64; equal to ``starts`` where there is no list. Lists may overlap or repeat.
    """

    item_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


class ListSource(Protocol):
    """Posting lists by term id; may be read by several threads at once."""

    @property
    def num_items(self) -> int:
        """Size of the catalogue; the largest item id that may occur."""
        ...

    def blocks(self, term_ids: NDArray[np.int64]) -> Iterator[QueryLists]:
        """The lists of a batch, one block of consecutive queries after the other.

        Args:
            term_ids: (B, K_u) int64 in [-1, num_terms); -1 = no term.

        Yields:
            Blocks that together hold B queries, in order.
        """
        ...


class PlainLists:
    """Lists that lie decoded in memory or in mapped files: a batch is one block and nothing is copied."""

    def __init__(self, postings: Postings) -> None:
        self._indptr = postings.indptr
        self._item_ids, self._scores = read_only(postings.item_ids), read_only(postings.scores)
        self.num_items = postings.num_items

    def blocks(self, term_ids: NDArray[np.int64]) -> Iterator[QueryLists]:
        """See :class:`ListSource`."""
        starts = self._indptr.take(term_ids, mode="wrap")  # -1 becomes the last border, an empty list
        stops = self._indptr.take(term_ids + 1)
        np.copyto(stops, starts, where=term_ids < 0)
        yield QueryLists(self._item_ids, self._scores, starts, stops)
