"""Small helpers for arrays that are shared and never change."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray


def read_only(array: NDArray, dtype: DTypeLike = None) -> NDArray:
    """A contiguous view, or copy where needed, that cannot be written: kernels know one type of each."""
    view: NDArray = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def borders_of(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """(T + 1,) int64 borders of T parts that lie one after the other."""
    borders = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=borders[1:], dtype=np.int64)
    return borders
