"""Encoded queries -> top-k items, by inverted index or by exact dot products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index import InvertedIndex, LiveIndex
from sparcode.index.search.dense import DenseIndex
from sparcode.serving.bundle import Bundle
from sparcode.serving.session import EncodedQueries
from sparcode.types import NO_ITEM, SearchResult


@dataclass(frozen=True)
class Filters:
    """Which items may be results.

    Attributes:
        exclude: per query, ids of items that are no results.
        allow: per query, the only ids that may be results; None = all.
        mask: bitsets of the items that may be results, (num_words,) or (B, num_words) uint64; None = all.
        fill: (B,) bool: whether a query gets items without a posting, with score 0, once others run out.
    """

    exclude: Sequence[NDArray[np.int64]]
    allow: Sequence[NDArray[np.int64] | None]
    mask: NDArray[np.uint64] | None
    fill: NDArray[np.bool_]


class Searcher(Protocol):
    """Finds the best items of encoded queries."""

    def search(self, queries: EncodedQueries, k: int, filters: Filters) -> SearchResult:
        """Top-k items: (B, k), ties by smaller id, short rows padded with -1 and -inf."""


class IndexSearcher:
    """SparCode: the posting lists of the query's codes, merged."""

    def __init__(self, index: LiveIndex, num_threads: int) -> None:
        self._index, self._num_threads = index, num_threads

    def search(self, queries: EncodedQueries, k: int, filters: Filters) -> SearchResult:
        """As ``Searcher.search``.

        Raises:
            UsageError: the queries have no term ids.
        """
        if queries.term_ids is None:
            raise UsageError("an inverted index needs term ids", received="query vectors")
        result = self._index.search(
            queries.term_ids,
            k,
            weights=queries.weights,
            exclude=filters.exclude,
            allow=filters.allow,
            mask=filters.mask,
            fill=bool(filters.fill.any()),
            num_threads=self._num_threads,
        )
        unwanted = ~filters.fill[:, None] & (result.scores <= 0)  # postings are above 0, fillers are 0
        return SearchResult(np.where(unwanted, NO_ITEM, result.item_ids), result.scores)


class VectorSearcher:
    """Two-tower: dot products with every item, and what the lists of its history items add.

    Args:
        index: of the item vectors.
        lists: of the crosses; None without.
    """

    def __init__(self, index: DenseIndex, lists: InvertedIndex | None = None) -> None:
        self._index, self._lists = index, lists

    def search(self, queries: EncodedQueries, k: int, filters: Filters) -> SearchResult:
        """As ``Searcher.search``.

        Raises:
            UsageError: the queries have no vectors.
        """
        if queries.vectors is None:
            raise UsageError("item vectors need query vectors", received="term ids")
        return self._index.search(
            queries.vectors,
            k,
            exclude=filters.exclude,
            allow=filters.allow,
            mask=filters.mask,
            add=None if self._lists is None else list_adder(self._lists, queries),
        )


def list_adder(lists: InvertedIndex, queries: EncodedQueries) -> Callable[[NDArray[np.float32], int], None]:
    """What adds to scores (b, I + 1) of the queries from the given one on what their terms' lists hold.

    An item without a posting gains the floor of the list.
    """
    terms, weights = np.asarray(queries.term_ids), np.asarray(queries.weights)
    floors = lists.floors

    def add(scores: NDArray[np.float32], first: int) -> None:
        for row, own in enumerate(scores, start=first):
            for term, weight in zip(terms[row], weights[row], strict=True):
                if term >= 0:
                    items, values = lists.posting_list(int(term))
                    own[items] += weight * values
                    if floors is not None:
                        own += weight * floors[term]

    return add


def make_searcher(bundle: Bundle, num_threads: int = 1) -> Searcher:
    """The searcher of a bundle; ``num_threads`` share a batch (inverted index only).

    Raises:
        UsageError: the bundle holds item vectors that are not finite.
    """
    if bundle.live is not None:
        return IndexSearcher(bundle.live, num_threads)
    if bundle.item_vectors is None:
        raise UsageError("bundle has neither index nor item vectors", where=bundle.directory)
    return VectorSearcher(DenseIndex(bundle.item_vectors), bundle.index)
