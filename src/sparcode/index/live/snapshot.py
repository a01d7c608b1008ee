"""One state of a changing index: segments that share no item, searched as one index."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.index.bitsets import Bits
from sparcode.index.filters.compiler import FilterCompiler, Where
from sparcode.index.inverted_index import InvertedIndex, Kernel
from sparcode.index.search.arguments import IdFilter, make_id_lists
from sparcode.index.search.results import best_candidates
from sparcode.types import SearchResult


@dataclass(frozen=True, eq=False)
class Segment:
    """Posting lists of some items, and which of them are live.

    Attributes:
        index: all posting lists.
        owned: items that this segment answers for, (num_words,) uint64 over ``index.num_items``; postings of
            other items are dead.
        num_dead: items with dead postings.
        name: unique to ``index``; what it is called on disk.
    """

    index: InvertedIndex
    owned: Bits
    num_dead: int = 0
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:16])


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state that never changes: every item is owned by at most one segment.

    Attributes:
        segments: the base, and what was added since, if anything was; over the same terms.
        num_items: the largest item id that a filter may name.
        filters: what ``where`` is evaluated on, None without attributes; items beyond its own match nothing.
    """

    segments: tuple[Segment, ...]
    num_items: int
    filters: FilterCompiler | None = None

    def search(
        self,
        term_ids: ArrayLike,
        k: int,
        weights: ArrayLike | None = None,
        exclude: IdFilter = None,
        allow: IdFilter = None,
        num_threads: int = 1,
        kernel: Kernel = "compiled",
        *,
        where: Where = None,
        mask: Bits | None = None,
        fill: bool = False,
    ) -> SearchResult:
        """Exact top-k items of each query.

        All postings of an item lie in one segment, so an item's score is added up there and only there, in
        the order of the terms, and the best of all segments are the best.

        The arguments are those of :meth:`sparcode.index.InvertedIndex.search`, with ``mask`` (num_words,) or
        (B, num_words) uint64 over ``num_items``.

        Raises:
            UsageError: an argument is out of range or of a wrong shape.
        """
        count = len(np.asarray(term_ids))
        check_mask(mask, count, self.num_items)
        mask = self._restricted(mask, where, count)
        results = []
        for segment in self.segments:
            size = segment.index.num_items
            results.append(
                segment.index.search(
                    term_ids,
                    k,
                    weights,
                    exclude=self._within(exclude, count, size, "exclude"),
                    allow=self._within(allow, count, size, "allow"),
                    mask=_segment_mask(segment, mask, fill),
                    fill=fill,
                    num_threads=num_threads,
                    kernel=kernel,
                )
            )
        if len(results) == 1:
            return results[0]
        item_ids, scores = (
            np.concatenate([getattr(part, name) for part in results], axis=1)
            for name in ("item_ids", "scores")
        )
        return best_candidates(item_ids, scores, k)

    def _restricted(self, mask: Bits | None, where: Where, num_queries: int) -> Bits | None:
        """What both ``mask`` and ``where`` permit."""
        if where is None:
            return mask
        if self.filters is None:
            raise UsageError("the index has no item attributes", remedy="give it some by set_attributes()")
        words = self.filters.masks(where, num_queries)
        self.filters.warn_of_absent(where)
        if words is None:
            return mask
        permitted = np.zeros((*words.shape[:-1], self.num_items // 64 + 1), dtype=np.uint64)
        permitted[..., : words.shape[-1]] = words
        return permitted if mask is None else permitted & mask

    def _within(self, ids: IdFilter, num_queries: int, size: int, name: str) -> IdFilter:
        """A filter as a segment of ``size`` items takes it: without the ids that only others can hold."""
        if ids is None or size == self.num_items:
            return ids
        lists = make_id_lists(ids, num_queries, self.num_items, name)
        rows = [lists.of(query) for query in range(num_queries)]
        return [None if row is None else row[row <= size] for row in rows]


def check_mask(mask: Bits | None, num_queries: int, num_items: int) -> None:
    """Refuse what is no bitset over the whole catalogue.

    Raises:
        UsageError: another shape or type.
    """
    words = num_items // 64 + 1
    if mask is not None and (mask.dtype != np.uint64 or mask.shape not in ((words,), (num_queries, words))):
        raise UsageError(
            "mask is no bitset over the items",
            expected=f"({words},) or ({num_queries}, {words}) uint64",
            received=f"{mask.shape} {mask.dtype}",
        )


def _segment_mask(segment: Segment, mask: NDArray[np.uint64] | None, fill: bool) -> Bits | None:
    """What may be a result of a segment; ``owned`` matters with dead postings, or where none is needed."""
    if mask is None:
        return segment.owned if fill or segment.num_dead else None
    return np.ascontiguousarray(mask[..., : len(segment.owned)] & segment.owned)
