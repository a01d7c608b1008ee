"""Lists for terms beyond those of codes, appended to a built index."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sparcode.index.build.pruning import TopPruner
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.postings import PostingsBuffer
from sparcode.index.terms import make_term_table


def append_lists(
    index: InvertedIndex, blocks: Iterable[NDArray[np.float32]], top_l: int, signed: bool
) -> InvertedIndex:
    """Add a list for every row of the blocks; its term id is the next one.

    Memory: 8 bytes per posting of the index for a copy of it, 12 at the end; and a block.

    Args:
        index: an index that is not packed.
        blocks: (T, num_items) float32 scores of the items 1 .. num_items for the next T terms.
        top_l: longest list, 0 = no limit; floors as of :class:`~sparcode.index.build.pruning.TopPruner`.
        signed: whether scores of either sign count.

    Returns:
        An index over all terms, with the metadata of the old one.
    """
    old, terms = index.postings, index.terms
    pruner = TopPruner(top_l or index.num_items, signed)
    buffer = PostingsBuffer()
    buffer.append(old.list_lengths(), old.item_ids, old.scores)
    floors = [np.zeros(index.num_terms, np.float32) if terms.floors is None else terms.floors]
    for block in blocks:
        pruner.begin(len(block))
        pruner.add(np.ascontiguousarray(block, dtype=np.float32), 1)
        lengths, item_ids, scores, block_floors = pruner.finish()
        buffer.append(lengths, item_ids, scores)
        floors.append(block_floors)
    postings = buffer.finish(index.num_items)
    redirects = terms.redirects
    if redirects is not None:
        redirects = np.concatenate([redirects, np.arange(index.num_terms, postings.num_terms)])
    all_floors = np.concatenate(floors)
    table = make_term_table(postings.num_terms, all_floors if all_floors.any() else None, redirects)
    return InvertedIndex(postings, index.metadata, table)
