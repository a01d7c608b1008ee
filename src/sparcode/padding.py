"""Histories as fixed-size arrays: right-aligned, the most recent item last, 0 = padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.types import PADDING_ITEM


def pad_history(items: NDArray[np.integer] | Sequence[int], length: int) -> NDArray[np.int32]:
    """The last ``length`` items, right-aligned in a (length,) int32 row."""
    row = np.full(length, PADDING_ITEM, np.int32)
    recent = np.asarray(items, dtype=np.int32)[-length:]
    row[length - len(recent) :] = recent
    return row


def pad_histories(histories: Iterable[NDArray[np.integer] | Sequence[int]], length: int) -> NDArray[np.int32]:
    """The last ``length`` items of each history, right-aligned in (B, length) int32."""
    rows = [pad_history(items, length) for items in histories]
    return np.array(rows, np.int32).reshape(-1, length)
