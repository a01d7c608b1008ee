"""Kernels of the second stage: scores of candidates, what crosses add to them, the best of them.

Item parts are float32, or float16 given by its bits: Numba has no float16 on processors. Their exponent and
fraction, moved to the places of float32, read as the number times 2 to the power of -112.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from sparcode.index.search.selection import item_of, keep_best, make_key, score_bits_of
from sparcode.types import NO_ITEM

HALF_SCALE = np.float32(2.0**56)
"""Multiplies query and total where parts are bits of float16: together they undo the power of -112, and no
product on the way gets too small for float32."""

_FAST = {"contract", "nsz", "reassoc"}
"""Lets the compiler add up a dot product in vectors; NaN stays NaN."""

_LINE = 64
"""Bytes that the processor fetches at once."""

_BLOCK = 64
"""Candidates whose parts are fetched together: at a million items twice as fast as one after the other."""

_CHUNK = 256


def _number(value):  # type: ignore[no-untyped-def]
    """Value of a part for compiled code, less the power of two: see :func:`_number_of`."""
    raise NotImplementedError


@overload(_number)
def _number_of(value):  # type: ignore[no-untyped-def]
    def of_bits(value):  # type: ignore[no-untyped-def]
        bits = np.int32(value)
        sign, rest = bits & np.int32(0x8000), bits & np.int32(0x7FFF)
        return np.int32((sign << np.int32(16)) | (rest << np.int32(13))).view(np.float32)

    def as_it_is(value):  # type: ignore[no-untyped-def]
        return value

    return of_bits if isinstance(value, types.Integer) else as_it_is


@njit(nogil=True, cache=True, fastmath=_FAST)
def score_candidates(queries, item_ids, parts, scale, scores):  # type: ignore[no-untyped-def]
    """Dot products of queries and the parts of their candidates.

    Args:
        queries: (B, d) float32.
        item_ids: (B, R) int64; below 1 = no candidate, which scores -inf.
        parts: (I + 1, d) float32, or uint16 bits of float16.
        scale: 1, or :data:`HALF_SCALE` for bits.
        scores: (B, R) float32, written.

    Returns:
        The first item id above I, where it stopped, or 0.
    """
    width, fetched = queries.shape[1], np.zeros(1, parts.dtype)
    query, step = np.empty(width, np.float32), _LINE // parts.itemsize
    for row in range(len(queries)):
        ids, own = item_ids[row], scores[row]
        for slot in range(len(ids)):
            if ids[slot] >= len(parts):
                return ids[slot]
        for at in range(width):
            query[at] = queries[row, at] * scale
        for first in range(0, len(ids), _BLOCK):
            last = min(first + _BLOCK, len(ids))
            some = parts[0, 0]
            for at in range(0, width, step):
                for slot in range(first, last):
                    some += parts[max(ids[slot], 0), at]
            fetched[0] = some
            for slot in range(first, last):
                own[slot] = -np.inf
                if ids[slot] > 0:
                    part, total = parts[ids[slot]], np.float32(0)
                    for at in range(width):
                        total += query[at] * _number(part[at])
                    own[slot] = total * scale
    return np.int64(0)


@njit(nogil=True, cache=True)
def _add_crosses(ids, scores, history, lists, slots):  # type: ignore[no-untyped-def]
    """Add the lists of a history to the scores of those of their items that are candidates.

    Args:
        ids: (R,) int64 candidates.
        scores: (R,) float32.
        history: lists (L',) int64, negative = none, and weights (L',) float32.
        lists: ``indptr``, item ids and scores.
        slots: (num_items + 1,) int32, all 0, and 0 again afterwards: one more than the slot of a candidate.
    """
    rows, weights = history
    indptr, items, values = lists
    found, at = np.empty(_CHUNK, np.int64), np.empty(_CHUNK, np.int32)
    for slot in range(len(ids)):
        if 0 < ids[slot] < len(slots):
            slots[ids[slot]] = slot + 1
    for place in range(len(rows)):
        if rows[place] < 0:
            continue
        weight, end = weights[place], indptr[rows[place] + 1]
        for start in range(indptr[rows[place]], end, _CHUNK):
            count = 0
            for posting in range(start, min(start + _CHUNK, end)):
                slot = slots[items[posting]]
                found[count], at[count] = posting, slot  # kept if it is one: a branch would be guessed wrong
                count += slot > 0
            for hit in range(count):
                scores[at[hit] - 1] += weight * values[found[hit]]
    for slot in range(len(ids)):
        if 0 < ids[slot] < len(slots):
            slots[ids[slot]] = 0


@njit(nogil=True, cache=True)
def _in_order(bits):  # type: ignore[no-untyped-def]
    """Bits of a float32, int32 in an int64, as an integer in the order of the numbers; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@njit(nogil=True, cache=True)
def rank_candidates(item_ids, scores, history, lists, slots, out):  # type: ignore[no-untyped-def]
    """The best candidates of each query, by their scores and what crosses add to them.

    Args:
        item_ids: (B, R) int64; below 1 = no candidate.
        scores: (B, R) float32; crosses are added in place.
        history: lists (B, L') int64, negative = none, and weights (B, L') float32; (0, 0) without crosses.
        lists: ``indptr``, item ids and scores.
        slots: see :func:`_add_crosses`.
        out: (B, k) item ids int64 and scores float32, written; padded with -1 and -inf.
    """
    keys, k, out_bits = np.empty(item_ids.shape[1], np.int64), out[0].shape[1], out[1].view(np.int32)
    for row in range(len(item_ids)):
        ids, own = item_ids[row], scores[row]
        if len(history[0]) > 0:
            _add_crosses(ids, own, (history[0][row], history[1][row]), lists, slots)
        count, own_bits = 0, own.view(np.int32)
        for slot in range(len(ids)):
            own[slot] += np.float32(0)  # makes -0 a 0, with which it ties
            keys[count] = make_key(_in_order(np.int64(own_bits[slot])), ids[slot])
            count += ids[slot] > 0
        count = keep_best(keys, count, k)
        keys[:count].sort()
        for place in range(min(count, k)):
            key = keys[count - 1 - place]
            out[0][row, place] = item_of(key)
            out_bits[row, place] = _in_order(score_bits_of(key))
        for place in range(count, k):
            out[0][row, place], out[1][row, place] = NO_ITEM, -np.inf
