"""Decoding of packed lists into flat arrays."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.packed.bits import unpack_ids

_HALF_SHIFT = np.uint32(13)
_HALF_SCALE = np.float32(2.0**112)


@njit(nogil=True, cache=True)
def decode_scores(codes, step, scores, bits):  # type: ignore[no-untyped-def]
    """Write ``step * code`` for every code.

    Args:
        codes: (n,) uint8, float32, or halves as uint16.
        step: float32.
        scores: (n,) float32, written.
        bits: the memory of ``scores`` as uint32.
    """
    if codes.itemsize == 2:
        # The bits of a positive half, moved to the places they have in a float32, are the number * 2**-112.
        for place in range(len(codes)):
            bits[place] = np.uint32(codes[place]) << _HALF_SHIFT
        for place in range(len(codes)):
            scores[place] = (scores[place] * _HALF_SCALE) * step
    else:
        for place in range(len(codes)):
            scores[place] = step * np.float32(codes[place])


@njit(nogil=True, cache=True)
def gather_lists(lists, term_ids, item_ids, out, starts, stops):  # type: ignore[no-untyped-def]
    """Decode lists one behind the other.

    Args:
        lists: lengths (T,), id_starts (T + 1,), code_starts (T + 1,), steps (T,), ids and codes of
            :class:`sparcode.index.packed.packed_lists.PackedLists`; halves as uint16.
        term_ids: (b, K) int64, -1 = no term.
        item_ids: int32, written; room for all postings.
        out: the float32 array of scores, written, and the same memory as uint32.
        starts: (b, K) int64, written: where each list begins.
        stops: (b, K) int64, written: and the place behind it.
    """
    lengths, id_starts, code_starts, steps, ids, codes = lists
    scores, bits = out
    at = 0
    for query in range(term_ids.shape[0]):
        for place in range(term_ids.shape[1]):
            term = term_ids[query, place]
            starts[query, place] = at
            if term >= 0 and lengths[term] > 0:
                stop = at + lengths[term]
                unpack_ids(ids, id_starts[term], item_ids[at:stop])
                part = codes[code_starts[term] : code_starts[term + 1]]
                decode_scores(part, steps[term], scores[at:stop], bits[at:stop])
                at = stop
            stops[query, place] = at
