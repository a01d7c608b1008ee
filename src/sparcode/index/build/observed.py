"""Which terms get a posting list, and which list answers for the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import ConfigError, UsageError
from sparcode.index.codes import tokens_of_terms

_BLOCK_DISTANCES = 1 << 22
"""Distances held at once, 8 bytes each."""


@dataclass(frozen=True)
class TermPlan:
    """Terms with a list of their own, and what becomes of the others.

    Attributes:
        term_ids: (T,) int64 ascending, the terms that get a list.
        redirects: (num_terms,) int32, see ``terms.TermTable``; None = every term gets a list.
    """

    term_ids: NDArray[np.int64]
    redirects: NDArray[np.int32] | None = None


def plan_observed_terms(
    codebooks: NDArray[np.float32], counts: NDArray[np.int64], max_lists: int = 0
) -> TermPlan:
    """The terms worth a list: those that queries produced, the most frequent first, then their neighbours.

    Every slot gets one list at least: that of its most frequent term or, where no term was observed, of the
    term nearest to the mean of all. A term that was not observed is a neighbour by the smallest of
    ``distance ** 2 / count`` to an observed one of its slot. A term without a list is redirected to the
    nearest of its slot that has one. Distances are Euclidean, between tokens, which is how the quantizer
    measures where lifting keeps lengths; ties go to the smaller term id.

    Args:
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        counts: (S * N ** M,) int, how often queries produced each term.
        max_lists: most lists; 0 = the observed terms and no neighbour.

    Raises:
        UsageError: not one count per term.
        ConfigError: fewer lists than slots.
    """
    num_slots, num_codebooks, codebook_size, _ = codebooks.shape
    per_slot = codebook_size**num_codebooks
    counts = np.asarray(counts)
    if counts.shape != (num_slots * per_slot,):
        raise UsageError("wrong number of counts", expected=(num_slots * per_slot,), received=counts.shape)
    if 0 < max_lists < num_slots:
        raise ConfigError(
            "every slot needs a list",
            where="index.max_lists",
            expected=f"0, or at least {num_slots}",
            received=max_lists,
        )
    by_slot = counts.reshape(num_slots, per_slot)
    seeds = np.array(
        [
            slot * per_slot + (int(row.argmax()) if row.any() else _central(codebooks, slot))
            for slot, row in enumerate(by_slot)
        ]
    )
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[seeds] = True
    frequent = np.argsort(-counts, kind="stable")
    frequent = frequent[(counts[frequent] > 0) & ~chosen[frequent]]
    room = max_lists - num_slots if max_lists else len(frequent)
    chosen[frequent[:room]] = True
    if room > len(frequent):
        chosen[_neighbours(codebooks, counts, chosen)[: room - len(frequent)]] = True
    redirects = np.concatenate([_redirects(codebooks, slot, chosen) for slot in range(num_slots)])
    return TermPlan(np.flatnonzero(chosen), redirects)


def _central(codebooks: NDArray[np.float32], slot: int) -> int:
    """Code of the token nearest to the mean of all tokens of a slot."""
    mean = codebooks[slot].mean(1, dtype=np.float64).sum(0)  # (d,): the mean of sums is the sum of means
    own = np.arange(_per_slot(codebooks)) + slot * _per_slot(codebooks)
    distances = np.concatenate([block[:, 0] for block in _squared_distances(codebooks, own, mean[None])])
    return int(distances.argmin())


def _neighbours(
    codebooks: NDArray[np.float32], counts: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Terms that were not chosen, the nearest to frequent terms of their slot first."""
    per_slot = _per_slot(codebooks)
    terms, ranks = [], []
    for start in range(0, len(counts), per_slot):
        slot = slice(start, start + per_slot)
        observed = start + np.flatnonzero(counts[slot] > 0)
        others = start + np.flatnonzero(~chosen[slot])
        if not len(observed) or not len(others):
            continue
        tokens = tokens_of_terms(codebooks, observed).astype(np.float64)
        for block in _squared_distances(codebooks, others, tokens):
            ranks.append((block / counts[observed]).min(1))
        terms.append(others)
    if not terms:
        return np.empty(0, dtype=np.int64)
    order = np.argsort(np.concatenate(ranks), kind="stable")  # terms ascend: ties go to the smaller id
    return np.concatenate(terms)[order]


def _redirects(codebooks: NDArray[np.float32], slot: int, chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(N ** M,) int32 term whose list answers for each term of a slot."""
    per_slot = _per_slot(codebooks)
    own = chosen[slot * per_slot : (slot + 1) * per_slot]
    redirects = np.arange(slot * per_slot, (slot + 1) * per_slot, dtype=np.int32)
    listed, others = redirects[own], redirects[~own]
    tokens = tokens_of_terms(codebooks, listed).astype(np.float64)
    nearest = [block.argmin(1) for block in _squared_distances(codebooks, others, tokens)]
    if nearest:
        redirects[~own] = listed[np.concatenate(nearest)]
    return redirects


def _per_slot(codebooks: NDArray[np.float32]) -> int:
    return int(codebooks.shape[2] ** codebooks.shape[1])


def _squared_distances(
    codebooks: NDArray[np.float32], term_ids: NDArray, tokens: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """(t, n) squared distances of the tokens of terms to other tokens (n, d), block by block of terms."""
    size = max(1, _BLOCK_DISTANCES // len(tokens))
    norms = (tokens * tokens).sum(1)
    for start in range(0, len(term_ids), size):
        block = tokens_of_terms(codebooks, term_ids[start : start + size]).astype(np.float64)
        squared = (block * block).sum(1)[:, None] + norms - 2.0 * (block @ tokens.T)
        yield np.maximum(squared, 0.0)
