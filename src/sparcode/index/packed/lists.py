"""Packed posting lists: made from plain ones, decoded, and read by kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparcode.index.packed.bits import count_words, pack_ids
from sparcode.index.packed.coding import CODE_TYPES, Encoding, encode_scores, make_steps
from sparcode.index.packed.gather import gather_lists, split_lists
from sparcode.index.postings import Postings
from sparcode.index.search.lists import NO_DENSE_LISTS, DenseLists, ListScratch, QueryLists

_ENCODE_POSTINGS = 1 << 22
_BLOCK_POSTINGS = 1 << 16
"""Postings decoded at once for search: half a megabyte, which stays in the second-level cache."""


@dataclass(frozen=True)
class PackedLists:
    """Posting lists with coded scores; the arrays are read-only and may be memory-mapped.

    A list is *sparse*, with packed item ids and a code for each posting, or *dense*, without ids and with a
    code for each of the items 0 to num_items, where code 0 is no posting.

    Attributes:
        encoding: how scores are coded.
        lengths: (num_terms,) int32 postings of each list.
        id_words: (num_terms,) int32 words of ``ids`` that a list takes; 0 = dense, or empty.
        ids: (sum(id_words) + 2,) uint64 packed item ids of the sparse lists in term order, then 0 twice.
        codes: (num_codes,) uint8, float16 or float32 codes of the lists in term order.
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
        return len(self.lengths)

    @cached_property
    def num_postings(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays that are kept on disk."""
        arrays = (self.lengths, self.id_words, self.ids, self.codes)
        return sum(array.nbytes for array in arrays) + (self.encoding != "float32") * self.steps.nbytes

    @cached_property
    def dense(self) -> NDArray[np.bool_]:
        """(num_terms,) whether a list is dense."""
        return (self.id_words == 0) & (self.lengths > 0)

    @cached_property
    def id_starts(self) -> NDArray[np.int64]:
        """(num_terms + 1,) first word of each list."""
        return _starts(self.id_words)

    @cached_property
    def code_starts(self) -> NDArray[np.int64]:
        """(num_terms + 1,) first code of each list."""
        return _starts(np.where(self.dense, self.num_items + 1, self.lengths))

    @cached_property
    def _kernel_arrays(self) -> tuple[NDArray, ...]:
        codes = self.codes.view(np.uint16) if self.encoding == "float16" else self.codes
        arrays = (self.lengths, self.id_starts, self.code_starts, self.steps, self.ids, codes)
        return tuple(_read_only(array) for array in arrays)  # the kernel is compiled for one type of each

    @cached_property
    def _code_bytes(self) -> NDArray[np.uint8]:
        return _read_only(self.codes.view(np.uint8))

    def blocks(self, term_ids: NDArray[np.int64], scratch: ListScratch) -> Iterator[QueryLists]:
        """See :class:`sparcode.index.search.lists.ListSource`."""
        term_ids = _read_only(np.ascontiguousarray(term_ids))
        terms, firsts = np.empty((2, *term_ids.shape), dtype=np.int64)
        steps, sizes = np.empty(term_ids.shape, dtype=np.float32), np.empty(len(term_ids), dtype=np.int64)
        split_lists(self._kernel_arrays, term_ids, terms, (firsts, steps), sizes)
        ends = np.cumsum(sizes)
        row = 0
        while row < len(term_ids):
            done = ends[row] - sizes[row]
            stop = max(row + 1, int(np.searchsorted(ends, done + _BLOCK_POSTINGS, side="right")))
            dense = DenseLists(self._code_bytes, self.codes.itemsize, firsts[row:stop], steps[row:stop])
            yield self.gather(terms[row:stop], scratch, int(ends[stop - 1] - done), dense)
            row = stop

    def compile(self) -> None:
        """Compile the decoder of these lists, or load it from numba's cache, so that no search has to."""
        for _ in self.blocks(np.full((1, 1), -1, dtype=np.int64), ListScratch()):
            pass

    def gather(
        self,
        term_ids: NDArray[np.int64],
        scratch: ListScratch,
        size: int,
        dense: DenseLists = NO_DENSE_LISTS,
    ) -> QueryLists:
        """Decode the lists of (b, K) terms into scratch memory for ``size`` codes, beside ``dense`` ones."""
        scratch.reserve(size)
        term_ids = _read_only(np.ascontiguousarray(term_ids))
        starts, stops = np.empty_like(term_ids), np.empty_like(term_ids)
        out = (scratch.scores, scratch.scores.view(np.uint32))
        gather_lists(self._kernel_arrays, term_ids, scratch.item_ids, out, starts, stops)
        return QueryLists(_read_only(scratch.item_ids), _read_only(scratch.scores), starts, stops, dense)

    def list_lengths(self) -> NDArray[np.int64]:
        """(num_terms,) int64 number of postings of each list."""
        return self.lengths.astype(np.int64)

    def posting_list(self, term_id: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item ids and scores of one list, decoded."""
        size = int(self.code_starts[term_id + 1] - self.code_starts[term_id])
        lists = self.gather(np.array([[term_id]], dtype=np.int64), ListScratch(), size)
        stop = lists.stops[0, 0]
        return lists.item_ids[:stop], lists.scores[:stop]

    def unpack(self) -> Postings:
        """All lists, decoded; 8 bytes a posting."""
        scratch, terms = ListScratch(), np.arange(self.num_terms, dtype=np.int64)[:, None]
        indptr = _starts(self.lengths)
        lists = self.gather(terms, scratch, self.num_postings + self.num_items + 1)
        count = self.num_postings
        return Postings(_read_only(indptr), lists.item_ids[:count], lists.scores[:count], self.num_items)


def pack_postings(postings: Postings, encoding: Encoding) -> PackedLists:
    """Code scores and item ids; a list takes the form, sparse or dense, that needs fewer bytes.

    Memory: the result, and at most 200 MB.
    """
    lengths = np.diff(postings.indptr)
    words = np.zeros(len(lengths), dtype=np.int32)
    count_words(postings.indptr, postings.item_ids, words)
    width = np.dtype(CODE_TYPES[encoding]).itemsize
    dense = (postings.num_items + 1) * width <= lengths * width + words.astype(np.int64) * 8
    words[dense] = 0
    id_starts = _starts(words)
    ids = np.zeros(id_starts[-1] + 2, dtype=np.uint64)
    pack_ids(postings.indptr, postings.item_ids, id_starts[:-1], id_starts[1:], ids)
    steps = make_steps(_largest(postings), encoding)
    code_starts = _starts(np.where(dense & (lengths > 0), postings.num_items + 1, lengths))
    codes = np.zeros(code_starts[-1], dtype=CODE_TYPES[encoding])
    for first, stop in _parts(postings.indptr):
        part = slice(postings.indptr[first], postings.indptr[stop])
        counts = lengths[first:stop]
        ranks = np.arange(part.start, part.stop) - np.repeat(postings.indptr[first:stop], counts)
        places = np.where(np.repeat(dense[first:stop], counts), postings.item_ids[part], ranks)
        places += np.repeat(code_starts[first:stop], counts)
        codes[places] = encode_scores(postings.scores[part], np.repeat(steps[first:stop], counts), encoding)
    return PackedLists(
        encoding=encoding,
        lengths=_read_only(lengths.astype(np.int32)),
        id_words=_read_only(words),
        ids=_read_only(ids),
        codes=_read_only(codes),
        steps=_read_only(steps),
        num_items=postings.num_items,
    )


def _parts(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of terms with few postings together, or of one term."""
    first = 0
    while first < len(indptr) - 1:
        stop = int(np.searchsorted(indptr, indptr[first] + _ENCODE_POSTINGS, side="right")) - 1
        stop = max(first + 1, stop)
        yield first, stop
        first = stop


def _largest(postings: Postings) -> NDArray[np.float32]:
    """(num_terms,) largest score of each list, 0 for an empty one."""
    filled = np.flatnonzero(np.diff(postings.indptr))
    largest = np.zeros(postings.num_terms, dtype=np.float32)
    if len(filled):
        largest[filled] = np.maximum.reduceat(postings.scores, postings.indptr[filled])
    return largest


def _starts(counts: NDArray) -> NDArray[np.int64]:
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=starts[1:], dtype=np.int64)
    return starts


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view
