"""Posting lists of a few items for all terms of an index: what an update adds, and how it is merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.index import bitsets as bits
from sparcode.index.arrays import borders_of
from sparcode.index.build.blocks import BlockScorer, score_terms
from sparcode.index.postings import Lists, Postings, join_lists, make_postings

_BLOCK_SCORES = 1 << 22


def score_items(
    item_ids: NDArray[np.int64],
    scorer: BlockScorer,
    codebooks: NDArray[np.float32],
    floors: NDArray[np.float32],
) -> Lists:
    """Score items for the terms of codes, by the rule that the index was built with.

    An item gets a posting where its score exceeds the floor of the list, which stays what it was when the
    list was built, and the posting holds the difference.

    Memory: some copies of 16 MB of scores, or of the scores of one term, and the postings.

    Args:
        item_ids: (n,) int64, ascending and unique, at least 1.
        scorer: of n items; its item ``j`` is ``item_ids[j - 1]``.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        floors: (T,) float32 of the terms of codes.

    Returns:
        Lists of the T terms.

    Raises:
        IndexBuildError: the scorer gives a score that is not finite, or an array of another shape or type.
    """
    parts = []
    step = max(_BLOCK_SCORES // len(item_ids), 1)
    for start in range(0, len(floors), step):
        terms = np.arange(start, min(start + step, len(floors)))
        ((_, scores),) = score_terms(scorer, codebooks, terms, len(item_ids))
        gains = scores - floors[terms, None]
        kept = gains > 0
        items = item_ids[np.nonzero(kept)[1]].astype(np.int32)
        parts.append(Lists(kept.sum(axis=1), items, gains[kept], floors[terms]))
    return join_lists(parts)


def lists_of_items(postings: Postings, owned: bits.Bits) -> Lists:
    """The lists with the postings of some items alone; the floors are left to the caller, and 0 here."""
    kept = bits.contains(owned, postings.item_ids)
    terms = np.repeat(np.arange(postings.num_terms), postings.list_lengths())
    lengths = np.bincount(terms[kept], minlength=postings.num_terms)
    floors = np.zeros(postings.num_terms, np.float32)
    return Lists(lengths, postings.item_ids[kept], postings.scores[kept], floors)


def merge_postings(parts: Sequence[tuple[Postings, bits.Bits]], num_items: int) -> Postings:
    """Posting lists with the live postings of several.

    Memory: some 40 bytes a posting.

    Args:
        parts: posting lists over the same terms, and the items that count in each; these are disjoint.
        num_items: size of the catalogue, at least that of every part.
    """
    places, scores = [], []
    for postings, owned in parts:
        lists = lists_of_items(postings, owned)
        terms = np.repeat(np.arange(postings.num_terms), lists.lengths)
        places.append((terms << 32) | lists.item_ids)  # ascending: term, then item
        scores.append(lists.scores)
    joined, gains = np.concatenate(places), np.concatenate(scores)
    order = np.argsort(joined, kind="stable")  # two ascending runs or more: merged in linear time
    joined, gains = joined[order], gains[order]
    lengths = np.bincount(joined >> 32, minlength=parts[0][0].num_terms)
    item_ids = (joined & 0xFFFFFFFF).astype(np.int32)
    return make_postings(borders_of(lengths), item_ids, gains, num_items)
