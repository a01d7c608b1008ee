"""Posterior lists: the network's scores of a code, corrected by what followed the queries that carry it.

For a code c the network is a prior over items, ``p(. | c) = softmax(scale * E(c, .))``, and the training
interactions of the queries with that code are counts. The posterior mean of a Dirichlet prior of strength mu
is ``(n[c, i] + mu * p(i | c)) / (n[c] + mu)``. Its logarithm, without what is the same for every item of a
list and in the unit of E, is

    T[c, i] = E(c, i) + log(1 + n[c, i] / (mu * p(i | c))) / scale

so an item without counts keeps the score of the network, and so does a new item.

Source: Dirichlet smoothing of language models, Zhai and Lafferty, SIGIR 2001.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparcode.errors import UsageError


@dataclass(frozen=True, eq=False)
class CodeCounts:
    """How often items followed queries that carry a code; compressed sparse rows, a row for each term.

    Attributes:
        indptr: (num_terms + 1,) int64.
        item_ids: (n,) int32, ascending and unique within a row.
        counts: (n,) float32, above 0.
    """

    indptr: NDArray[np.int64]
    item_ids: NDArray[np.int32]
    counts: NDArray[np.float32]

    @property
    def num_terms(self) -> int:
        """Rows."""
        return len(self.indptr) - 1

    @classmethod
    def added_up(
        cls,
        term_ids: NDArray[np.integer],
        item_ids: NDArray[np.integer],
        weights: NDArray[np.floating],
        num_terms: int,
    ) -> CodeCounts:
        """Add up single observations, of which each array (n,) has one entry."""
        width = int(item_ids.max(initial=0)) + 1
        keys = np.asarray(term_ids, np.int64) * width + item_ids
        pairs, places = np.unique(keys, return_inverse=True)
        totals = np.bincount(places.reshape(-1), weights, len(pairs))
        rows = np.bincount(pairs // width, minlength=num_terms)
        return cls(
            np.concatenate([[0], np.cumsum(rows)]).astype(np.int64),
            (pairs % width).astype(np.int32),
            totals.astype(np.float32),
        )

    def rows(self, term_ids: NDArray[np.int64]) -> CodeCounts:
        """The counts of some terms, in their order."""
        lengths = self.indptr[term_ids + 1] - self.indptr[term_ids]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.indptr[term_ids] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return CodeCounts(indptr, self.item_ids[places], self.counts[places])


@dataclass(frozen=True, eq=False)
class Posterior:
    """The correction of a network's scores by counts.

    Attributes:
        counts: of every term.
        strength: mu, above 0: so many observations the network is worth.
        scale: of the scores of one list in the softmax of the model: 1 / temperature, times the tokens that a
            query has.
    """

    counts: CodeCounts
    strength: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("strength", "scale"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} out of range", expected="above 0", received=getattr(self, name))

    @property
    def fingerprint(self) -> str:
        """Text that differs whenever a corrected score does."""
        digest = hashlib.sha256(np.array([self.strength, self.scale]).tobytes())
        for array in (self.counts.indptr, self.counts.item_ids, self.counts.counts):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def correct(self, term_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Add to the scores of terms what their counts say.

        Args:
            term_ids: (T,).
            scores: (T, I) float32 of all items 1 .. I, changed in place.
        """
        own = self.counts.rows(np.asarray(term_ids, np.int64))
        _correct(scores, own.indptr, own.item_ids, own.counts, np.log(self.strength), self.scale)


@njit(nogil=True, cache=True)
def _correct(scores, indptr, item_ids, counts, log_strength, scale):  # type: ignore[no-untyped-def]
    for row in range(len(scores)):
        if indptr[row] == indptr[row + 1]:
            continue
        own = scores[row]
        top = own.max()
        total = 0.0
        for item in range(len(own)):
            total += np.exp(np.float32(scale) * (own[item] - top))
        log_total = np.log(total)
        for place in range(indptr[row], indptr[row + 1]):
            item = item_ids[place] - 1
            log_prior = scale * (own[item] - top) - log_total
            excess = np.log(counts[place]) - log_strength - log_prior  # log(n / (mu p))
            gain = excess + np.log1p(np.exp(-excess)) if excess > 0 else np.log1p(np.exp(excess))
            own[item] += gain / scale
