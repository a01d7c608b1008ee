"""Completing short result rows with items that no list of the query holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.index import bitsets as bits
from sparcode.index.search.arguments import QueryBatch
from sparcode.types import NO_ITEM, SearchResult

_WORDS = 64
"""Words of a bitset, of 64 items each, that are looked through at first."""


def fill_short_rows(result: SearchResult, queries: QueryBatch, num_items: int) -> None:
    """Put the permitted items of smallest id, with score 0, into the empty places of short rows.

    A row is short only if it holds every permitted item of a positive score, so that what is added ties at 0.

    Args:
        result: (B, k) results of ``queries``; changed in place.
        queries: B queries.
        num_items: size of the catalogue; items 1 to ``num_items`` may be added.
    """
    for row in np.flatnonzero(result.item_ids[:, -1] == NO_ITEM):
        count = int(np.argmax(result.item_ids[row] == NO_ITEM))
        taken = result.item_ids[row, :count]
        excluded = queries.exclude.of(row)
        if excluded is not None:
            taken = np.concatenate([taken, excluded])
        free = _free_items(queries, row, taken, num_items, result.item_ids.shape[1] - count)
        result.item_ids[row, count : count + len(free)] = free
        result.scores[row, count : count + len(free)] = 0


def _free_items(
    queries: QueryBatch, row: int, taken: NDArray[np.int64], num_items: int, wanted: int
) -> NDArray[np.int64]:
    """The first ``wanted`` items that a query permits and that are not taken, ascending."""
    allowed, mask = queries.allow.of(row), queries.mask_of(row)
    if allowed is not None:
        items = np.unique(allowed[allowed > 0])
        items = items if mask is None else items[bits.contains(mask, items)]
        return items[~np.isin(items, taken)][:wanted]
    found: list[NDArray[np.int64]] = []
    first, words = 0, _WORDS
    while wanted > 0 and first * 64 <= num_items:
        stop = min((first + words) * 64, num_items + 1)
        items = np.arange(max(first * 64, 1), stop)
        items = items if mask is None else items[bits.contains(mask, items)]
        items = items[~np.isin(items, taken)][:wanted]
        found.append(items)
        wanted -= len(items)
        first, words = first + words, 2 * words
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)
