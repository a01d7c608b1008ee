"""Runs a batch of queries through the kernel, in threads.

Parallel queries use Python threads over kernels that release the interpreter lock: unlike a compiled parallel
loop this may be called from several threads of a server at once.
"""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sparcode.index.arrays import read_only
from sparcode.index.bitsets import num_words
from sparcode.index.postings import make_postings
from sparcode.index.search.arguments import QueryBatch, make_id_lists, make_mask, make_weights
from sparcode.index.search.kernel import search_rows
from sparcode.index.search.list_source import ListSource, PlainLists
from sparcode.index.search.results import no_results
from sparcode.types import SearchResult


def search_batch(source: ListSource, queries: QueryBatch, k: int, num_threads: int = 1) -> SearchResult:
    """Top-k items of each query, bit for bit those of :func:`sparcode.index.search.oracle.search_oracle`.

    Args:
        source: the posting lists.
        queries: B queries.
        k: results per query.
        num_threads: queries searched at the same time; each thread takes one contiguous part of the batch.

    Returns:
        (B, k) results.
    """
    result = no_results(len(queries), k)
    exclude, allow = queries.exclude, queries.allow
    arrays = (
        queries.weights,
        (exclude.ids, exclude.starts, exclude.stops),
        (allow.ids, allow.starts, allow.stops),
        queries.mask,
    )

    def search_part(part: tuple[int, int]) -> None:
        row = part[0]
        words = np.zeros(num_words(source.num_items), dtype=np.uint64)
        allowed = words, read_only(words)
        for lists in source.blocks(queries.term_ids[part[0] : part[1]]):
            search_rows(lists, arrays, allowed, (row, k, source.num_items), (result.item_ids, result.scores))
            row += len(lists.starts)

    parts = min(num_threads, len(queries))
    if parts <= 1:
        search_part((0, len(queries)))
    else:
        borders = [len(queries) * part // parts for part in range(parts + 1)]
        for _ in _threads(parts, os.getpid()).map(search_part, itertools.pairwise(borders)):
            pass
    return result


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, which is named because a fork has none of its parent's."""
    return ThreadPoolExecutor(count, thread_name_prefix="search")


@functools.cache
def compile_kernel() -> None:
    """Compile, or fetch from the cache on disk, what searches run: no served query waits for it."""
    postings = make_postings([0, 1], [1], [1.0], 2)
    term_ids = np.zeros((1, 1), dtype=np.int64)
    nothing = make_id_lists(None, 1, 2, "filter")
    queries = QueryBatch(term_ids, make_weights(None, (1, 1)), nothing, nothing, make_mask(None, 1, 2))
    search_batch(PlainLists(postings), queries, 2)
