"""Search whose working set stays in the first-level cache, however large the catalogue.

The lists of a query are read range by range of item ids, each range just so wide that its postings fit a
small table of scores. In every range:

1. each posting is added to the table at its item id, modulo the size of the table;
2. a bound is chosen that enough entries reach, or the score of place k is taken once k results are known;
3. what reaches the bound are the candidates of the range.

Where a range is not wider than the table (a *narrow* range: lists that are dense there), an entry is the
total of one item and runs of consecutive ids are added as vectors. Otherwise items may share an entry. As
scores are not negative and rounding is monotonic, the entry is then at least the total of each of its items,
so that items below the bound are left out for certain; only the few others are added up exactly, in the order
of the terms, in a second reading of the range (cf. the upper bounds of MaxScore and of count-min sketches).
A bound that fewer than k exact totals reach is lowered and the range is read again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.search.adding import add_narrow
from sparcode.index.search.selection import (
    bound_of_best,
    item_of,
    keep_best,
    make_key,
    score_bits_of,
    sort_descending,
)

TABLE_SIZE = 1 << 14
"""Entries of the table, 4 bytes each."""

RANGE_POSTINGS = TABLE_SIZE // 2
"""Postings of a range that is wider than the table, at most."""

MAX_GROUPS = 1 << 11
_SLOT = TABLE_SIZE - 1


@njit(nogil=True, cache=True)
def _slot_of(item):  # type: ignore[no-untyped-def]
    return item & _SLOT


@njit(nogil=True, cache=True)
def _has_bit(words, item):  # type: ignore[no-untyped-def]
    return (words[item >> 6] >> np.uint64(item & 63)) & np.uint64(1) != 0


@njit(nogil=True, cache=True)
def _lower_bound(item_ids, start, stop, item):  # type: ignore[no-untyped-def]
    """First posting in ``start .. stop`` whose item id is at least ``item``."""
    while start < stop:
        middle = (start + stop) // 2
        if item_ids[middle] < item:
            start = middle + 1
        else:
            stop = middle
    return start


@njit(nogil=True, cache=True)
def _next_range(item_ids, heads, stops, tails, num_items):  # type: ignore[no-untyped-def]
    """Choose the next range of item ids and set ``tails`` to where the lists leave it.

    Returns:
        First item id, and the one after the last; the first is above num_items when all lists are read.
    """
    live, left, first = 0, 0, num_items + 1
    for place in range(len(heads)):
        if heads[place] < stops[place]:
            live += 1
            left += stops[place] - heads[place]
            first = min(first, item_ids[heads[place]])
    end = num_items + 1
    if live == 0 or left <= RANGE_POSTINGS or end - first <= TABLE_SIZE:
        tails[:] = stops
        return first, end
    share = max(RANGE_POSTINGS // live, 1)
    for place in range(len(heads)):
        if stops[place] - heads[place] > share:
            end = min(end, item_ids[heads[place] + share])
    end = min(max(end, first + TABLE_SIZE), num_items + 1)
    for place in range(len(heads)):
        start = heads[place]
        tails[place] = _lower_bound(item_ids, start, min(stops[place], start + end - first), end)
    return first, end


@njit(nogil=True, cache=True)
def _next_dense_range(item_ids, heads, stops, tails, first, num_items):  # type: ignore[no-untyped-def]
    """As :func:`_next_range` where a list has a code for every item: ranges as wide as the table."""
    end = min(first + TABLE_SIZE, num_items + 1)
    for place in range(len(heads)):
        start = heads[place]
        tails[place] = _lower_bound(item_ids, start, min(stops[place], start + end - first), end)
    return first, end


@njit(nogil=True, cache=True)
def _add_wide(lists, heads, tails, weights, table, permitted):  # type: ignore[no-untyped-def]
    item_ids, scores = lists
    for place in range(len(heads)):
        weight = weights[place]
        items, gains = item_ids[heads[place] : tails[place]], scores[heads[place] : tails[place]]
        if len(permitted) == 0:
            for posting in range(len(items)):
                table[_slot_of(items[posting])] += weight * gains[posting]
        else:
            for posting in range(len(items)):
                gain = weight * gains[posting]
                passes = _has_bit(permitted, items[posting])
                table[_slot_of(items[posting])] += gain if passes else np.float32(0)


@njit(nogil=True, cache=True)
def _clear_forbidden(table, first, size, permitted, excluded):  # type: ignore[no-untyped-def]
    """Set the totals of a narrow range to 0 where an item may be no result."""
    if len(permitted) > 0:
        for slot in range(size):
            if not _has_bit(permitted, first + slot):
                table[slot] = 0
    for item in excluded:
        if first <= item < first + size:
            table[item - first] = 0


@njit(nogil=True, cache=True)
def _choose_bound(bits, size, want, groups):  # type: ignore[no-untyped-def]
    """A bound that at least ``want`` table entries reach, and not many more; 1 if too few are positive.

    The bound is one that ``want`` of the maxima of groups of entries reach.
    """
    count = 128
    while count < MAX_GROUPS and count < 3 * want:
        count *= 2
    if 3 * want > 2 * count or 2 * count > size:
        return bound_of_best(bits, size, want, want // 8)
    groups[:count] = bits[:count]
    for start in range(count, size, count):
        part = bits[start : min(start + count, size)]
        for place in range(len(part)):
            groups[place] = max(groups[place], part[place])
    return bound_of_best(groups, count, want, want // 16)


@njit(nogil=True, cache=True)
def _collect_narrow(bits, first, size, bound, keys, count):  # type: ignore[no-untyped-def]
    for start in range(0, size, 32):
        part = bits[start : min(start + 32, size)]
        best = np.int32(0)
        for place in range(len(part)):
            best = max(best, part[place])
        if best >= bound:
            for place in range(len(part)):
                keys[count] = make_key(part[place], first + start + place)
                count += part[place] >= bound
    return count


@njit(nogil=True, cache=True)
def _find_hits(item_ids, places, bits, bound, hits):  # type: ignore[no-untyped-def]
    """Postings of a wide range whose table entry reaches the bound, list by list."""
    heads, tails, ends = places
    bound = np.int32(bound)
    count = np.uint64(0)  # unsigned: a negative index would be tested for
    for place in range(len(heads)):
        start = heads[place]
        items = item_ids[start : tails[place]]
        for posting in range(len(items)):
            hits[count] = start + posting
            count += np.uint64(bits[_slot_of(items[posting])] >= bound)
        ends[place] = count


@njit(nogil=True, cache=True)
def _total_hits(lists, ends, weights, hits, totals):  # type: ignore[no-untyped-def]
    """Exact totals of the items of the hits in a hash table; returns the number of items."""
    item_ids, scores = lists
    tags, sums, used = totals
    mask = 255
    while mask < 2 * ends[-1]:
        mask = 2 * mask + 1
    count, hit = 0, 0
    for place in range(len(ends)):
        weight = weights[place]
        for hit in range(ends[place - 1] if place > 0 else 0, ends[place]):
            item = item_ids[hits[hit]]
            at = (item * 0x9E3779B1 >> 12) & mask
            while tags[at] != item and tags[at] >= 0:
                at = (at + 1) & mask
            if tags[at] < 0:
                tags[at] = item
                sums[at] = 0
                used[count] = at
                count += 1
            sums[at] += weight * scores[hits[hit]]
    return count


@njit(nogil=True, cache=True)
def _collect_wide(totals, num_used, bound, filters, keys, count):  # type: ignore[no-untyped-def]
    """Add the permitted items that reach the bound to the keys and empty the hash table."""
    tags, sums, used = totals
    permitted, excluded = filters
    bits = sums.view(np.int32)
    for place in range(num_used):
        at = used[place]
        item = tags[at]
        tags[at] = -1
        passes = len(permitted) == 0 or _has_bit(permitted, item)
        if passes and bits[at] >= bound and not _has_bit(excluded, item):
            keys[count] = make_key(bits[at], item)
            count += 1
    return count


@njit(nogil=True, cache=True)
def _first_share(k, postings):  # type: ignore[no-untyped-def]
    """Table entries that must reach the first bound of a wide range, so that most often k totals do.

    Entries that items share look too large: the more of them, the fuller the table.
    """
    return k + 3 * k * postings // (2 * TABLE_SIZE) + 2 * int(np.sqrt(k))


@njit(nogil=True, cache=True)
def _search_wide(lists, places, weights, filters, want, bound, memory, count):  # type: ignore[no-untyped-def]
    """Add the candidates of a wide range to the keys; returns the new number of keys."""
    table, groups, hits, totals, keys = memory
    permitted, excluded, excluded_ids = filters
    bits = table.view(np.int32)
    _add_wide(lists, places[0], places[1], weights, table, permitted)
    share = _first_share(want, (places[1] - places[0]).sum()) + len(excluded_ids)
    chosen = bound
    while True:
        if bound == 0:
            chosen = _choose_bound(bits, TABLE_SIZE, share, groups)
        _find_hits(lists[0], places, bits, chosen, hits)
        num_used = _total_hits(lists, places[2], weights, hits, totals)
        found = _collect_wide(totals, num_used, chosen, (permitted, excluded), keys, count) - count
        if bound > 0 or chosen == 1 or found >= want:
            break
        share = share * want * 5 // (4 * max(found, want // 4 + 1)) + 1
    table[:] = 0
    return count + found


@njit(nogil=True, cache=True)
def _search_narrow(lists, places, weights, span, dense, filters, want, bound, memory, count):  # type: ignore[no-untyped-def]
    """Add the candidates of a narrow range to the keys; returns the new number of keys."""
    table, groups, _, _, keys = memory
    first, end = span
    size = end - first
    bits = table.view(np.int32)
    add_narrow(lists, places, weights, table, span, dense, groups.view(np.float32))
    _clear_forbidden(table, first, size, filters[0], filters[2])
    if bound == 0:
        bound = _choose_bound(bits, size, want, groups)
    count = _collect_narrow(bits, first, size, bound, keys, count)
    table[:size] = 0
    return count


@njit(nogil=True, cache=True)
def _search_query(lists, row, weights, filters, memory, sizes):  # type: ignore[no-untyped-def]
    """Put the keys of the best items of one query at the front of the keys; returns their number."""
    item_ids, scores, starts, stops, (codes, width, firsts, steps) = lists
    work, places = memory
    keys, parts = work[4], (item_ids, scores)
    k, num_items = sizes
    places[0][:] = starts[row]
    is_dense = firsts.size > 0 and firsts[row].max() >= 0
    here = (firsts[row], steps[row]) if is_dense else (starts[row][:0], weights[:0])
    dense = codes, width, here[0], here[1]
    count, bound, end = (
        0,
        0,
        0,
    )  # bound: score bits that a further item must reach; 0 until k results are known
    while True:
        if is_dense:
            first, end = _next_dense_range(item_ids, places[0], stops[row], places[1], end, num_items)
        else:
            first, end = _next_range(item_ids, places[0], stops[row], places[1], num_items)
        if first > num_items:
            return keep_best(keys, count, k)
        if end - first <= TABLE_SIZE:
            count = _search_narrow(
                parts, places, weights, (first, end), dense, filters, k, bound, work, count
            )
        else:
            count = _search_wide(parts, places, weights, filters, k, bound, work, count)
        places[0][:] = places[1]
        if count >= 2 * k or (bound == 0 and count >= k):
            count = keep_best(keys, count, k)
            bound = score_bits_of(keys[:count].min()) + 1  # ids to come are larger and lose a tie


@njit(nogil=True, cache=True)
def _permit(ids, mask, allowed):  # type: ignore[no-untyped-def]
    """Set the bits of an allow list that the mask has, too."""
    for item in ids:
        if len(mask) == 0 or _has_bit(mask, item):
            allowed[item >> 6] |= np.uint64(1) << np.uint64(item & 63)


@njit(nogil=True, cache=True)
def search_rows_by_ranges(lists, queries, bitsets, memory, sizes, out):  # type: ignore[no-untyped-def]
    """Search the queries ``first, first + 1, ...``, one for each row of the lists.

    Args:
        lists: arrays of :class:`sparcode.index.search.lists.QueryLists`.
        queries: weights, exclude lists, allow lists and masks.
        bitsets: allowed items, the same array read-only, and excluded items; all 0 between queries.
        memory: of :func:`make_range_memory`.
        sizes: first query, results per query, num_items.
        out: (B, k) item ids and scores, filled with padding.
    """
    weights, (exclude_ids, exclude_starts, exclude_stops), (allow_ids, allow_starts, allow_stops), mask = (
        queries
    )
    allowed, allowed_view, excluded = bitsets
    first, k, num_items = sizes
    work, places, spare = memory
    out_items, out_bits = out[0], out[1].view(np.int32)
    for row in range(len(lists[2])):
        query = first + row
        permitted = mask[query if len(mask) > 1 else 0] if len(mask) > 0 else allowed_view[:0]
        allow = allow_ids[allow_starts[query] : max(allow_stops[query], 0)]
        if allow_stops[query] >= 0:
            _permit(allow, permitted, allowed)
            permitted = allowed_view
        exclude = exclude_ids[exclude_starts[query] : max(exclude_stops[query], 0)]
        for item in exclude:
            excluded[item >> 6] |= np.uint64(1) << np.uint64(item & 63)
        filters = permitted, excluded, exclude
        count = _search_query(lists, row, weights[query], filters, (work, places), (k, num_items))
        for item in exclude:
            excluded[item >> 6] = np.uint64(0)
        for item in allow:
            allowed[item >> 6] = np.uint64(0)
        ranked = sort_descending(work[4], spare, count)
        for place in range(count):
            out_items[query, place] = item_of(ranked[place])
            out_bits[query, place] = score_bits_of(ranked[place])


def make_range_memory(num_lists: int, k: int) -> tuple:
    """Memory of one thread for :func:`search_rows_by_ranges`: about 700 KB, and 32 bytes for each result.

    Args:
        num_lists: lists of a query, with those that are empty.
        k: results per query at most.
    """
    num_hits = max(RANGE_POSTINGS, num_lists)
    num_tags = 1 << (2 * num_hits + 255).bit_length()
    num_keys = 2 * k + TABLE_SIZE + num_lists + 1
    table, groups = np.zeros(TABLE_SIZE, dtype=np.float32), np.empty(MAX_GROUPS, dtype=np.int32)
    hits = np.empty(num_hits + 1, dtype=np.int64)  # one more: a hit is written before it is known to be one
    totals = np.full(num_tags, -1, np.int32), np.empty(num_tags, np.float32), np.empty(num_hits, np.int64)
    keys, spare = np.empty(num_keys, dtype=np.int64), np.empty(num_keys, dtype=np.int64)
    heads, tails, ends = (np.empty(num_lists, dtype=np.int64) for _ in range(3))
    return (table, groups, hits, totals, keys), (heads, tails, ends), spare
