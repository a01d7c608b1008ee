"""Packed posting lists: made from plain ones, decoded, and read by the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparcode.index.arrays import borders_of, read_only
from sparcode.index.packed.bits import count_words, pack_ids
from sparcode.index.packed.coding import CODE_TYPES, Encoding, encode_scores, make_steps
from sparcode.index.packed.gather import gather_lists
from sparcode.index.postings import Postings
from sparcode.index.search.list_source import QueryLists

_ENCODE_POSTINGS = 1 << 22
_BLOCK_POSTINGS = 1 << 16
"""Postings decoded at once for search: half a megabyte, which stays in the second-level cache."""


@dataclass(frozen=True)
class PackedLists:
    """Posting lists with packed item ids and coded scores; the arrays are read-only and may be memory-mapped.

    Attributes:
        encoding: how scores are coded.
        lengths: (num_terms,) int32 postings of each list.
        id_words: (num_terms,) int32 words of ``ids`` that a list takes; 0 = empty.
        ids: (sum(id_words) + 2,) uint64 packed item ids of the lists in term order, then 0 twice.
        codes: (num_postings,) uint8, float16 or float32 codes of the lists in term order.
        steps: (num_terms,) float32, finite and above 0; a score is its list's step times its code.
        num_items: size of the catalogue; the largest item id that may occur.
    """

    encoding: Encoding
    lengths: NDArray[np.int32]
    id_words: NDArray[np.int32]
    ids: NDArray[np.uint64]
    codes: NDArray
    steps: NDArray[np.float32]
    num_items: int

    @property
    def num_terms(self) -> int:
        """Posting lists, empty ones included."""
        return len(self.lengths)

    @property
    def num_postings(self) -> int:
        """Postings of all lists."""
        return int(self.code_starts[-1])

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays that are kept on disk."""
        arrays = (self.lengths, self.id_words, self.ids, self.codes)
        return sum(array.nbytes for array in arrays) + (self.encoding != "float32") * self.steps.nbytes

    @cached_property
    def id_starts(self) -> NDArray[np.int64]:
        """(num_terms + 1,) first word of each list."""
        return borders_of(self.id_words)

    @cached_property
    def code_starts(self) -> NDArray[np.int64]:
        """(num_terms + 1,) first code of each list."""
        return borders_of(self.lengths)

    @cached_property
    def _kernel_arrays(self) -> tuple[NDArray, ...]:
        codes = self.codes.view(np.uint16) if self.encoding == "float16" else self.codes
        arrays = (self.lengths, self.id_starts, self.code_starts, self.steps, self.ids, codes)
        return tuple(read_only(array) for array in arrays)

    def blocks(self, term_ids: NDArray[np.int64]) -> Iterator[QueryLists]:
        """See :class:`sparcode.index.search.list_source.ListSource`."""
        ends = np.cumsum(np.where(term_ids < 0, 0, self.lengths[term_ids]).sum(1, dtype=np.int64))
        row, done = 0, 0
        while row < len(term_ids):
            stop = max(row + 1, int(np.searchsorted(ends, done + _BLOCK_POSTINGS, side="right")))
            yield self._gather(term_ids[row:stop], int(ends[stop - 1]) - done)
            row, done = stop, int(ends[stop - 1])

    def compile(self) -> None:
        """Compile the decoder of these lists, or load it from numba's cache, so that no search has to."""
        self._gather(np.full((1, 1), -1, dtype=np.int64), 0)

    def _gather(self, term_ids: NDArray[np.int64], size: int) -> QueryLists:
        """The lists of (b, K) terms, which have ``size`` postings together, decoded."""
        item_ids, scores = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
        term_ids = read_only(term_ids)
        starts, stops = np.empty(term_ids.shape, np.int64), np.empty(term_ids.shape, np.int64)
        out = (scores, scores.view(np.uint32))
        gather_lists(self._kernel_arrays, term_ids, item_ids, out, starts, stops)
        return QueryLists(read_only(item_ids), read_only(scores), starts, stops)

    def list_lengths(self) -> NDArray[np.int64]:
        """(num_terms,) int64 number of postings of each list."""
        return self.lengths.astype(np.int64)

    def posting_list(self, term_id: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item ids and scores of one list, decoded."""
        return self._gather(np.array([[term_id]], dtype=np.int64), int(self.lengths[term_id]))[:2]

    def part(self, first: int, stop: int) -> Postings:
        """The lists of the terms ``first .. stop - 1``, decoded; 8 bytes a posting."""
        borders = self.code_starts[first : stop + 1] - self.code_starts[first]
        lists = self._gather(np.arange(first, stop)[:, None], int(borders[-1]))
        return Postings(read_only(borders), lists.item_ids, lists.scores, self.num_items)


def pack_postings(postings: Postings, encoding: Encoding) -> PackedLists:
    """Code scores and item ids.

    Memory: the result, and at most 200 MB.
    """
    lengths = np.diff(postings.indptr)
    words = np.zeros(len(lengths), dtype=np.int32)
    count_words(postings.indptr, postings.item_ids, words)
    id_starts = borders_of(words)
    ids = np.zeros(id_starts[-1] + 2, dtype=np.uint64)
    pack_ids(postings.indptr, postings.item_ids, id_starts[:-1], id_starts[1:], ids)
    steps = make_steps(_largest(postings), encoding)
    codes = np.empty(postings.num_postings, dtype=CODE_TYPES[encoding])
    for start in range(0, len(codes), _ENCODE_POSTINGS):
        part = slice(start, min(start + _ENCODE_POSTINGS, len(codes)))
        terms = np.searchsorted(postings.indptr, np.arange(part.start, part.stop), side="right") - 1
        codes[part] = encode_scores(postings.scores[part], steps[terms], encoding)
    return PackedLists(
        encoding=encoding,
        lengths=read_only(lengths, np.int32),
        id_words=read_only(words),
        ids=read_only(ids),
        codes=read_only(codes),
        steps=read_only(steps),
        num_items=postings.num_items,
    )


def _largest(postings: Postings) -> NDArray[np.float32]:
    """(num_terms,) largest score of each list, 0 for an empty one."""
    filled = np.flatnonzero(np.diff(postings.indptr))
    largest = np.zeros(postings.num_terms, dtype=np.float32)
    if len(filled):
        largest[filled] = np.maximum.reduceat(postings.scores, postings.indptr[filled])
    return largest
