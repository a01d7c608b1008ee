"""Lists for terms beyond those of codes, appended to a built index."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sparcode.index.build.blocks import checked
from sparcode.index.build.pruning import TopPruner
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.postings import Lists, join_lists


def append_lists(
    index: InvertedIndex, blocks: Iterable[NDArray[np.float32]], top_l: int, signed: bool
) -> InvertedIndex:
    """Add a list for every row of the blocks; its term id is the next one.

    Memory: 8 bytes per posting of the index for a copy of it, and a block.

    Args:
        index: an index that is not packed.
        blocks: (T, num_items) float32 scores of the items 1 .. num_items for the next T terms.
        top_l: longest list, 0 = no limit; floors as of :class:`~sparcode.index.build.pruning.TopPruner`.
        signed: whether scores of either sign count.

    Returns:
        An index over all terms, with the metadata of the old one.

    Raises:
        IndexBuildError: a score that is not finite, or a block of another width.
    """
    old = index.postings
    floors = np.zeros(index.num_terms, np.float32) if index.floors is None else index.floors
    parts = [Lists(old.list_lengths(), old.item_ids, old.scores, floors)]
    next_term = index.num_terms
    for block in blocks:
        pruner = TopPruner(len(block), index.num_items, top_l, signed)
        term_ids = np.arange(next_term, next_term + len(block))
        pruner.add(checked(np.asarray(block, np.float32), term_ids, 1, index.num_items + 1), 1)
        parts.append(pruner.finish())
        next_term += len(block)
    lists = join_lists(parts)
    all_floors = lists.floors if lists.floors.any() else None
    return InvertedIndex(lists.postings(index.num_items), index.metadata, all_floors)
