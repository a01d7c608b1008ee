"""The search kernel: totals term by term, then the best of them.

Totals are added up in a table whose size is a power of two, at the item id modulo that size. In a catalogue
that is not larger than the table, an entry is the total of one item, and the best entries are the result.
Otherwise items may share an entry. As scores are not negative and rounding is monotonic, the entry is then at
least the total of each of its items: items whose entry is below a bound are below it for certain, and only
the few others are added up exactly, in a hash table (cf. the upper bounds of MaxScore and of count-min
sketches). A bound that fewer than k exact totals reach is lowered, and the lists are read again. The work
does not depend on the size of a large catalogue.

Every total is the sum of its products in the order of the terms, each rounded to float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.search.selection import (
    bound_of_best_by_groups,
    collect,
    item_of,
    keep_best,
    score_bits_of,
)

SMALL_CATALOGUE = 1 << 15
"""Items up to which each has an entry of its own, however few postings are read."""

SHARED_TABLE = 1 << 14
"""Least number of entries that items share: 64 KB."""

_CHUNK = 256
_MAX_GROUPS = 1 << 11


@njit(nogil=True, cache=True)
def _has_bit(words, item):  # type: ignore[no-untyped-def]
    return (words[item >> 6] >> np.uint64(item & 63)) & np.uint64(1) != np.uint64(0)


@njit(nogil=True, cache=True)
def _add_to_items(lists, row, weights, table):  # type: ignore[no-untyped-def]
    """Add the lists of a query to a table with an entry for every item."""
    item_ids, scores, starts, stops = lists
    for place in range(len(weights)):
        weight = weights[place]
        for start in range(starts[row, place], stops[row, place], _CHUNK):
            stop = min(start + _CHUNK, stops[row, place])
            items, gains = item_ids[start:stop], scores[start:stop]
            if items[-1] - items[0] + 1 == len(items):  # consecutive items: a sum of vectors
                entries = table[items[0] : items[0] + len(items)]
                for at in range(len(items)):
                    entries[at] += weight * gains[at]
            else:
                for at in range(len(items)):
                    table[items[at]] += weight * gains[at]


@njit(nogil=True, cache=True)
def _add_to_shared(lists, row, weights, table, permitted):  # type: ignore[no-untyped-def]
    """Add the permitted postings of a query to a table with entries that items share."""
    item_ids, scores, starts, stops = lists
    last = len(table) - 1
    for place in range(len(weights)):
        weight = weights[place]
        items = item_ids[starts[row, place] : stops[row, place]]
        gains = scores[starts[row, place] : stops[row, place]]
        if len(permitted) == 0:
            for at in range(len(items)):
                table[items[at] & last] += weight * gains[at]
        else:
            for at in range(len(items)):
                gain = weight * gains[at]
                table[items[at] & last] += gain if _has_bit(permitted, items[at]) else np.float32(0)


@njit(nogil=True, cache=True)
def _slot_of(tags, item):  # type: ignore[no-untyped-def]
    """Where the tag of an item is in a hash table, or may be put."""
    last = len(tags) - 1
    at = (np.int64(item) * 0x9E3779B1 >> 12) & last
    while tags[at] != item and tags[at] >= 0:
        at = (at + 1) & last
    return at


@njit(nogil=True, cache=True)
def _add_exactly(lists, row, weights, shared, exact):  # type: ignore[no-untyped-def]
    """Totals of the items whose entry reaches the bound, in a hash table; returns the number of items."""
    item_ids, scores, starts, stops = lists
    bits, bound, permitted = shared
    tags, sums, used = exact
    last, count = len(bits) - 1, 0
    for place in range(len(weights)):
        weight = weights[place]
        items = item_ids[starts[row, place] : stops[row, place]]
        gains = scores[starts[row, place] : stops[row, place]]
        for at in range(len(items)):
            item = items[at]
            if bits[item & last] >= bound and (len(permitted) == 0 or _has_bit(permitted, item)):
                slot = _slot_of(tags, item)
                if tags[slot] < 0:
                    tags[slot] = item
                    sums[slot] = 0
                    used[count] = slot
                    count += 1
                sums[slot] += weight * gains[at]
    return count


@njit(nogil=True, cache=True)
def _take_totals(exact, count, candidates):  # type: ignore[no-untyped-def]
    """Move the totals of a hash table to vectors, and empty it."""
    tags, sums, used = exact
    items, totals = candidates
    for at in range(count):
        items[at], totals[at] = tags[used[at]], sums[used[at]]
        tags[used[at]] = -1


@njit(nogil=True, cache=True)
def _search_shared(lists, row, weights, filters, memory, k):  # type: ignore[no-untyped-def]
    """Put the keys of items among which the best k are at the front of the keys; returns their number."""
    permitted, exclude = filters
    table, exact, candidates, keys, groups = memory
    bits = table.view(np.int32)
    _add_to_shared(lists, row, weights, table, permitted)
    read = (lists[3][row] - lists[2][row]).sum()
    # Entries that items share look too large, the more of them, the fuller the table.
    share = k + 3 * k * read // (2 * len(table)) + 2 * int(np.sqrt(k)) + len(exclude)
    while True:
        bound = bound_of_best_by_groups(bits, len(bits), share, groups)
        count = _add_exactly(lists, row, weights, (bits, bound, permitted), exact)
        for item in exclude:
            slot = _slot_of(exact[0], item)
            if exact[0][slot] == item:
                exact[1][slot] = 0
        _take_totals(exact, count, candidates)
        found = collect(candidates[1].view(np.int32), candidates[0], count, bound, keys)
        if bound == 1 or found >= k:
            table[:] = 0
            return found
        share = share * k * 5 // (4 * max(found, k // 4 + 1)) + 1


@njit(nogil=True, cache=True)
def _search_items(lists, row, weights, filters, memory, k):  # type: ignore[no-untyped-def]
    """As :func:`_search_shared`, in a table with an entry for every item."""
    permitted, exclude = filters
    table, _, candidates, keys, groups = memory
    bits = table.view(np.int32)
    _add_to_items(lists, row, weights, table)
    for item in exclude:
        table[item] = 0
    if len(permitted) > 0:
        for item in range(len(table)):
            if not _has_bit(permitted, item):
                table[item] = 0
    bound = bound_of_best_by_groups(bits, len(bits), k, groups)
    found = collect(bits, candidates[0][:0], len(bits), bound, keys)
    table[:] = 0
    return found


@njit(nogil=True, cache=True)
def _make_memory(starts, stops, num_items):  # type: ignore[no-untyped-def]
    """Whether every item has an entry of its own, and memory for the queries of a block."""
    most = 1
    for row in range(len(starts)):
        read = 0
        for place in range(starts.shape[1]):
            read += stops[row, place] - starts[row, place]
        most = max(most, read)
    own_entries = num_items < max(SMALL_CATALOGUE, 4 * most)
    size, num_tags = num_items + 1, 0
    if not own_entries:
        size, num_tags = SHARED_TABLE, 256
        while size < 2 * most:
            size *= 2
        while num_tags < 2 * most:
            num_tags *= 2
    room = size if own_entries else most
    exact = np.full(num_tags, -1, np.int32), np.empty(num_tags, np.float32), np.empty(most, np.int64)
    candidates = np.empty(most, np.int64), np.empty(most, np.float32)
    keys, groups = np.empty(room + 1, np.int64), np.empty(_MAX_GROUPS, np.int32)
    return own_entries, (np.zeros(size, np.float32), exact, candidates, keys, groups)


@njit(nogil=True, cache=True)
def _permit(allow, mask, allowed):  # type: ignore[no-untyped-def]
    """Set the bits of an allow list that the mask has, too."""
    for item in allow:
        if len(mask) == 0 or _has_bit(mask, item):
            allowed[item >> 6] |= np.uint64(1) << np.uint64(item & 63)


@njit(nogil=True, cache=True)
def search_rows(lists, queries, allowed, sizes, out):  # type: ignore[no-untyped-def]
    """Search the queries ``first, first + 1, ...``, one for each row of the lists.

    Args:
        lists: arrays of :class:`sparcode.index.search.list_source.QueryLists`.
        queries: weights, exclude lists, allow lists and masks.
        allowed: bitset of all items, all 0, and the same array read-only.
        sizes: first query, results per query, num_items.
        out: (B, k) item ids and scores, filled with padding.
    """
    weights, (exclude_ids, exclude_starts, exclude_stops), (allow_ids, allow_starts, allow_stops), mask = (
        queries
    )
    first, k, num_items = sizes
    k = min(k, num_items + 1)
    own_entries, memory = _make_memory(lists[2], lists[3], num_items)
    keys, out_items, out_bits = memory[3], out[0], out[1].view(np.int32)
    for row in range(len(lists[2])):
        query = first + row
        permitted = mask[query if len(mask) > 1 else 0] if len(mask) > 0 else allowed[1][:0]
        allow = allow_ids[allow_starts[query] : max(allow_stops[query], 0)]
        if allow_stops[query] >= 0:
            _permit(allow, permitted, allowed[0])
            permitted = allowed[1]
        filters = permitted, exclude_ids[exclude_starts[query] : max(exclude_stops[query], 0)]
        if own_entries:
            count = _search_items(lists, row, weights[query], filters, memory, k)
        else:
            count = _search_shared(lists, row, weights[query], filters, memory, k)
        for item in allow:
            allowed[0][item >> 6] = np.uint64(0)
        count = keep_best(keys, count, k)
        keys[:count].sort()
        for place in range(count):
            key = keys[count - 1 - place]
            out_items[query, place], out_bits[query, place] = item_of(key), score_bits_of(key)
