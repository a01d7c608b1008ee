"""The inverted index: posting lists keyed by term id, their search, and where they are kept."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.index.arrays import read_only
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.compiler import FilterCompiler, Where
from sparcode.index.packed.coding import ENCODINGS, Encoding, error_bound
from sparcode.index.packed.packed_lists import PackedLists, pack_postings
from sparcode.index.postings import Postings, make_floors, make_postings
from sparcode.index.search.arguments import (
    IdFilter,
    QueryBatch,
    make_id_lists,
    make_mask,
    make_term_ids,
    make_weights,
)
from sparcode.index.search.engine import compile_kernel, search_batch
from sparcode.index.search.filling import fill_short_rows
from sparcode.index.search.list_source import ListSource, PlainLists
from sparcode.index.search.oracle import search_oracle
from sparcode.index.storage.index_files import StoredIndex, read_index, write_index
from sparcode.types import SearchResult

Kernel = Literal["compiled", "oracle"]
KERNELS: tuple[Kernel, ...] = ("compiled", "oracle")
"""What searches: both give the same result bit for bit; the oracle is the definition, in plain Python."""


class InvertedIndex:
    """Posting lists ``term id -> [(item id, score)]`` with exact top-k search (SparCode, inference by index).

    The index does not change once made and may be searched from several threads at once.

    Args:
        postings: checked posting lists, see :func:`sparcode.index.postings.make_postings`, or packed ones.
        metadata: anything worth keeping with the index, as JSON values.
        floors: (num_terms,) float32, see :func:`sparcode.index.postings.make_floors`.
    """

    def __init__(
        self,
        postings: Postings | PackedLists,
        metadata: Mapping[str, Any] | None = None,
        floors: NDArray[np.float32] | None = None,
    ) -> None:
        self._postings = postings
        self.floors = floors
        self._lists: ListSource = postings if isinstance(postings, PackedLists) else PlainLists(postings)
        compile_kernel()
        if isinstance(postings, PackedLists):
            postings.compile()
        self._filters: FilterCompiler | None = None
        self.metadata: dict[str, Any] = dict(metadata or {})

    @classmethod
    def from_postings(
        cls,
        indptr: ArrayLike,
        item_ids: ArrayLike,
        scores: ArrayLike,
        *,
        num_items: int,
        metadata: Mapping[str, Any] | None = None,
        floors: ArrayLike | None = None,
    ) -> InvertedIndex:
        """Make an index from compressed sparse rows, one row per term id.

        Args:
            indptr: (num_terms + 1,) int, from 0, not decreasing.
            item_ids: (num_postings,) int in [0, num_items], ascending and unique within a row.
            scores: (num_postings,) finite float32 above 0.
            num_items: size of the catalogue.
            metadata: JSON values kept with the index.
            floors: (num_terms,) finite float32, what was subtracted from the scores of each list.

        Raises:
            IndexFormatError: an invariant does not hold.
        """
        postings = make_postings(indptr, item_ids, scores, num_items)
        return cls(postings, metadata, make_floors(floors, postings.num_terms))

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, verify: bool = True) -> InvertedIndex:
        """Open an index directory; the arrays are memory-mapped.

        Args:
            directory: where :meth:`save` put it.
            verify: compare checksums and check every posting, which reads the files once. Without, only
                headers, sizes and list borders are checked, and damage inside a posting goes unnoticed.

        Raises:
            IndexFormatError: missing, damaged, inconsistent, or of another version; names file and section.
        """
        stored = read_index(directory, verify=verify)
        return cls(stored.postings, stored.metadata, stored.floors)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the index directory (docs/index_format.md); an index already there is replaced atomically.

        Raises:
            OutputError: the directory cannot be written; what was there before still is.
        """
        write_index(directory, StoredIndex(self._postings, self.floors, self.metadata))

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
        mask: NDArray[np.uint64] | None = None,
        fill: bool = False,
    ) -> SearchResult:
        """Exact top-k items of each query.

        An item's score is the sum of its scores in the query's lists, each times its term's weight, added in
        float32 in the order of the terms. Results are the items of at least one list, by descending score,
        ties by smaller item id.

        Args:
            term_ids: (B, K_u) int; a repeated term counts each time, a negative one is no term.
            k: results per query, at least 1; more than there are items is padding.
            weights: (B, K_u) float32, finite and not negative; None = all 1.
            exclude: item ids that are no results: None, one shared array, or one array (or None) per query;
                negative ids are ignored.
            allow: the only item ids that may be results, in the same forms; None = all.
            num_threads: threads that share the batch.
            kernel: one of :data:`KERNELS`.
            where: predicate over the item attributes, or its text (docs/filters.md): one shared, or one (or
                None) per query; None = all items. Needs :meth:`with_attributes`.
            mask: (num_words,) uint64, or (B, num_words) for one per query, num_words = num_items // 64 + 1:
                item i may be a result if bit ``i % 64`` of word ``i // 64`` is set; None = all. An item must
                be permitted by ``exclude``, ``allow``, ``where`` and ``mask``.
            fill: complete short rows with the permitted items, from 1, of smallest id and score 0: items
                without a posting in the query's lists count as the floor.

        Returns:
            item_ids (B, k) int64 and scores (B, k) float32; short rows are padded with -1 and -inf.

        Raises:
            UsageError: an argument is out of range or of a wrong shape.
        """
        self._check_options(k, num_threads, kernel)
        terms = make_term_ids(term_ids, self.num_terms)
        queries = QueryBatch(
            term_ids=terms,
            weights=make_weights(weights, terms.shape),
            exclude=make_id_lists(exclude, len(terms), self.num_items, "exclude"),
            allow=make_id_lists(allow, len(terms), self.num_items, "allow"),
            mask=self._restrict(make_mask(mask, len(terms), self.num_items), where, len(terms)),
        )
        if kernel == "oracle":
            return search_oracle(self.posting_list, self.num_items, queries, k, fill)
        result = search_batch(self._lists, queries, k, num_threads)
        if fill:
            fill_short_rows(result, queries, self.num_items)
        return result

    def _restrict(self, mask: NDArray[np.uint64], where: Where, num_queries: int) -> NDArray[np.uint64]:
        """(R, num_words) bitsets, R = 0, 1 or B, that permit what both ``mask`` and ``where`` do."""
        if where is None:
            return mask
        if self._filters is None:
            raise UsageError("the index has no item attributes", remedy="give it some by with_attributes()")
        words = self._filters.masks(where, num_queries)
        self._filters.warn_of_absent(where)
        if words is None:
            return mask
        rows = words.reshape(-1, mask.shape[1])
        return read_only(rows & mask if len(mask) else rows)

    def with_attributes(self, attributes: ItemAttributes) -> InvertedIndex:
        """The same index, able to filter by ``attributes``, which are kept apart from it on disk.

        Raises:
            UsageError: they are of another number of items.
        """
        if attributes.num_items != self.num_items:
            raise UsageError(
                "attributes are of another catalogue", expected=self.num_items, received=attributes.num_items
            )
        able = copy.copy(self)
        able._filters = FilterCompiler(attributes)
        return able

    @staticmethod
    def _check_options(k: int, num_threads: int, kernel: str) -> None:
        for name, value in (("k", k), ("num_threads", num_threads)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise UsageError(f"{name} out of range", expected="an integer of at least 1", received=value)
        if kernel not in KERNELS:
            raise UsageError("unknown kernel", expected=" | ".join(KERNELS), received=kernel)

    def with_metadata(self, metadata: Mapping[str, Any]) -> InvertedIndex:
        """The same index with other metadata."""
        other = copy.copy(self)
        other.metadata = dict(metadata)
        return other

    def pack(self, encoding: Encoding) -> InvertedIndex:
        """The same index over packed lists, which are searched without unpacking the whole.

        Args:
            encoding: how scores are coded, see :mod:`sparcode.index.packed.coding` for the error of each.

        Returns:
            An index whose searches give, bit for bit, what a plain index of the decoded scores gives.

        Raises:
            UsageError: unknown encoding.
        """
        if encoding not in ENCODINGS:
            raise UsageError("unknown encoding", expected=" | ".join(ENCODINGS), received=encoding)
        packed = InvertedIndex(pack_postings(self.postings, encoding), self.metadata, self.floors)
        packed._filters = self._filters
        return packed

    @property
    def encoding(self) -> Literal["plain", "float32", "float16", "uint8"]:
        """How scores are coded; ``plain`` for lists that are not packed."""
        return self._postings.encoding if isinstance(self._postings, PackedLists) else "plain"

    @property
    def postings(self) -> Postings:
        """The posting lists, read-only; those of a packed index are decoded at every call."""
        return self.part(0, self.num_terms) if isinstance(self._postings, PackedLists) else self._postings

    def part(self, first: int, stop: int) -> Postings:
        """The posting lists of the terms ``first .. stop - 1``, read-only."""
        return self._postings.part(first, stop)

    @property
    def attributes(self) -> ItemAttributes | None:
        """What ``where`` is evaluated on."""
        return None if self._filters is None else self._filters.attributes

    @property
    def num_items(self) -> int:
        """Size of the catalogue; the largest item id that may occur."""
        return self._postings.num_items

    @property
    def num_terms(self) -> int:
        """Number of term ids, with or without a posting."""
        return self._postings.num_terms

    @property
    def num_lists(self) -> int:
        """Number of lists that are not empty."""
        return int(np.count_nonzero(self.list_lengths()))

    @property
    def num_postings(self) -> int:
        """Number of (term, item) pairs kept."""
        return self._postings.num_postings

    @property
    def index_density(self) -> float:
        """Postings per (term, item) pair, 0 to 1; 0 for an index without terms or items."""
        pairs = self.num_terms * self.num_items
        return self.num_postings / pairs if pairs else 0.0

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays, which are those on disk without their headers."""
        return self._postings.size_bytes + (0 if self.floors is None else self.floors.nbytes)

    def list_lengths(self) -> NDArray[np.int64]:
        """(num_terms,) int64 number of postings of each list."""
        return self._postings.list_lengths()

    def posting_list(self, term_id: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item ids (n,) int32 and scores (n,) float32 of one list, read-only.

        Raises:
            UsageError: term id out of range.
        """
        if not 0 <= term_id < self.num_terms:
            raise UsageError("term id out of range", expected=f"0 to {self.num_terms - 1}", received=term_id)
        return self._postings.posting_list(term_id)

    def coding_error(self, term_id: int) -> NDArray[np.float64]:
        """(n,) largest difference that packing may have made to each score of a list; 0 if it is plain.

        Raises:
            UsageError: term id out of range.
        """
        scores = self.posting_list(term_id)[1]
        if self.encoding == "plain" or not len(scores):
            return np.zeros(len(scores))
        return error_bound(scores, float(scores.max()), self.encoding)

    def __repr__(self) -> str:
        return (
            f"InvertedIndex(num_terms={self.num_terms}, num_items={self.num_items}, "
            f"num_postings={self.num_postings}, index_density={self.index_density:.4g})"
        )
