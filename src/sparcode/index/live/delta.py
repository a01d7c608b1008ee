"""Posting lists of a few items for all terms of an index: what an update adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.index.build.blocks import BlockScorer, score_terms
from sparcode.index.build.pruning import ShiftPruner
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.postings import Postings, PostingsBuffer
from sparcode.index.terms import TermTable

BLOCK_TERMS = 256
BLOCK_ITEMS = 4096


def score_items(
    item_ids: NDArray[np.int64],
    scorer: BlockScorer,
    codebooks: NDArray[np.float32],
    terms: TermTable,
    num_terms: int,
) -> Postings:
    """Score items for the codes that have a list of their own, by the rule that the index was built with.

    An item gets a posting where its score exceeds the floor of the list, which stays what it was when the
    list was built, and the posting holds the difference.

    Memory: some copies of a block of ``BLOCK_TERMS * BLOCK_ITEMS`` scores, and the postings.

    Args:
        item_ids: (n,) int64, ascending and unique, at least 1.
        scorer: of n items; its item ``j`` is ``item_ids[j - 1]``.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        terms: floors (none = 0) and redirects of the index.
        num_terms: terms of codes; they are the first ones of the index.

    Returns:
        Lists of all terms; those that are redirected to another term are empty.

    Raises:
        IndexBuildError: the scorer gives a score that is not finite, or an array of another shape or type.
    """
    floors = np.zeros(num_terms, np.float32) if terms.floors is None else terms.floors
    own = np.arange(num_terms) if terms.redirects is None else terms.redirects[:num_terms]
    materialised = np.flatnonzero(own == np.arange(num_terms))
    lengths_of_terms = np.zeros(num_terms, dtype=np.int64)
    found_items: list[NDArray[np.int32]] = []
    found_scores: list[NDArray[np.float32]] = []
    for start in range(0, len(materialised), BLOCK_TERMS):
        block = materialised[start : start + BLOCK_TERMS]
        pruner = ShiftPruner(-floors[block])
        pruner.begin(len(block))
        for first, scores in score_terms(scorer, codebooks, block, BLOCK_ITEMS):
            pruner.add(scores, first)
        lengths, places, kept, _ = pruner.finish()
        lengths_of_terms[block] = lengths
        found_items.append(item_ids[places - 1].astype(np.int32))
        found_scores.append(kept)
    buffer = PostingsBuffer()
    buffer.append(lengths_of_terms, _join(found_items, np.int32), _join(found_scores, np.float32))
    return buffer.finish(int(item_ids[-1]))


def with_kept_lists(
    postings: Postings, indexes: Sequence[InvertedIndex], item_ids: NDArray[np.int64], first_term: int
) -> Postings:
    """Postings of items for the terms of codes, continued by those that the items have for all other terms.

    Whether an index still counts an item does not matter: postings of these terms never change.

    Args:
        postings: lists of the terms below ``first_term``.
        indexes: all over the same terms; where several hold a posting they agree.
        item_ids: (n,) int64, ascending and unique.
        first_term: first term whose list is kept.
    """
    lengths = np.zeros(indexes[0].num_terms - first_term, dtype=np.int64)
    found_items: list[NDArray[np.int32]] = []
    found_scores: list[NDArray[np.float32]] = []
    for place in range(len(lengths)):
        parts = [_postings_of(index, first_term + place, item_ids) for index in indexes]
        items, firsts = np.unique(np.concatenate([part[0] for part in parts]), return_index=True)
        lengths[place] = len(items)
        found_items.append(items)
        found_scores.append(np.concatenate([part[1] for part in parts])[firsts])
    buffer = PostingsBuffer()
    buffer.append(postings.list_lengths(), postings.item_ids, postings.scores)
    buffer.append(lengths, _join(found_items, np.int32), _join(found_scores, np.float32))
    return buffer.finish(postings.num_items)


def _postings_of(
    index: InvertedIndex, term: int, item_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    items, scores = index.posting_list(term)
    kept = np.isin(items, item_ids)
    return items[kept], scores[kept]


def _join(chunks: list[NDArray], dtype: type) -> NDArray:
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=dtype)
