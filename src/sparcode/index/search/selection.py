"""Top-k selection without branches that depend on the data, for loops that compilers turn into SIMD.

Scores are not negative, so that their bits, read as an integer, are in their order. A candidate is one
integer **key**, score bits above the complement of the item id: descending keys are the order of results
(score descending, ties by smaller item id), and no two candidates of a query share one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_ITEM_BITS = 32
_LAST_ITEM = (1 << _ITEM_BITS) - 1


@njit(nogil=True, cache=True)
def make_key(score_bits, item):  # type: ignore[no-untyped-def]
    """int64 key of a candidate from the int32 bits of its score and its item id."""
    return (score_bits << _ITEM_BITS) | (_LAST_ITEM - item)


@njit(nogil=True, cache=True)
def score_bits_of(key):  # type: ignore[no-untyped-def]
    """Score bits of a key."""
    return key >> _ITEM_BITS


@njit(nogil=True, cache=True)
def item_of(key):  # type: ignore[no-untyped-def]
    """Item id of a key."""
    return _LAST_ITEM - (key & _LAST_ITEM)


@njit(nogil=True, cache=True)
def _count_at_least(values, size, bound):  # type: ignore[no-untyped-def]
    count = 0
    for place in range(size):
        count += values[place] >= bound
    return count


@njit(nogil=True, cache=True)
def bound_of_best(values, size, want, spare):  # type: ignore[no-untyped-def]
    """A bound that at least ``want`` and at most ``want + spare`` of the values reach.

    Args:
        values: int array; only the first ``size`` are read.
        size: number of values, at least 1.
        want: values that must reach the bound, at least 1.
        spare: values that may reach it beyond; more do only where equal values leave no choice.

    Returns:
        The bound, or the least value if there are fewer than ``want``.
    """
    low = high = values[0]  # ``want`` values reach low, unless it is the least; fewer reach high
    for place in range(size):
        low = min(low, values[place])
        high = max(high, values[place])
    high += 1
    while low + 1 < high:
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # the sum of the two may not fit
        count = _count_at_least(values, size, middle)
        if count < want:
            high = middle
        else:
            low = middle
            if count <= want + spare:
                break
    return low


@njit(nogil=True, cache=True)
def bound_of_best_by_groups(bits, size, want, groups):  # type: ignore[no-untyped-def]
    """A bound that at least ``want`` values reach, and not many more; 1 if too few are positive.

    It is one that ``want`` of the maxima of groups of values reach.
    """
    count = 128
    while count < len(groups) and count < 3 * want:
        count *= 2
    if 3 * want > 2 * count or 2 * count > size:
        return max(bound_of_best(bits, size, want, want // 8), np.int64(1))
    groups[:count] = bits[:count]
    for start in range(count, size, count):
        part = bits[start : min(start + count, size)]
        for place in range(len(part)):
            groups[place] = max(groups[place], part[place])
    return max(bound_of_best(groups, count, want, want // 16), np.int64(1))


@njit(nogil=True, cache=True)
def collect(bits, items, size, bound, keys):  # type: ignore[no-untyped-def]
    """Keys of the candidates whose score bits reach a bound; returns their number.

    Args:
        bits: int32 score bits; only the first ``size`` are read.
        items: int64 item of each; empty: the place itself is the item.
        size: number of candidates.
        bound: score bits, 1 or more.
        keys: int64 (size + 1,), written.
    """
    count, bound = 0, np.int32(bound)
    for start in range(0, size, 32):
        part = bits[start : min(start + 32, size)]
        best = np.int32(0)
        for place in range(len(part)):
            best = max(best, part[place])
        if best >= bound:
            for place in range(len(part)):
                item = start + place if len(items) == 0 else items[start + place]
                keys[count] = make_key(np.int64(part[place]), item)
                count += part[place] >= bound
    return count


@njit(nogil=True, cache=True)
def keep_best(keys, count, k):  # type: ignore[no-untyped-def]
    """Move the ``k`` largest of ``count`` keys to the front, in their order; returns how many remain."""
    if count <= k:
        return count
    bound = bound_of_best(keys, count, k, 0)
    kept = 0
    for place in range(count):
        key = keys[place]
        keys[kept] = key  # never ahead of ``place``
        kept += key >= bound
    return kept
