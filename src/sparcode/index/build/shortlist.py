"""Lists from shortlists: the best items by a cheap part of the scorer, then exact scores of those alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.index.build.blocks import ShortlistScorer, checked, score_terms
from sparcode.index.build.pruning import Lists, TopPruner
from sparcode.index.build.selection import offer_block
from sparcode.index.codes import tokens_of_terms


class _CheapPart:
    """The cheap part of a scorer in the place of its scores."""

    def __init__(self, scorer: ShortlistScorer) -> None:
        self._scorer = scorer

    @property
    def num_items(self) -> int:
        return self._scorer.num_items

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        return self._scorer.cheap_block(tokens, start, stop)


def shortlisted_lists(
    scorer: ShortlistScorer,
    codebooks: NDArray[np.float32],
    term_ids: NDArray[np.int64],
    size: int,
    pruner: TopPruner,
    block_items: int,
) -> Lists:
    """Lists of one block of terms, from the ``size`` best items of each by the cheap part.

    An item outside the shortlist counts as the floor, like one that is cut off.

    Args:
        scorer: with a cheap part.
        codebooks: (S, M, N, d) float32.
        term_ids: (T,) int64.
        size: items scored exactly for each term, ``scorer.num_items`` at most.
        pruner: makes lists of the exact scores.
        block_items: items whose cheap part is computed at once.
    """
    candidates = _shortlists(scorer, codebooks, term_ids, size, block_items)  # (T, size)
    tokens = tokens_of_terms(codebooks, term_ids)
    exact = checked(scorer.score_pairs(tokens, candidates), term_ids, candidates)
    pruner.begin(len(term_ids))
    pruner.add(exact, 0)
    lengths, columns, scores, floors = pruner.finish()
    rows = np.repeat(np.arange(len(term_ids)), lengths)
    return lengths, candidates[rows, columns], scores, floors


def _shortlists(
    scorer: ShortlistScorer,
    codebooks: NDArray[np.float32],
    term_ids: NDArray[np.int64],
    size: int,
    block_items: int,
) -> NDArray[np.int32]:
    """(T, size) int32 items by ascending id."""
    scores = np.empty((len(term_ids), size + 1), dtype=np.float32)  # offer_block wants room for one more
    items = np.empty(scores.shape, dtype=np.int32)
    thresholds = np.full(len(term_ids), -np.inf, dtype=np.float32)
    fill = np.zeros(len(term_ids), dtype=np.int64)
    for first, block in score_terms(_CheapPart(scorer), codebooks, term_ids, block_items):
        offer_block(block, first, thresholds, scores, items, fill)
    return np.ascontiguousarray(items[:, :size])


def list_recall(exact: Lists, found: Lists) -> float:
    """Share of the postings of ``exact`` lists that the ``found`` lists of the same terms hold too."""
    wanted, held = (
        np.repeat(np.arange(len(lists[0]), dtype=np.int64), lists[0]) << 32 | lists[1]
        for lists in (exact, found)
    )
    return float(np.isin(wanted, held).mean()) if len(wanted) else 1.0
