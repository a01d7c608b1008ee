"""Arguments of a search, checked once and brought into the flat arrays that kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.index.arrays import read_only
from sparcode.index.bitsets import num_words

IdFilter: TypeAlias = "ArrayLike | Sequence[ArrayLike | None] | None"
"""One array of item ids shared by all queries, or one array (or None) per query, or a 2-D array with a row
per query. Negative ids are padding."""


@dataclass(frozen=True)
class IdLists:
    """One list of item ids per query; list q is ``ids[starts[q]:stops[q]]``; a shared list is stored once.

    Attributes:
        ids: (n,) int64, each in [0, num_items].
        starts: (B,) int64.
        stops: (B,) int64; -1 = no list was given for this query.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def of(self, query: int) -> NDArray[np.int64] | None:
        """Ids of one query, None if no list was given."""
        stop = self.stops[query]
        return None if stop < 0 else self.ids[self.starts[query] : stop]


@dataclass(frozen=True)
class QueryBatch:
    """A batch of queries ready for a kernel.

    Attributes:
        term_ids: (B, K_u) int64 in [-1, num_terms); -1 = no term.
        weights: (B, K_u) float32, finite and not negative; 0 = the term is skipped.
        exclude: items that are no results.
        allow: the only items that may be results; queries without a list are not restricted.
        mask: (R, num_words) uint64 bitsets, see :func:`make_mask`; R = 0: no query is restricted, 1: the set
            is that of all queries, B: each has its own.

    An item is a result only if all of ``exclude``, ``allow`` and ``mask`` permit it.
    """

    term_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    exclude: IdLists
    allow: IdLists
    mask: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.term_ids)

    def mask_of(self, query: int) -> NDArray[np.uint64] | None:
        """Bitset of one query, None if it has none."""
        return self.mask[query if len(self.mask) > 1 else 0] if len(self.mask) else None


def make_term_ids(term_ids: ArrayLike, num_terms: int) -> NDArray[np.int64]:
    """Check (B, K_u) term ids; negative ones become -1.

    Raises:
        UsageError: another rank or type, or a term id out of range.
    """
    terms = np.asarray(term_ids)
    if terms.ndim != 2 or (terms.size and not np.issubdtype(terms.dtype, np.integer)):
        raise UsageError(
            "term_ids must be a matrix of integers",
            expected="(B, K_u) int",
            received=f"{terms.shape} {terms.dtype}",
        )
    if terms.size and int(terms.max()) >= num_terms:
        raise UsageError(
            "term id out of range",
            expected=f"0 to {num_terms - 1}, or negative for no term",
            received=int(terms.max()),
            remedy="the queries and the index must come from the same model",
        )
    return np.maximum(terms.astype(np.int64), -1)


def make_weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Check (B, K_u) weights; None stands for ones.

    Raises:
        UsageError: another shape, or a weight that is negative or not finite.
    """
    if weights is None:
        return np.ones(shape, dtype=np.float32)
    array = np.array(weights, dtype=np.float32, order="C")
    if array.shape != shape:
        raise UsageError("weights and term_ids differ in shape", expected=shape, received=array.shape)
    good = np.isfinite(array) & (array >= 0)
    if not good.all():
        raise UsageError(
            "weight out of range", expected="a finite float32, 0 or more", received=array[~good][0]
        )
    return array


def make_mask(mask: NDArray[np.uint64] | None, num_queries: int, num_items: int) -> NDArray[np.uint64]:
    """Bring a bitset argument into the form of :class:`QueryBatch`.

    Args:
        mask: (num_words,) or (B, num_words) uint64 with ``num_words = num_items // 64 + 1``; item i may be a
            result if bit ``i % 64`` of word ``i // 64`` is set. None = all may.
        num_queries: B.
        num_items: size of the catalogue.

    Raises:
        UsageError: another shape or type.
    """
    words = num_words(num_items)
    if mask is None:
        return read_only(np.empty((0, words), dtype=np.uint64))
    fits = isinstance(mask, np.ndarray) and mask.dtype == np.uint64
    if not fits or mask.shape not in ((words,), (num_queries, words)):
        raise UsageError(
            "mask is no bitset over the items",
            expected=f"({words},) or ({num_queries}, {words}) uint64",
            received=f"{np.shape(mask)} {getattr(mask, 'dtype', type(mask).__name__)}",
        )
    return read_only(mask.reshape(-1, words))


def make_id_lists(ids: IdFilter, num_queries: int, num_items: int, name: str) -> IdLists:
    """Bring a filter argument into :class:`IdLists`; negative ids are dropped.

    Raises:
        UsageError: as many lists as queries are missing, not integers, or an id above ``num_items``.
    """
    if ids is None:
        return _no_lists(num_queries)
    rows = _per_query(ids)
    if rows is None:
        shared = _clean(ids, num_items, name).copy()
        return _lists(shared, np.zeros(num_queries, np.int64), np.full(num_queries, len(shared)))
    if len(rows) != num_queries:
        raise UsageError(f"{name} needs one array per query", expected=num_queries, received=len(rows))
    cleaned = [None if row is None else _clean(row, num_items, name) for row in rows]
    lengths = np.array([0 if row is None else len(row) for row in cleaned], dtype=np.int64)
    stops = np.cumsum(lengths)
    given = np.array([row is not None for row in cleaned], dtype=bool)
    joined = [row for row in cleaned if row is not None]
    flat = np.concatenate(joined) if joined else np.empty(0, dtype=np.int64)
    return _lists(flat, stops - lengths, np.where(given, stops, -1))


@lru_cache(maxsize=16)  # a search without filters, batch after batch of one size
def _no_lists(num_queries: int) -> IdLists:
    return _lists(np.empty(0, dtype=np.int64), np.zeros(num_queries, np.int64), np.full(num_queries, -1))


def _per_query(ids: IdFilter) -> Sequence[ArrayLike | None] | None:
    """The rows of a per-query filter, None for one shared list."""
    if isinstance(ids, np.ndarray) and ids.dtype != object:
        return None if ids.ndim == 1 else list(ids) if ids.ndim == 2 else [ids]
    if isinstance(ids, np.ndarray | Sequence) and any(not isinstance(row, int | np.integer) for row in ids):
        return list(ids)
    return None


def _clean(ids: IdFilter, num_items: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise UsageError(
            f"{name} must hold vectors of item ids",
            expected="one shared 1-D int array, or a sequence of one per query",
            received=f"{array.shape} {array.dtype}",
        )
    if array.size and int(array.max()) > num_items:
        raise UsageError(
            f"item id in {name} out of range", expected=f"at most {num_items}", received=int(array.max())
        )
    kept = array if array.size and int(array.min()) >= 0 else array[array >= 0]
    return kept.astype(np.int64, copy=False)


def _lists(ids: NDArray, starts: NDArray, stops: NDArray) -> IdLists:
    return IdLists(ids, starts.astype(np.int64, copy=False), stops.astype(np.int64, copy=False))
