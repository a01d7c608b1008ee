"""The slow, obvious search that every kernel must agree with, bit for bit.

Kept free of tricks on purpose: a reader can check it against the definition of the result in a minute.
"""

from __future__ import annotations

import numpy as np

from sparcode.index.postings import Postings
from sparcode.index.search.queries import QueryBatch
from sparcode.types import NO_ITEM, SearchResult


def search_oracle(postings: Postings, queries: QueryBatch, k: int) -> SearchResult:
    """Top-k items of each query.

    Args:
        postings: the index.
        queries: B queries.
        k: results per query.

    Returns:
        (B, k) results; ``score(i) = sum over terms t, in query order, of weight_t * score of i in list t``,
        each product and each sum rounded to float32.
    """
    item_ids = np.full((len(queries), k), NO_ITEM, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for query in range(len(queries)):
        totals = _totals(postings, queries, query)
        ranked = sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        for rank, (item, score) in enumerate(ranked):
            item_ids[query, rank] = item
            scores[query, rank] = score
    return SearchResult(item_ids, scores)


def _totals(postings: Postings, queries: QueryBatch, query: int) -> dict[int, np.float32]:
    """Positive scores of the permitted items of one query."""
    excluded = queries.exclude.of(query)
    allowed = queries.allow.of(query)
    forbidden = set() if excluded is None else set(excluded.tolist())
    permitted = None if allowed is None else set(allowed.tolist())
    totals: dict[int, np.float32] = {}
    for term, weight in zip(queries.term_ids[query], queries.weights[query], strict=True):
        if term < 0:
            continue
        for posting in range(postings.indptr[term], postings.indptr[term + 1]):
            item = int(postings.item_ids[posting])
            if item in forbidden or (permitted is not None and item not in permitted):
                continue
            with np.errstate(over="ignore", under="ignore"):
                totals[item] = totals.get(item, np.float32(0)) + weight * postings.scores[posting]
    return {item: score for item, score in totals.items() if score > 0}
