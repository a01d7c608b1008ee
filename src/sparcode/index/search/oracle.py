"""The slow, obvious search that every kernel must agree with, bit for bit.

Kept free of tricks on purpose: a reader can check it against the definition of the result in a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparcode.index.search.arguments import QueryBatch
from sparcode.index.search.results import no_results
from sparcode.types import SearchResult

ListOfTerm: TypeAlias = Callable[[int], tuple[NDArray[np.int32], NDArray[np.float32]]]
"""Item ids and scores of the posting list of a term."""


def search_oracle(
    list_of: ListOfTerm, num_items: int, queries: QueryBatch, k: int, fill: bool
) -> SearchResult:
    """Top-k items of each query.

    Args:
        list_of: the posting lists.
        num_items: size of the catalogue.
        queries: B queries.
        k: results per query.
        fill: complete short rows with permitted items of score 0.

    Returns:
        (B, k) results; ``score(i) = sum over terms t, in query order, of weight_t * score of i in list t``,
        each product and each sum rounded to float32.
    """
    result = no_results(len(queries), k)
    for query in range(len(queries)):
        totals = _totals(list_of, queries, query)
        if fill:
            totals |= {item: np.float32(0) for item in range(1, num_items + 1) if item not in totals}
        permitted = [pair for pair in totals.items() if is_permitted(queries, query, pair[0])]
        ranked = sorted(permitted, key=lambda pair: (-pair[1], pair[0]))[:k]
        for rank, (item, score) in enumerate(ranked):
            result.item_ids[query, rank] = item
            result.scores[query, rank] = score
    return result


def _totals(list_of: ListOfTerm, queries: QueryBatch, query: int) -> dict[int, np.float32]:
    """Positive scores of the items of one query."""
    totals: dict[int, np.float32] = {}
    for term, weight in zip(queries.term_ids[query], queries.weights[query], strict=True):
        if term < 0:
            continue
        for item, score in zip(*list_of(int(term)), strict=True):
            with np.errstate(over="ignore", under="ignore"):
                totals[int(item)] = totals.get(int(item), np.float32(0)) + weight * score
    return {item: score for item, score in totals.items() if score > 0}


def is_permitted(queries: QueryBatch, query: int, item: int) -> bool:
    """Whether the filters of a query let an item through."""
    excluded, allowed, mask = queries.exclude.of(query), queries.allow.of(query), queries.mask_of(query)
    return (
        (excluded is None or item not in excluded)
        and (allowed is None or item in allowed)
        and (mask is None or bool(int(mask[item // 64]) >> (item % 64) & 1))
    )
