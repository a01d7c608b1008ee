"""Completing short result rows with items that no list of the query holds."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.search.queries import QueryBatch, count_mask_words
from sparcode.types import NO_ITEM, SearchResult


def fill_short_rows(result: SearchResult, queries: QueryBatch, num_items: int) -> None:
    """Put the permitted items of smallest id, with score 0, into the empty places of short rows.

    A row is short only if it holds every permitted item of a positive score, so that what is added ties at 0.

    Args:
        result: (B, k) results of ``queries``; changed in place.
        queries: B queries.
        num_items: size of the catalogue; items 1 to ``num_items`` may be added.
    """
    if not (result.item_ids[:, -1:] == NO_ITEM).any():
        return
    words = count_mask_words(num_items)
    _fill_rows(
        (result.item_ids, result.scores),
        (queries.exclude.ids, queries.exclude.starts, queries.exclude.stops),
        (queries.allow.ids, queries.allow.starts, queries.allow.stops),
        queries.mask,
        (np.zeros(words, dtype=np.uint64), np.zeros(words, dtype=np.uint64)),
        num_items,
    )


@njit(nogil=True, cache=True)
def _set_bit(words, item):  # type: ignore[no-untyped-def]
    words[item >> 6] |= np.uint64(1) << np.uint64(item & 63)


@njit(nogil=True, cache=True)
def _fill_rows(results, exclude, allow, mask, scratch, num_items):  # type: ignore[no-untyped-def]
    item_ids, scores = results
    exclude_ids, exclude_starts, exclude_stops = exclude
    allow_ids, allow_starts, allow_stops = allow
    taken, allowed = scratch  # bitsets, all 0 between rows
    for row in range(len(item_ids)):
        ranked = item_ids[row]
        if ranked[-1] != NO_ITEM:
            continue
        count = 0
        while ranked[count] != NO_ITEM:
            _set_bit(taken, ranked[count])
            count += 1
        for place in range(exclude_starts[row], exclude_stops[row]):
            _set_bit(taken, exclude_ids[place])
        for place in range(allow_starts[row], allow_stops[row]):
            _set_bit(allowed, allow_ids[place])
        taken[0] |= np.uint64(1)  # item 0 is padding
        found = count
        for word in range(len(taken)):
            if found == len(ranked):
                break
            free = ~taken[word]
            if allow_stops[row] >= 0:
                free &= allowed[word]
            if len(mask) > 0:
                free &= mask[row if len(mask) > 1 else 0, word]
            for bit in range(64 if free else 0):
                item = word * 64 + bit
                if (free >> np.uint64(bit)) & np.uint64(1) and item <= num_items and found < len(ranked):
                    ranked[found], scores[row, found] = item, 0
                    found += 1
        taken[0] = np.uint64(0)
        for place in range(count):
            taken[ranked[place] >> 6] = np.uint64(0)
        for place in range(exclude_starts[row], exclude_stops[row]):
            taken[exclude_ids[place] >> 6] = np.uint64(0)
        for place in range(allow_starts[row], allow_stops[row]):
            allowed[allow_ids[place] >> 6] = np.uint64(0)
