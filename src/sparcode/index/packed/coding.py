"""Scores as codes: ``score = step * code`` with one float32 step per list.

======== ============================== ==========================================================
encoding code, step                     error of a score s in a list whose largest score is m
======== ============================== ==========================================================
float32  the score itself, 1            0
float16  IEEE half, a power of two      at most max(s * 2**-11, m * 2**-38)
uint8    1 to 255, m / 255              at most m / 510; below m / 510: less than m / 255, upwards
======== ============================== ==========================================================

Give or take the rounding of float32 (m * 2**-23), and 2**-149. Code 0 is "no posting": a score that would
round to it gets the smallest code above, so coding never loses a posting. Every decoded score is finite and
above 0. Codes that are linear in the score were chosen by measuring (docs/decisions/0009-packed-lists.md).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["float32", "float16", "uint8"]
ENCODINGS: tuple[Encoding, ...] = ("float32", "float16", "uint8")

CODE_TYPES: dict[str, str] = {"float32": "<f4", "float16": "<f2", "uint8": "|u1"}
"""Element type of the codes as stored."""

_LARGEST_CODE = 255
_LARGEST_HALF = np.float32(32752)  # largest half below 2**15; 2**15 times the largest step would overflow
_SMALLEST_HALF = np.float32(2.0**-24)


def make_steps(largest: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float32]:
    """Steps of lists.

    Args:
        largest: (T,) float32 largest score of each list, finite and above 0; 0 for an empty list.
        encoding: how scores are coded.

    Returns:
        (T,) float32, above 0.
    """
    if encoding == "float32":
        return np.ones_like(largest)
    if encoding == "float16":
        exponents = np.frexp(largest)[1]  # largest in [2**(e - 1), 2**e): its code is in [2**14, 2**15)
        return np.ldexp(np.float32(1), np.maximum(exponents - 15, -125)).astype(np.float32)
    tiny = np.finfo(np.float32).smallest_subnormal
    steps: NDArray[np.float32] = np.maximum(largest / np.float32(_LARGEST_CODE), tiny)
    with np.errstate(over="ignore"):
        too_large = ~np.isfinite(steps * np.float32(_LARGEST_CODE))
    return np.where(too_large, np.nextafter(steps, np.float32(0)), steps)


def encode_scores(scores: NDArray[np.float32], steps: NDArray[np.float32], encoding: Encoding) -> NDArray:
    """Codes of scores.

    Args:
        scores: (n,) float32, finite and above 0.
        steps: (n,) float32 step of each score's list.
        encoding: how scores are coded.

    Returns:
        (n,) of the encoding's type, none of them 0.
    """
    if encoding == "float32":
        return scores
    ratios = scores / steps
    if encoding == "float16":
        return np.clip(ratios, _SMALLEST_HALF, _LARGEST_HALF).astype(np.float16)
    return np.clip(np.rint(ratios), 1, _LARGEST_CODE).astype(np.uint8)


def error_bound(scores: NDArray[np.float32], largest: float, encoding: Encoding) -> NDArray[np.float64]:
    """Largest difference that coding may make to each score of a list.

    Args:
        scores: (n,) float32 scores before or after coding; after coding the bound is that of a decoded score.
        largest: the largest score of the list, before coding.
        encoding: how scores are coded.

    Returns:
        (n,) float64.
    """
    exact = np.asarray(scores, dtype=np.float64)
    if encoding == "float32":
        return np.zeros_like(exact)
    rounding = largest * 2.0**-23 + 2.0**-149
    if encoding == "float16":
        return np.maximum(exact * 2.0**-11, largest * 2.0**-38) * (1 + 2.0**-10) + rounding
    raised = exact < largest / 255 * (1 + 2.0**-10)  # may have been raised to the first code
    return np.where(raised, largest / 255, largest / 510) + rounding
