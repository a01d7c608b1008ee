"""Runs a batch of queries through a kernel: scratch memory, threads, blocks of lists.

Parallel queries use Python threads over kernels that release the interpreter lock: unlike a compiled parallel
loop this may be called from several threads of a server at once.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparcode.index.postings import make_postings
from sparcode.index.search.filling import fill_short_rows
from sparcode.index.search.kernels import search_rows_term_at_a_time
from sparcode.index.search.lists import ListScratch, ListSource, PlainLists, QueryLists, read_only
from sparcode.index.search.queries import (
    QueryBatch,
    count_mask_words,
    make_id_lists,
    make_mask,
    make_weights,
)
from sparcode.index.search.ranges import make_range_memory, search_rows_by_ranges
from sparcode.types import NO_ITEM, SearchResult


class Workspace:
    """Scratch memory of one search thread; what grows with the catalogue is touched only where it is used."""

    def __init__(self, num_items: int) -> None:
        self.lists = ListScratch()
        self.num_items = num_items
        self._allowed = np.zeros(count_mask_words(num_items), dtype=np.uint64)
        self.bitsets = (
            self._allowed,
            read_only(self._allowed),
            np.zeros(len(self._allowed), dtype=np.uint64),
        )
        self._range_memory: tuple = ()
        self._sizes = (0, 0)

    @functools.cached_property
    def accumulator(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(num_items + 1,) totals, 0 between queries, and (num_items + 1,) items whose total is not 0."""
        size = self.num_items + 1
        return np.zeros(size, dtype=np.float32), np.empty(size, dtype=np.int32)

    def range_memory(self, num_lists: int, k: int) -> tuple:
        """Memory for queries of ``num_lists`` lists and at most ``k`` results; kept until more is needed."""
        if self._sizes[0] != num_lists or self._sizes[1] < k:
            self._sizes = (num_lists, max(k, self._sizes[1]))
            self._range_memory = make_range_memory(*self._sizes)
        return self._range_memory


class WorkspacePool:
    """Workspaces of one index, reused from query to query; safe to use from several threads."""

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items
        self._free: deque[Workspace] = deque()

    def take(self) -> Workspace:
        """A clean workspace; give it back only after a search that ended well."""
        try:
            return self._free.pop()
        except IndexError:
            return Workspace(self._num_items)

    def give_back(self, workspace: Workspace) -> None:
        self._free.append(workspace)


def search_batch(
    source: ListSource,
    queries: QueryBatch,
    k: int,
    pool: WorkspacePool,
    kernel: str = "ranges",
    num_threads: int = 1,
) -> SearchResult:
    """Top-k items of each query, bit for bit those of :func:`sparcode.index.search.oracle.search_oracle`.

    Args:
        source: the posting lists.
        queries: B queries.
        k: results per query.
        pool: workspaces for ``source.num_items`` items.
        kernel: ``ranges`` or ``term_at_a_time``.
        num_threads: queries searched at the same time; each thread takes one contiguous part of the batch.

    Returns:
        (B, k) results.
    """
    result = SearchResult(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32))
    result.item_ids.fill(NO_ITEM)
    result.scores.fill(-np.inf)

    def search_part(part: tuple[int, int]) -> None:
        workspace = pool.take()
        row = part[0]
        for lists in source.blocks(queries.term_ids[part[0] : part[1]], workspace.lists):
            _KERNELS[kernel](lists, queries, row, workspace, result)
            row += len(lists.starts)
        pool.give_back(workspace)

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


def _run_ranges(
    lists: QueryLists, queries: QueryBatch, first: int, workspace: Workspace, out: SearchResult
) -> None:
    k = min(out.item_ids.shape[1], workspace.num_items + 1)
    search_rows_by_ranges(
        lists.arrays,
        _arrays(queries),
        workspace.bitsets,
        workspace.range_memory(lists.starts.shape[1], k),
        (first, k, workspace.num_items),
        (out.item_ids, out.scores),
    )


def _run_term_at_a_time(
    lists: QueryLists, queries: QueryBatch, first: int, workspace: Workspace, out: SearchResult
) -> None:
    search_rows_term_at_a_time(
        lists.arrays,
        _arrays(queries),
        workspace.accumulator,
        first,
        (out.item_ids, out.scores),
    )


def _arrays(queries: QueryBatch) -> tuple:
    """Weights and filters as kernels take them."""
    exclude, allow = queries.exclude, queries.allow
    return (
        queries.weights,
        (exclude.ids, exclude.starts, exclude.stops),
        (allow.ids, allow.starts, allow.stops),
        queries.mask,
    )


_Run: TypeAlias = Callable[[QueryLists, QueryBatch, int, Workspace, SearchResult], None]
_KERNELS: dict[str, _Run] = {"ranges": _run_ranges, "term_at_a_time": _run_term_at_a_time}


@functools.cache
def compile_kernels() -> None:
    """Compile, or fetch from the cache on disk, what searches run: no served query waits for it."""
    postings = make_postings([0, 1], [1], [1.0], 2)
    term_ids = np.zeros((1, 1), dtype=np.int64)
    nothing = make_id_lists(None, 1, 2, "filter")
    queries = QueryBatch(term_ids, make_weights(None, (1, 1)), nothing, nothing, make_mask(None, 1, 2))
    for kernel in _KERNELS:
        result = search_batch(PlainLists(postings), queries, 2, WorkspacePool(2), kernel)
        fill_short_rows(result, queries, 2)
