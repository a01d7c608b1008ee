"""Decoding of packed lists into flat arrays."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparcode.index.packed.bits import unpack_ids
from sparcode.index.search.score_codes import decode_scores

_CHUNK = 512


@njit(nogil=True, cache=True)
def _decode_chunk(codes, step, first, item_ids, scores, bits):  # type: ignore[no-untyped-def]
    """Decode the codes of consecutive items from ``first`` on; returns the number of postings."""
    decode_scores(codes, step, scores, bits)
    filled = 0
    for place in range(len(codes)):
        filled += codes[place] != 0
    if filled == len(codes):
        for place in range(len(codes)):
            item_ids[place] = np.int32(first + place)
        return filled
    stop = np.uint64(0)
    for place in range(len(codes)):
        score = scores[place]
        item_ids[stop] = np.int32(first + place)
        scores[stop] = score
        stop += np.uint64(score > 0)
    return filled


@njit(nogil=True, cache=True)
def _decode_dense(codes, step, item_ids, scores, bits):  # type: ignore[no-untyped-def]
    """Decode a list that has a code for every item; returns the number of postings.

    Most chunks of such a list have no gap: those take loops without a branch, which the compiler vectorizes.
    Arrays are cut to what a loop runs over, for then an index needs no check that it is not negative.
    """
    count = 0
    for first in range(0, len(codes), _CHUNK):
        part = codes[first : first + _CHUNK]
        stop = count + len(part)
        count += _decode_chunk(part, step, first, item_ids[count:stop], scores[count:stop], bits[count:stop])
    return count


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
    scores, score_bits = out
    at = 0
    for query in range(term_ids.shape[0]):
        for place in range(term_ids.shape[1]):
            term = term_ids[query, place]
            starts[query, place] = at
            if term >= 0 and lengths[term] > 0:
                part = codes[code_starts[term] : code_starts[term + 1]]
                stop = at + len(part)
                items, values, bits = item_ids[at:stop], scores[at:stop], score_bits[at:stop]
                if id_starts[term] == id_starts[term + 1]:
                    at += _decode_dense(part, steps[term], items, values, bits)
                else:
                    unpack_ids(ids, id_starts[term], items)
                    decode_scores(part, steps[term], values, bits)
                    at = stop
            stops[query, place] = at


@njit(nogil=True, cache=True)
def split_lists(lists, term_ids, sparse_terms, dense, sizes):  # type: ignore[no-untyped-def]
    """Tell dense lists, which are read as they are, from those to be decoded.

    Args:
        lists: as for :func:`gather_lists`.
        term_ids: (B, K) int64, -1 = no term.
        sparse_terms: (B, K) int64, written: the term id, -1 where its list is dense.
        dense: (B, K) int64 first code and (B, K) float32 step, written: of a dense list; -1 and 0 elsewhere.
        sizes: (B,) int64, written: postings of the sparse lists of each query.
    """
    lengths, id_starts, code_starts, steps, _, _ = lists
    dense_starts, dense_steps = dense
    for query in range(term_ids.shape[0]):
        sizes[query] = 0
        for place in range(term_ids.shape[1]):
            term = term_ids[query, place]
            sparse_terms[query, place] = term
            dense_starts[query, place], dense_steps[query, place] = -1, 0
            if term < 0 or lengths[term] == 0:
                continue
            if id_starts[term] < id_starts[term + 1]:
                sizes[query] += lengths[term]
            else:
                sparse_terms[query, place] = -1
                dense_starts[query, place], dense_steps[query, place] = code_starts[term], steps[term]
