"""Two sets of posting lists become one, without the items that are not in force any more."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.index.bitsets import Bits
from sparcode.index.postings import Postings


def merge_postings(first: tuple[Postings, Bits], second: tuple[Postings, Bits]) -> Postings:
    """Merge the lists of each term.

    Args:
        first: posting lists, and the items that count; those of the two sets are disjoint.
        second: likewise, over the same terms.

    Returns:
        New posting lists over the larger of the two catalogues; 8 bytes of new memory per posting.
    """
    parts = [
        (_read_only(lists.indptr), _read_only(lists.item_ids), _read_only(lists.scores), _read_only(owned))
        for lists, owned in (first, second)
    ]
    lengths = np.zeros(first[0].num_terms, dtype=np.int64)
    for part in parts:
        _count_owned(part, lengths)
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    item_ids = np.empty(indptr[-1], dtype=np.int32)
    scores = np.empty(indptr[-1], dtype=np.float32)
    _merge(parts[0], parts[1], indptr, item_ids, scores)
    num_items = max(first[0].num_items, second[0].num_items)
    return Postings(_read_only(indptr), _read_only(item_ids), _read_only(scores), num_items)


@cache
def compile_merging() -> None:
    """Compile everything here, or read it from numba's cache, so that no search has to wait for it."""
    nothing = Postings(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), 0)
    merge_postings((nothing, np.zeros(1, np.uint64)), (nothing, np.zeros(1, np.uint64)))
    items, scores = np.full((1, 1), -1, dtype=np.int64), np.zeros((1, 1), dtype=np.float32)
    merge_results([items, items], [scores, scores])


def _read_only(array: NDArray) -> NDArray:
    """A contiguous read-only view or copy: kernels are compiled for one type of each argument."""
    view: NDArray = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@njit(nogil=True, cache=True)
def _is_owned(owned, item):  # type: ignore[no-untyped-def]
    return (owned[item >> 6] >> np.uint64(item & 63)) & np.uint64(1) != np.uint64(0)


@njit(nogil=True, cache=True)
def _count_owned(part, lengths):  # type: ignore[no-untyped-def]
    indptr, item_ids, _, owned = part
    for term in range(len(lengths)):
        for posting in range(indptr[term], indptr[term + 1]):
            if _is_owned(owned, item_ids[posting]):
                lengths[term] += 1


@njit(nogil=True, cache=True)
def _next_owned(item_ids, owned, posting, stop):  # type: ignore[no-untyped-def]
    """The first posting from ``posting`` on that counts, or ``stop``."""
    while posting < stop and not _is_owned(owned, item_ids[posting]):
        posting += 1
    return posting


@njit(nogil=True, cache=True)
def _merge(first, second, out_indptr, out_items, out_scores):  # type: ignore[no-untyped-def]
    indptr_a, items_a, scores_a, owned_a = first
    indptr_b, items_b, scores_b, owned_b = second
    for term in range(len(out_indptr) - 1):
        stop_a, stop_b = indptr_a[term + 1], indptr_b[term + 1]
        a = _next_owned(items_a, owned_a, indptr_a[term], stop_a)
        b = _next_owned(items_b, owned_b, indptr_b[term], stop_b)
        for place in range(out_indptr[term], out_indptr[term + 1]):
            if b == stop_b or (a < stop_a and items_a[a] < items_b[b]):
                out_items[place], out_scores[place] = items_a[a], scores_a[a]
                a = _next_owned(items_a, owned_a, a + 1, stop_a)
            else:
                out_items[place], out_scores[place] = items_b[b], scores_b[b]
                b = _next_owned(items_b, owned_b, b + 1, stop_b)


def merge_results(
    item_ids: list[NDArray[np.int64]], scores: list[NDArray[np.float32]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best k of several results for the same queries whose items are disjoint.

    Args:
        item_ids: each (B, k) int64, by descending score, ties by smaller id, padded with -1.
        scores: each (B, k) float32, padded with -inf.

    Returns:
        (B, k) item ids and scores in the same order.
    """
    best_items, best_scores = item_ids[0], scores[0]
    for more_items, more_scores in zip(item_ids[1:], scores[1:], strict=True):
        merged_items, merged_scores = np.empty_like(best_items), np.empty_like(best_scores)
        _merge_rows((best_items, best_scores), (more_items, more_scores), (merged_items, merged_scores))
        best_items, best_scores = merged_items, merged_scores
    return best_items, best_scores


@njit(nogil=True, cache=True)
def _merge_rows(first, second, out):  # type: ignore[no-untyped-def]
    """Both inputs are sorted and padded at the end, so neither can run out before the k-th place."""
    items_a, scores_a = first
    items_b, scores_b = second
    out_items, out_scores = out
    for row in range(out_items.shape[0]):
        a = b = 0
        for place in range(out_items.shape[1]):
            take_a = scores_a[row, a] > scores_b[row, b] or (
                scores_a[row, a] == scores_b[row, b]
                and (items_b[row, b] < 0 or 0 <= items_a[row, a] < items_b[row, b])
            )
            if take_a:
                out_items[row, place], out_scores[row, place] = items_a[row, a], scores_a[row, a]
                a += 1
            else:
                out_items[row, place], out_scores[row, place] = items_b[row, b], scores_b[row, b]
                b += 1
