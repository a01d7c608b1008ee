"""Sets of items as bits: bit ``i % 64`` of word ``i // 64`` is item ``i``, as in the masks of a search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

_ONE = np.uint64(1)


def num_words(num_items: int) -> int:
    """Length of a bitset over the items 0 to ``num_items``."""
    return num_items // 64 + 1


def no_items(num_items: int) -> Bits:
    """The empty set of items 0 .. num_items."""
    return np.zeros(num_words(num_items), dtype=np.uint64)


def all_items(num_items: int) -> Bits:
    """The items 1 .. num_items."""
    return with_items(no_items(num_items), np.arange(1, num_items + 1))


def with_items(bits: Bits, item_ids: NDArray[np.int64]) -> Bits:
    """A copy of a set with more items in it; every id must have a word."""
    changed = bits.copy()
    np.bitwise_or.at(changed, item_ids >> 6, _bit(item_ids))
    return changed


def without_items(bits: Bits, item_ids: NDArray[np.int64]) -> Bits:
    """A copy of a set with some items out of it; every id must have a word."""
    changed = bits.copy()
    np.bitwise_and.at(changed, item_ids >> 6, ~_bit(item_ids))
    return changed


def contains(bits: Bits, item_ids: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the items (n,), 0 or larger, are in the set; ids beyond the last word are not."""
    words = item_ids >> 6
    inside = words < len(bits)
    found: NDArray[np.bool_] = (bits[np.where(inside, words, 0)] & _bit(item_ids)) != 0
    return found & inside


def count(bits: Bits) -> int:
    """Size of a set."""
    return int(np.unpackbits(bits.view(np.uint8)).sum(dtype=np.int64))


def pack_bits(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(n,) bool -> (n // 64 + n % 64 > 0,) uint64; bits beyond the last flag are 0."""
    size = -(-len(flags) // 64) * 8
    packed = np.zeros(size, dtype=np.uint8)
    packed[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack_bits(words: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """The first ``size`` bits of (num_words,) uint64 as (size,) bool."""
    packed = words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(packed, bitorder="little", count=size).view(np.bool_)


def _bit(item_ids: NDArray[np.integer]) -> Bits:
    return _ONE << (item_ids & 63).astype(np.uint64)
