"""Bitsets over items: bit ``i % 64`` of word ``i // 64`` stands for item ``i``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
