"""Scores as they are stored, ``step * code``: decoded into memory, or added up where they lie.

Code 0 is the score 0, so that a list with a code for every item is added without asking which items it has.
Codes are numbers of 1, 2 or 4 bytes: uint8, IEEE half or float32 (:mod:`sparcode.index.packed.coding`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

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
def decode_chunk(codes, width, step, scores):  # type: ignore[no-untyped-def]
    """As :func:`decode_scores`, for codes of ``width`` bytes each that are given as bytes."""
    bits = scores.view(np.uint32)
    if width == 1:
        decode_scores(codes, step, scores, bits)
    elif width == 2:
        decode_scores(codes.view(np.uint16), step, scores, bits)
    else:
        decode_scores(codes.view(np.float32), step, scores, bits)


@njit(nogil=True, cache=True)
def _add_products(totals, codes, step, weight):  # type: ignore[no-untyped-def]
    for place in range(len(totals)):
        totals[place] += weight * (step * np.float32(codes[place]))


@njit(nogil=True, cache=True)
def _add_halves(totals, codes, step, weight, scores):  # type: ignore[no-untyped-def]
    bits = scores.view(np.uint32)
    for start in range(0, len(totals), len(scores)):
        part = totals[start : start + len(scores)]
        decode_scores(codes[start : start + len(part)], step, scores, bits)
        for place in range(len(part)):
            part[place] += weight * scores[place]


@njit(nogil=True, cache=True)
def add_codes(totals, codes, width, step, weight, scratch):  # type: ignore[no-untyped-def]
    """Add ``weight * (step * code)`` to every total, each operation rounded to float32.

    Args:
        totals: (n,) float32.
        codes: (n * width,) uint8, the bytes of n codes.
        width: bytes of a code.
        step: float32.
        weight: float32.
        scratch: float32 memory; halves are decoded into it, so many at once.
    """
    if width == 1:
        _add_products(totals, codes, step, weight)
    elif width == 2:
        _add_halves(totals, codes.view(np.uint16), step, weight, scratch)
    else:
        _add_products(totals, codes.view(np.float32), step, weight)
