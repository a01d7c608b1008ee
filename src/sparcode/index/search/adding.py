"""Adding lists where a range has one total per item: runs of consecutive ids, and codes, as vectors."""

from __future__ import annotations

from numba import njit

from sparcode.index.search.score_codes import add_codes


@njit(nogil=True, cache=True)
def _run_length(item_ids, start, stop):  # type: ignore[no-untyped-def]
    """Postings from ``start`` on with consecutive item ids; 0 if there are not many."""
    size = stop - start
    gaps = item_ids[stop - 1] - item_ids[start] + 1 - size
    if gaps == 0:
        return size
    if gaps * 32 > size:
        return 0
    low, high = start, stop - 1  # low is in the run, high is not
    while high - low > 1:
        middle = (low + high) // 2
        if item_ids[middle] - item_ids[start] == middle - start:
            low = middle
        else:
            high = middle
    return high - start


@njit(nogil=True, cache=True)
def _add_run(table, slot, scores, start, size, weight):  # type: ignore[no-untyped-def]
    entries, gains = table[slot : slot + size], scores[start : start + size]
    for place in range(size):
        entries[place] += weight * gains[place]


@njit(nogil=True, cache=True)
def add_narrow(lists, places, weights, table, span, dense, scratch):  # type: ignore[no-untyped-def]
    """Add the postings of a range to a table with an entry per item, list by list.

    Args:
        lists: item ids and scores.
        places: first posting of each list in the range, the one behind its last, and another array.
        weights: (K_u,) float32.
        table: float32; entry 0 is the first item of the range.
        span: first item of the range and the one behind the last.
        dense: codes, bytes of a code, and (K_u,) first codes and steps of :class:`DenseLists`; none if empty.
        scratch: float32 memory.
    """
    item_ids, scores = lists
    heads, tails, _ = places
    first, end = span
    codes, width, firsts, steps = dense
    for place in range(len(heads)):
        start, stop, weight = heads[place], tails[place], weights[place]
        if len(firsts) > 0 and firsts[place] >= 0:
            begin, size = firsts[place] + first, end - first
            part = codes[begin * width : (begin + size) * width]
            add_codes(table[:size], part, width, steps[place], weight, scratch)
        while start < stop:
            size = _run_length(item_ids, start, stop)
            if size > 0:
                _add_run(table, item_ids[start] - first, scores, start, size, weight)
                start += size
            else:
                for posting in range(start, stop):
                    table[item_ids[posting] - first] += weight * scores[posting]
                start = stop
