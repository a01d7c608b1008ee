"""Scores of blocks of (token, item) pairs on NumPy arrays, for dot products and sums of ReLUs.

What ``InteractionScorer.cross`` computes in a graph, at the speed of the machine: one matrix product, and a
compiled loop for hidden units that never stores a (T, C, H) array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

_CHUNK = 1024
"""Items whose hidden layer (256 kB for 64 units) stays in the second-level cache, and one row of sums in the
first; measured fastest of 256, 512 and 1,024."""
_UNROLL = 4

_FAST = {"contract", "nsz"}
"""Lets the compiler fuse multiply and add; it may not reorder a sum, and NaN stays NaN."""


@dataclass(frozen=True)
class PairKernel:
    """How a scorer reads its parts: ``E = <t, i> + sum_h w_h relu(a_h + c_h) + bias``.

    Attributes:
        dot_width: leading columns of either part, multiplied out.
        hidden_size: columns after them, a and c; 0 = no hidden units.
        weights: (H,) float32 w; None = the H columns of the token part behind a.
        bias: added to every score.
    """

    dot_width: int
    hidden_size: int = 0
    weights: NDArray[np.float32] | None = None
    bias: float = 0.0


class PairScorer:
    """Scores of token parts against the items it holds.

    Args:
        kernel: how the parts are read.
        item_parts: (I, P_i) float32, row 0 is item 1.
    """

    def __init__(self, kernel: PairKernel, item_parts: NDArray[np.float32]) -> None:
        self._kernel, self._items = kernel, item_parts
        first, last = kernel.dot_width, kernel.dot_width + kernel.hidden_size
        self._hidden = _padded(item_parts[:, first:last].T, 0)  # (H, I): the kernel reads along the items

    def block(self, token_parts: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        """Scores (T, stop - start) of token parts (T, P_t) against the items start..stop-1, ids from 1."""
        kernel = self._kernel
        d, h = kernel.dot_width, kernel.hidden_size
        if d:
            scores = token_parts[:, :d] @ self._items[start - 1 : stop - 1, :d].T
        else:
            scores = np.zeros((len(token_parts), stop - start), np.float32)
        if h:
            hidden = token_parts[:, d : d + h]
            weights = token_parts[:, d + h : d + 2 * h] if kernel.weights is None else kernel.weights[None]
            weights = np.broadcast_to(weights, hidden.shape)
            item_hidden = self._hidden[:, start - 1 : stop - 1]
            _add_relu_sums(_padded(hidden, 1), _padded(weights, 1), item_hidden, scores)
        if kernel.bias:
            scores += np.float32(kernel.bias)
        return scores


def _padded(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Zeros behind, so that the hidden units can be taken four at a time; their weights are zero too."""
    missing = -values.shape[axis] % _UNROLL
    widths = [(0, missing if place == axis else 0) for place in range(2)]
    return np.ascontiguousarray(np.pad(values, widths) if missing else values, np.float32)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_relu_sums(token_hidden, weights, item_hidden, scores):  # type: ignore[no-untyped-def]
    """scores[t, i] += sum_h weights[t, h] relu(token_hidden[t, h] + item_hidden[h, i]).

    Args:
        token_hidden: (T, H) float32, H a multiple of four.
        weights: (T, H) float32.
        item_hidden: (H, C) float32.
        scores: (T, C) float32.
    """
    zero = np.float32(0)  # as the second argument: the maximum of NaN and zero is then NaN
    num_tokens, hidden = token_hidden.shape
    for first in range(0, scores.shape[1], _CHUNK):
        last = min(first + _CHUNK, scores.shape[1])
        for t in range(num_tokens):
            sums = scores[t, first:last]
            for h in range(0, hidden, _UNROLL):
                a0, a1, a2, a3 = token_hidden[t, h : h + 4]
                w0, w1, w2, w3 = weights[t, h : h + 4]
                c0, c1 = item_hidden[h, first:last], item_hidden[h + 1, first:last]
                c2, c3 = item_hidden[h + 2, first:last], item_hidden[h + 3, first:last]
                for i in range(last - first):
                    total = sums[i] + w0 * max(a0 + c0[i], zero)
                    total += w1 * max(a1 + c1[i], zero)
                    total += w2 * max(a2 + c2[i], zero)
                    sums[i] = total + w3 * max(a3 + c3[i], zero)
