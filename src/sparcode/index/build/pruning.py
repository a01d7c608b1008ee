"""Which scores become postings, and with what score."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.index.postings import Lists
from sparcode.index.search.selection import item_of, keep_best, make_key, score_bits_of

_CHUNK = 32


class TopPruner:
    """Keeps the ``top_l`` best scores of each list, less the list's floor.

    The floor is the best score that is left out: an item that is absent from the list counts as the floor,
    which makes the floor a bias of the code. Where nothing is left out it is 0 for unsigned scores, and the
    smallest score of the list for signed ones. Postings equal to the floor are dropped.

    A pruner sees the scores of one block of terms as consecutive blocks of items. Memory: 8 bytes per term of
    the block for twice ``top_l`` postings and a block of items, whatever the catalogue.

    Args:
        num_terms: terms of the block.
        num_items: items of the catalogue.
        top_l: longest list; 0 = no limit.
        signed: scores of either sign count; otherwise only positive ones, as the relu of the model has it.
    """

    def __init__(self, num_terms: int, num_items: int, top_l: int, signed: bool) -> None:
        self._signed = signed
        self._wanted = min(top_l or num_items, num_items) + 1
        room = min(2 * self._wanted, num_items) + _CHUNK
        self._keys = np.empty((num_terms, room), dtype=np.int64)
        self._fill = np.zeros(num_terms, dtype=np.int64)
        self._thresholds = np.full(num_terms, -np.inf if signed else 0.0, dtype=np.float32)

    def add(self, scores: NDArray[np.float32], first_item: int) -> None:
        """Take the (T, I) finite scores of items ``first_item ...``; blocks come by ascending item."""
        _offer_block(scores, first_item, self._wanted, (self._keys, self._fill, self._thresholds))

    def finish(self) -> Lists:
        """The lists of the block of terms."""
        num_terms = len(self._fill)
        room = int(self._fill.sum())
        lengths, floors = np.empty(num_terms, np.int64), np.zeros(num_terms, np.float32)
        items, scores = np.empty(room, np.int32), np.empty(room, np.float32)
        out = (lengths, items, scores, scores.view(np.int32), floors)
        kept = _emit_lists((self._keys, self._fill), self._wanted, self._signed, out)
        return Lists(lengths, items[:kept], scores[:kept], floors)


@njit(nogil=True, cache=True)
def _ordered(bits):  # type: ignore[no-untyped-def]
    """Bits of a float32 -> an int32 in its order, and back; -0 comes just below 0."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


@njit(nogil=True, cache=True)
def _offer_block(block, first_item, wanted, best):  # type: ignore[no-untyped-def]
    """Add what exceeds its row's threshold to the keys of the row; keys that become too many are cut."""
    all_keys, fill, thresholds = best
    width, room = block.shape[1], all_keys.shape[1]
    chunk = np.empty(_CHUNK, np.float32)
    bits = chunk.view(np.int32)
    for row in range(len(block)):
        keys, count, threshold = all_keys[row], fill[row], thresholds[row]
        for start in range(0, width, _CHUNK):
            part = block[row, start : min(start + _CHUNK, width)]
            above = np.int32(0)
            for place in range(len(part)):
                above += np.int32(part[place] > threshold)
            if above == 0:
                continue
            if count + _CHUNK > room:
                count = keep_best(keys, count, wanted)
                chunk[0] = 0
                bits[0] = _ordered(np.int32(score_bits_of(keys[:count].min())))
                threshold = chunk[0]
            for place in range(len(part)):
                chunk[place] = part[place] + np.float32(0)  # -0 becomes 0, with which it ties
            for place in range(len(part)):  # a key is written before it is known to be kept
                keys[count] = make_key(np.int64(_ordered(bits[place])), first_item + start + place)
                count += part[place] > threshold
        fill[row], thresholds[row] = count, threshold


@njit(nogil=True, cache=True)
def _emit_lists(best, wanted, signed, out):  # type: ignore[no-untyped-def]
    """Write the lists, less their floors, one after the other; returns the number of postings."""
    all_keys, fill = best
    lengths, items, scores, bits, floors = out
    kept = 0
    for row in range(len(fill)):
        keys = all_keys[row]
        count = keep_best(keys, fill[row], wanted)
        begin = kept
        for place in range(count):  # never written past ``kept + count``
            items[begin + place] = item_of(keys[place])
            bits[begin + place] = _ordered(np.int32(score_bits_of(keys[place])))
        if count == wanted or (signed and count > 0):
            floors[row] = scores[begin : begin + count].min()
        for place in range(begin, begin + count):
            score = scores[place] - floors[row]
            items[kept], scores[kept] = items[place], score
            kept += score > 0
        lengths[row] = kept - begin
    return kept
