"""The plain kernel: term-at-a-time into one total for every item, then a bounded heap.

It touches memory all over the catalogue, and serves as the baseline of the kernel that does not
(:mod:`sparcode.index.search.ranges`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.search.score_codes import decode_chunk

_CHUNK = 1 << 11


@njit(nogil=True, cache=True)
def _add(gain, item, totals, touched, count):  # type: ignore[no-untyped-def]
    """Add to the total of an item; returns the new number of touched items."""
    if gain > 0:  # a product may underflow to 0, and "total is 0" must mean "not touched"
        if totals[item] == 0:
            touched[count] = item
            count += 1
        totals[item] += gain
    return count


@njit(nogil=True, cache=True)
def _accumulate(lists, query, weights, totals, touched):  # type: ignore[no-untyped-def]
    """Add the lists of one query in the order of its terms; returns the number of touched items."""
    item_ids, scores, starts, stops, (codes, width, firsts, steps) = lists
    decoded = np.empty(_CHUNK, dtype=np.float32)
    count = 0
    for place in range(len(weights)):
        weight = weights[place]
        for posting in range(starts[query, place], stops[query, place]):
            count = _add(weight * scores[posting], item_ids[posting], totals, touched, count)
        if len(firsts) > 0 and firsts[query, place] >= 0:
            for first in range(0, len(totals), _CHUNK):
                part = decoded[: min(_CHUNK, len(totals) - first)]
                begin = (firsts[query, place] + first) * width
                decode_chunk(codes[begin : begin + len(part) * width], width, steps[query, place], part)
                for at in range(len(part)):
                    count = _add(weight * part[at], first + at, totals, touched, count)
    return count


@njit(nogil=True, cache=True)
def _drop_excluded(totals, ids, start, stop):  # type: ignore[no-untyped-def]
    for place in range(start, stop):
        totals[ids[place]] = 0


@njit(nogil=True, cache=True)
def _worse(score_a, item_a, score_b, item_b):  # type: ignore[no-untyped-def]
    """Whether a ranks below b: smaller score, or same score and larger item id."""
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@njit(nogil=True, cache=True)
def _sift_down(heap_scores, heap_items, count, score, item):  # type: ignore[no-untyped-def]
    """Put an entry in place of the root of a heap whose root is the worst entry."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        right = child + 1
        if right < count and _worse(
            heap_scores[right], heap_items[right], heap_scores[child], heap_items[child]
        ):
            child = right
        if not _worse(heap_scores[child], heap_items[child], score, item):
            break
        heap_scores[at], heap_items[at] = heap_scores[child], heap_items[child]
        at = child
    heap_scores[at], heap_items[at] = score, item


@njit(nogil=True, cache=True)
def _sift_up(heap_scores, heap_items, count, score, item):  # type: ignore[no-untyped-def]
    at = count
    while at > 0:
        parent = (at - 1) // 2
        if not _worse(score, item, heap_scores[parent], heap_items[parent]):
            break
        heap_scores[at], heap_items[at] = heap_scores[parent], heap_items[parent]
        at = parent
    heap_scores[at], heap_items[at] = score, item


@njit(nogil=True, cache=True)
def offer(heap_scores, heap_items, count, score, item):  # type: ignore[no-untyped-def]
    """Offer an entry to a bounded heap of the best entries.

    Args:
        heap_scores: (capacity,) float32; the first ``count`` entries form a heap with the worst at the root.
        heap_items: (capacity,) int item ids.
        count: entries in use.
        score: float32 score offered.
        item: item id offered.

    Returns:
        The new number of entries.
    """
    if count < len(heap_scores):
        _sift_up(heap_scores, heap_items, count, score, item)
        return count + 1
    if _worse(heap_scores[0], heap_items[0], score, item):
        _sift_down(heap_scores, heap_items, count, score, item)
    return count


@njit(nogil=True, cache=True)
def _is_masked(mask, query, item):  # type: ignore[no-untyped-def]
    """Whether the bitset of a query, if there is one, forbids an item."""
    if len(mask) == 0:
        return False
    word = mask[query if len(mask) > 1 else 0, item >> 6]
    return (word >> np.uint64(item & 63)) & np.uint64(1) == 0


@njit(nogil=True, cache=True)
def _select(candidates, part, totals, mask, query, heap):  # type: ignore[no-untyped-def]
    """Best candidates with a positive total; a candidate's total is set to 0, so that it counts once."""
    heap_scores, heap_items = heap
    count = 0
    for place in range(part[0], part[1]):
        item = candidates[place]
        if totals[item] > 0 and not _is_masked(mask, query, item):
            count = offer(heap_scores, heap_items, count, totals[item], item)
        totals[item] = 0
    return count


@njit(nogil=True, cache=True)
def _drain(heap_scores, heap_items, count, out_items, out_scores):  # type: ignore[no-untyped-def]
    """Empty the heap into the front of a result row, best entry first."""
    while count > 0:
        count -= 1
        out_scores[count], out_items[count] = heap_scores[0], heap_items[0]
        if count > 0:
            _sift_down(heap_scores, heap_items, count, heap_scores[count], heap_items[count])


@njit(nogil=True, cache=True)
def search_rows_term_at_a_time(lists, queries, accumulator, first, out):  # type: ignore[no-untyped-def]
    """Search the queries ``first, first + 1, ...``, one for each row of the lists."""
    weights, exclude, allow, mask = queries
    exclude_ids, exclude_starts, exclude_stops = exclude
    allow_ids, allow_starts, allow_stops = allow
    totals, touched = accumulator
    out_items, out_scores = out
    capacity = min(out_items.shape[1], len(totals))
    heap = np.empty(capacity, dtype=np.float32), np.empty(capacity, dtype=np.int64)
    for row in range(len(lists[2])):
        query = first + row
        num_touched = _accumulate(lists, row, weights[query], totals, touched)
        _drop_excluded(totals, exclude_ids, exclude_starts[query], exclude_stops[query])
        if allow_stops[query] < 0:
            count = _select(touched, (0, num_touched), totals, mask, query, heap)
        else:
            permitted = allow_starts[query], allow_stops[query]
            count = _select(allow_ids, permitted, totals, mask, query, heap)
            for place in range(num_touched):
                totals[touched[place]] = 0
        _drain(heap[0], heap[1], count, out_items[query], out_scores[query])
