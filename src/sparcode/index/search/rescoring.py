"""Second stage of a search: its best items, the candidates, ordered by other scores.

Scores that are dot products, and what crosses add to any score, are compiled loops over a batch of queries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index.arrays import read_only
from sparcode.index.postings import Postings, make_postings
from sparcode.index.search.rescoring_kernel import HALF_SCALE, rank_candidates, score_candidates
from sparcode.types import SearchResult

_ALIGNMENT = 128
"""Bytes of two cache lines, which processors fetch together."""

_NO_HISTORY = np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class HistoryLists:
    """Which lists of crosses each of B queries adds up.

    Attributes:
        terms: (B, L') int, number of the list of each history item; negative = no item.
        weights: (B, L') float32, what each counts.
    """

    terms: NDArray[np.integer]
    weights: NDArray[np.float32]


def half_parts(parts: NDArray[np.float32]) -> NDArray[np.float16]:
    """Item parts (I + 1, d) rounded to float16: half of the bytes, each number off by at most 1 in 2,048.

    Raises:
        UsageError: a number that float16 cannot hold.
    """
    with np.errstate(over="ignore"):
        halves = parts.astype(np.float16)
    if not np.isfinite(halves).all():
        raise UsageError(
            "item parts do not fit into float16",
            expected="numbers up to 65,504",
            received=float(np.abs(parts).max()),
        )
    return halves


class CandidateParts:
    """Item parts, copied for fast access, and the dot products of candidates with queries.

    May be used by several threads at once.

    Args:
        parts: (I + 1, d) float32 or float16; row i is item i, row 0 is padding.

    Raises:
        UsageError: not a matrix of these types, or values that are not finite.
    """

    def __init__(self, parts: NDArray[np.floating]) -> None:
        if parts.ndim != 2 or parts.dtype not in (np.float32, np.float16):
            raise UsageError(
                "item parts are no matrix of floats",
                expected="(I + 1, d) float32 or float16",
                received=f"{parts.shape} {parts.dtype}",
            )
        if not np.isfinite(parts).all():
            raise UsageError("item parts are not finite", expected="finite numbers")
        is_half = parts.dtype == np.float16
        self._parts = read_only(_aligned(parts.view(np.uint16) if is_half else parts))
        self._scale = HALF_SCALE if is_half else np.float32(1)

    @property
    def size_bytes(self) -> int:
        """Bytes of the parts."""
        return self._parts.nbytes

    def scores(self, queries: NDArray[np.float32], item_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Dot products of queries and candidates.

        Args:
            queries: (B, d) float32, finite.
            item_ids: (B, R); below 1 = no candidate.

        Returns:
            (B, R) float32; -inf where there is no candidate.

        Raises:
            UsageError: shapes that do not belong together, or an item id out of range.
        """
        expected = (len(item_ids), self._parts.shape[1])
        if queries.shape != expected:
            raise UsageError(
                "queries do not belong to candidates and parts", expected=expected, received=queries.shape
            )
        scores = np.empty(item_ids.shape, np.float32)
        vectors = np.ascontiguousarray(queries, np.float32)
        candidates = np.ascontiguousarray(item_ids, np.int64)
        wrong = score_candidates(vectors, candidates, self._parts, self._scale, scores)
        if wrong:
            raise UsageError(
                "item id out of range", expected=f"at most {len(self._parts) - 1}", received=int(wrong)
            )
        return scores


class CandidateRanking:
    """Orders candidates by their scores and what the crosses of the query add to them.

    May be used by several threads, which take turns.

    Args:
        crosses: a list for each item that histories hold: what it adds to the scores of others; None = no
            crosses.
    """

    def __init__(self, crosses: Postings | None = None) -> None:
        lists = make_postings([0], [], [], 0) if crosses is None else crosses
        self._lists = lists.indptr, lists.item_ids, lists.scores
        self._slots = np.zeros(lists.num_items + 1, np.int32)
        self._turn = threading.Lock()

    def best(
        self,
        item_ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        k: int,
        history: HistoryLists | None = None,
    ) -> SearchResult:
        """The best candidates of each query.

        Args:
            item_ids: (B, R), each at most once in a row; below 1 = no candidate.
            scores: (B, R) float32; crosses are added in place.
            k: results per query.
            history: what the crosses of B queries are; None = nothing is added.

        Returns:
            (B, k) by descending score, ties by smaller id; -1 and -inf pad rows with fewer candidates.

        Raises:
            UsageError: a list of the history that there is not.
        """
        terms, weights = _NO_HISTORY
        if history is not None and history.terms.size:
            terms = np.ascontiguousarray(history.terms, np.int64)
            weights = np.ascontiguousarray(history.weights, np.float32)
            self._check(terms)
        result = SearchResult(
            np.empty((len(item_ids), k), np.int64), np.empty((len(item_ids), k), np.float32)
        )
        candidates, out = np.ascontiguousarray(item_ids, np.int64), (result.item_ids, result.scores)
        with self._turn:
            rank_candidates(candidates, scores, (terms, weights), self._lists, self._slots, out)
        return result

    def _check(self, terms: NDArray[np.int64]) -> None:
        last = len(self._lists[0]) - 2
        if terms.max() > last:
            raise UsageError("no such list of crosses", expected=f"at most {last}", received=terms.max())


def score_each(
    item_ids: NDArray[np.int64], score: Callable[[int, NDArray[np.int64]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Scores of candidates by a network, one query after the other.

    Args:
        item_ids: (B, R); below 1 = no candidate.
        score: number of the query and ids (n,) of its candidates, n of at least 1 -> their scores (n,).

    Returns:
        (B, R) float32; -inf where there is no candidate.
    """
    scores = np.full(item_ids.shape, -np.inf, np.float32)
    for row, candidates in enumerate(item_ids):
        real = candidates > 0
        if real.any():
            scores[row, real] = score(row, candidates[real])
    return scores


def _aligned(array: NDArray) -> NDArray:
    """A copy that begins where a cache line does: a row then lies in fewer of them."""
    room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    first = -room.ctypes.data % _ALIGNMENT
    copy: NDArray = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
