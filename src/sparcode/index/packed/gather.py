"""Decoding of packed lists into flat arrays."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.packed.bits import unpack_ids

_HALF_SHIFT = np.uint32(13)
_HALF_SCALE = np.float32(2.0**112)


@njit(nogil=True, cache=True)
def _decode_scores(codes, start, count, step, out, at):  # type: ignore[no-untyped-def]
    """``step * code`` for ``count`` codes; halves come as uint16."""
    scores, bits = out
    if codes.itemsize == 2:
        # The bits of a positive half, moved to the places they have in a float32, are the number * 2**-112.
        for place in range(count):
            bits[at + place] = np.uint32(codes[start + place]) << _HALF_SHIFT
        for place in range(at, at + count):
            scores[place] = (scores[place] * _HALF_SCALE) * step
    else:
        for place in range(count):
            scores[at + place] = step * np.float32(codes[start + place])


@njit(nogil=True, cache=True)
def _decode_dense(codes, start, count, step, item_ids, out, at):  # type: ignore[no-untyped-def]
    """Decode a list that has a code for every item; returns the place behind its postings."""
    scores = out[0]
    _decode_scores(codes, start, count, step, out, at)
    stop = at
    for item in range(count):
        score = scores[at + item]
        item_ids[stop] = item
        scores[stop] = score
        stop += score > 0
    return stop


@njit(nogil=True, cache=True)
def gather_lists(lists, term_ids, item_ids, out, starts, stops):  # type: ignore[no-untyped-def]
    """Decode lists one behind the other.

    Args:
        lists: lengths (T,), id_starts (T + 1,), code_starts (T + 1,), steps (T,), ids and codes of
            :class:`sparcode.index.packed.lists.PackedLists`; halves as uint16.
        term_ids: (b, K) int64, -1 = no term.
        item_ids: int32, written.
        out: the float32 array of scores, written, and the same memory as uint32.
        starts: (b, K) int64, written: where each list begins.
        stops: (b, K) int64, written: and the place behind it.

    The arrays need room for a code of every item behind the last list when that one is dense.
    """
    lengths, id_starts, code_starts, steps, ids, codes = lists
    at = 0
    for query in range(term_ids.shape[0]):
        for place in range(term_ids.shape[1]):
            term = term_ids[query, place]
            starts[query, place] = at
            if term >= 0 and lengths[term] > 0:
                start, count = code_starts[term], code_starts[term + 1] - code_starts[term]
                if id_starts[term] == id_starts[term + 1]:
                    at = _decode_dense(codes, start, count, steps[term], item_ids, out, at)
                else:
                    unpack_ids(ids, id_starts[term], count, item_ids, at)
                    _decode_scores(codes, start, count, steps[term], out, at)
                    at += count
            stops[query, place] = at
