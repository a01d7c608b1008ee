"""Item ids of a list as bit-packed gaps (docs/index_format.md, "Packed item ids").

A list is cut into blocks of 32 postings. A block is 5 bits that say how wide its gaps are, then each gap, id
less the id before less one, in that many bits. Bits fill 64-bit words from the lowest up; a list begins with
a new word. Sizes measured against other codes are in docs/decisions/0009-packed-lists.md.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 32
"""Postings of a block."""

WIDTH_BITS = 5

_ONE = np.uint64(1)
_SIX = np.uint64(6)
_LOW6 = np.uint64(63)
_WIDTH_BITS = np.uint64(WIDTH_BITS)
_WIDTH_MASK = np.uint64((1 << WIDTH_BITS) - 1)


@njit(nogil=True, cache=True)
def _block_width(item_ids, start, stop, before):  # type: ignore[no-untyped-def]
    """Bits of the widest gap of the postings ``start .. stop - 1``; ``before`` is the id before them."""
    widest = 0
    for place in range(start, stop):
        gap = item_ids[place] - before - 1
        before = item_ids[place]
        widest |= gap
    width = 0
    while widest > 0:
        width += 1
        widest >>= 1
    return width


@njit(nogil=True, cache=True)
def count_words(indptr, item_ids, words):  # type: ignore[no-untyped-def]
    """Number of 64-bit words that each list takes.

    Args:
        indptr: (T + 1,) int64 borders of the lists.
        item_ids: (n,) int32, ascending and unique within a list.
        words: (T,) int32, written.
    """
    for term in range(len(words)):
        bits = 0
        before = -1
        for start in range(indptr[term], indptr[term + 1], BLOCK):
            stop = min(start + BLOCK, indptr[term + 1])
            bits += WIDTH_BITS + (stop - start) * _block_width(item_ids, start, stop, before)
            before = item_ids[stop - 1]
        words[term] = (bits + 63) // 64


@njit(nogil=True, cache=True)
def _put(words, position, value, width):  # type: ignore[no-untyped-def]
    """Write ``width`` bits at a bit position of zeroed words; returns the position behind them."""
    at, shift = position >> 6, position & 63
    words[at] |= np.uint64(value) << np.uint64(shift)
    if shift + width > 64:
        words[at + 1] |= np.uint64(value) >> np.uint64(64 - shift)
    return position + width


@njit(nogil=True, cache=True)
def pack_ids(indptr, item_ids, starts, stops, words):  # type: ignore[no-untyped-def]
    """Write the packed ids of the lists that have room in ``words``.

    Args:
        indptr: (T + 1,) int64 borders of the lists.
        item_ids: (n,) int32.
        starts: (T,) int64 first word of each list.
        stops: (T,) int64 the word behind it; equal to ``starts``: the list is not written.
        words: (W,) uint64, all 0; written.
    """
    for term in range(len(starts)):
        if starts[term] == stops[term]:
            continue
        position = starts[term] * 64
        before = -1
        for start in range(indptr[term], indptr[term + 1], BLOCK):
            stop = min(start + BLOCK, indptr[term + 1])
            width = _block_width(item_ids, start, stop, before)
            position = _put(words, position, width, WIDTH_BITS)
            for place in range(start, stop):
                position = _put(words, position, item_ids[place] - before - 1, width)
                before = item_ids[place]


@njit(nogil=True, cache=True)
def unpack_ids(words, start, item_ids):  # type: ignore[no-untyped-def]
    """Decode one list.

    Args:
        words: (W,) uint64; two more words than lists fill, since two are read at a time.
        start: first word of the list.
        item_ids: (n,) int32, one for each posting; written.
    """
    position = np.uint64(start) << _SIX  # unsigned throughout: no checks for negative indices
    item = np.int32(-1)
    for first in range(0, len(item_ids), BLOCK):
        word, shift = position >> _SIX, position & _LOW6
        pair = (words[word] >> shift) | ((words[word + _ONE] << _ONE) << (_LOW6 - shift))
        width = pair & _WIDTH_MASK
        mask = (_ONE << width) - _ONE
        position += _WIDTH_BITS
        block = item_ids[first : first + BLOCK]
        if width == 0:  # consecutive ids
            for place in range(len(block)):
                block[place] = item + np.int32(1) + np.int32(place)
            item += np.int32(len(block))
            continue
        for place in range(len(block)):
            word, shift = position >> _SIX, position & _LOW6
            pair = (words[word] >> shift) | ((words[word + _ONE] << _ONE) << (_LOW6 - shift))
            item += np.int32(pair & mask) + np.int32(1)
            block[place] = item
            position += width


@njit(nogil=True, cache=True)
def check_ids(words, start, stop, count, last):  # type: ignore[no-untyped-def]
    """Whether ``count`` postings fill the words ``start .. stop - 1`` and no id exceeds ``last``.

    Reads nothing outside the list's words, whatever they hold. Ids ascend by construction.
    """
    position, end = np.int64(0), (stop - start) * 64
    item = np.int64(-1)
    for first in range(0, count, BLOCK):
        places = min(BLOCK, count - first)
        if position + WIDTH_BITS > end:
            return False
        width = _take(words, start, position, WIDTH_BITS)
        position += WIDTH_BITS
        if position + places * width > end:
            return False
        for _ in range(places):
            item += _take(words, start, position, width) + 1
            position += width
            if item > last:
                return False
    if end - position >= 64:
        return False
    return _take(words, start, position, end - position) == 0


@njit(nogil=True, cache=True)
def _take(words, start, position, width):  # type: ignore[no-untyped-def]
    """``width`` bits, fewer than 64, at a bit position behind word ``start``, as int64."""
    if width == 0:
        return np.int64(0)
    at, shift = start + (position >> 6), position & 63
    value = words[at] >> np.uint64(shift)
    if shift + width > 64:
        value |= words[at + 1] << np.uint64(64 - shift)
    return np.int64(value & ((_ONE << np.uint64(width)) - _ONE))
