"""The longest lists with which an index fits in a number of bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import ConfigError

POSTING_BYTES = 8.0
"""Item id and score in plain arrays."""
TERM_BYTES = 8 + 4
"""Border and floor of a list."""
REDIRECT_BYTES = 4


def index_bytes(
    lengths: NDArray[np.int64], num_terms: int, redirected: bool, posting_bytes: float = POSTING_BYTES
) -> int:
    """Bytes of the arrays of an index with lists of these lengths, and of ``num_terms`` terms in all."""
    per_term = TERM_BYTES + (REDIRECT_BYTES if redirected else 0)
    return 8 + per_term * num_terms + int(np.ceil(posting_bytes * int(lengths.sum())))


def longest_lists(
    lengths: NDArray[np.int64],
    num_terms: int,
    redirected: bool,
    max_bytes: int,
    posting_bytes: float = POSTING_BYTES,
) -> int:
    """Greatest L for which lists cut to L postings fit in ``max_bytes``.

    Args:
        lengths: (T,) int64 postings of the lists that are built, before they are cut.
        num_terms: terms of the index.
        redirected: whether the index holds redirects.
        max_bytes: the budget.
        posting_bytes: bytes of a posting in the form that the lists will take.

    Raises:
        ConfigError: one posting a list is too much.
    """
    low, high = 0, int(lengths.max(initial=1))
    while low < high:
        middle = (low + high + 1) // 2
        if index_bytes(np.minimum(lengths, middle), num_terms, redirected, posting_bytes) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise ConfigError(
            "the byte budget has no room for one posting in every list",
            where="index.max_bytes",
            expected=f"at least {index_bytes(np.minimum(lengths, 1), num_terms, redirected, posting_bytes)}",
            received=max_bytes,
            remedy="a larger budget, or fewer lists (index.codes observed, index.max_lists)",
        )
    return low
