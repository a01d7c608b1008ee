"""An index that changes while it is searched: items are added, removed and rescored (docs/updates.md)."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError
from sparcode.index import bitsets as bits
from sparcode.index.build.blocks import BlockScorer
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.compiler import FilterCompiler
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.live.delta import lists_of_items, merge_postings, score_items
from sparcode.index.live.live_directory import read_snapshot, write_snapshot
from sparcode.index.live.snapshot import Segment, Snapshot
from sparcode.index.postings import MAX_ITEM_ID, join_lists
from sparcode.types import SearchResult


class LiveIndex:
    """An inverted index with updates: a base, rewritten by :meth:`compact` alone, and one delta over it.

    An update rebuilds the delta, in time that grows with the delta; compact when it has become large.

    After any sequence of updates, results are bit for bit those of an index whose list of term t holds every
    live item i with ``score(t, i) > floor_t``, at ``score(t, i) - floor_t``. Floors are those of the base and
    do not move: a list that was cut to its best L items may grow beyond L.

    Readers never wait: a search uses the snapshot that is current when it starts. Writers take turns.

    Args:
        base: the index as it was built; all its items 1 .. num_items are live.
        codebooks: (S, M, N, d) float32, what the scorers of updates take, see ``codes.tokens_of_terms``.

    Terms beyond those of codes have lists that no scorer makes, such as those of history items. An item keeps
    its postings there when it is rescored, and when it is added again unless :meth:`compact` has dropped
    them since it was removed; a new item has none.

    Raises:
        UsageError: the codebooks are not those of the index's terms.
    """

    def __init__(self, base: InvertedIndex, codebooks: NDArray[np.float32]) -> None:
        whole = Segment(base, bits.all_items(base.num_items))
        self._start(Snapshot((whole,), base.num_items), codebooks)
        if base.attributes is not None:
            self.set_attributes(base.attributes)

    def _start(self, snapshot: Snapshot, codebooks: NDArray[np.float32]) -> None:
        self._codebooks = np.asarray(codebooks, dtype=np.float32)
        self._snapshot = snapshot
        self._lock = threading.Lock()
        sizes, num_terms = self._codebooks.shape, snapshot.segments[0].index.num_terms
        if len(sizes) != 4 or sizes[0] * sizes[2] ** sizes[1] > num_terms:
            raise UsageError(
                "codebooks and index differ in their terms",
                expected=f"(S, M, N, d) with S * N ** M at most {num_terms}",
                received=sizes,
            )
        self._num_code_terms = int(sizes[0] * sizes[2] ** sizes[1])

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], codebooks: NDArray[np.float32], *, verify: bool = True
    ) -> LiveIndex:
        """Open what :meth:`save` has written.

        Raises:
            IndexFormatError: missing, damaged, inconsistent, or of another version; names the file.
            UsageError: the codebooks are not those of the index's terms.
        """
        live = cls.__new__(cls)
        live._start(read_snapshot(directory, verify=verify), codebooks)
        return live

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the present state; segments that the directory holds already are not written again.

        A crash at any moment leaves the old state or the new one.

        Raises:
            OutputError: the directory cannot be written; what was there before still is.
        """
        with self._lock:
            write_snapshot(directory, self._snapshot)

    def snapshot(self) -> Snapshot:
        """The present state, which later updates do not change."""
        return self._snapshot

    def search(self, term_ids: ArrayLike, k: int, **options: Any) -> SearchResult:
        """Exact top-k live items of each query in the present state; see :meth:`Snapshot.search`."""
        return self._snapshot.search(term_ids, k, **options)

    def add(self, item_ids: ArrayLike, scorer: BlockScorer) -> None:
        """Add items; ids above ``num_items`` enlarge the catalogue.

        Args:
            item_ids: (n,) int, ascending and unique, 1 or larger, none of them live.
            scorer: scores of these items alone: its item ``j`` is ``item_ids[j - 1]``.

        Raises:
            UsageError: ids of another form, or of a live item; another number of items in the scorer.
            IndexBuildError: the scorer gives something that no index can be built from.
        """
        with self._lock:
            self._put(self._checked(item_ids, live=False), scorer)

    def rescore(self, item_ids: ArrayLike, scorer: BlockScorer) -> None:
        """Replace all postings of live items; arguments and errors as of :meth:`add`, but for live ids."""
        with self._lock:
            self._put(self._checked(item_ids, live=True), scorer)

    def remove(self, item_ids: ArrayLike) -> None:
        """Remove live items; their ids may be added again.

        Raises:
            UsageError: ids of another form, or of an item that is not live.
        """
        with self._lock:
            ids = self._checked(item_ids, live=True)
            self._snapshot = replace(self._snapshot, segments=_bury(self._snapshot.segments, ids))

    def compact(self) -> None:
        """Write all segments into one new base; results stay the same.

        A packed base is packed again, in the same way: where that rounds scores, those of deltas are rounded
        now, and those of the base may be once more.

        Searches go on meanwhile. Memory: some 40 bytes a posting.
        """
        with self._lock:
            old = self._snapshot
            base = old.segments[0]
            if len(old.segments) == 1 and not base.num_dead and base.index.num_items == old.num_items:
                return
            whole = _merged(old.segments, old.num_items, base.index)
            if base.index.encoding != "plain":
                whole = replace(whole, index=whole.index.pack(base.index.encoding))
            self._snapshot = replace(old, segments=(whole,))

    def set_attributes(self, attributes: ItemAttributes) -> None:
        """Set what ``where`` of a search is evaluated on; kept apart from the index on disk.

        Raises:
            UsageError: they are of more items than the catalogue.
        """
        with self._lock:
            if attributes.num_items > self._snapshot.num_items:
                raise UsageError(
                    "attributes are of another catalogue",
                    expected=f"at most {self._snapshot.num_items}",
                    received=attributes.num_items,
                )
            self._snapshot = replace(self._snapshot, filters=FilterCompiler(attributes))

    def contains(self, item_ids: ArrayLike) -> NDArray[np.bool_]:
        """Which of the items (n,), 0 or larger, are live."""
        return _is_live(self._snapshot, np.asarray(item_ids, dtype=np.int64))

    @property
    def num_items(self) -> int:
        """The largest item id that ever was in the catalogue."""
        return self._snapshot.num_items

    @property
    def num_live(self) -> int:
        """Items that can be results."""
        return sum(bits.count(segment.owned) for segment in self._snapshot.segments)

    def _put(self, ids: NDArray[np.int64], scorer: BlockScorer) -> None:
        if scorer.num_items != len(ids):
            raise UsageError(
                "as many items in the scorer as ids", expected=len(ids), received=scorer.num_items
            )
        if not len(ids):
            return
        old = self._snapshot
        base, last = old.segments[0].index, int(ids[-1])
        floors = np.zeros(base.num_terms, np.float32) if base.floors is None else base.floors
        made = score_items(ids, scorer, self._codebooks, floors[: self._num_code_terms])
        owned = bits.with_items(bits.no_items(last), ids)
        kept = lists_of_items(base.part(self._num_code_terms, base.num_terms), owned)
        postings = join_lists([made, kept]).postings(last)
        base_segment, *delta = _bury(old.segments, ids)
        fresh = Segment(InvertedIndex(postings, floors=base.floors), owned)
        num_items = max(last, *(segment.index.num_items for segment in delta)) if delta else last
        merged = _merged([*delta, fresh], num_items, base) if delta else fresh
        segments = (base_segment, merged)
        self._snapshot = replace(old, segments=segments, num_items=max(old.num_items, last))

    def _checked(self, item_ids: ArrayLike, live: bool) -> NDArray[np.int64]:
        ids = np.asarray(item_ids)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise UsageError(
                "item ids must be a vector of integers",
                expected="(n,) int",
                received=f"{ids.shape} {ids.dtype}",
            )
        ids = ids.astype(np.int64)
        if len(ids) and (ids[0] < 1 or ids[-1] > MAX_ITEM_ID or (np.diff(ids) <= 0).any()):
            raise UsageError("item ids must ascend", expected=f"1 to {MAX_ITEM_ID}, each once")
        wrong = ids[_is_live(self._snapshot, ids) != live]
        if len(wrong):
            raise UsageError(
                "item is not in the index" if live else "item is in the index already",
                where=f"item {wrong[0]}",
                remedy="add it first" if live else "rescore it instead, or remove it first",
            )
        return ids


def _is_live(snapshot: Snapshot, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    found = np.zeros(len(ids), dtype=bool)
    for segment in snapshot.segments:
        found |= bits.contains(segment.owned, ids)
    return found


def _bury(segments: tuple[Segment, ...], ids: NDArray[np.int64]) -> tuple[Segment, ...]:
    """The segments without these items; a delta that owns nothing any more is dropped."""
    left = []
    for number, segment in enumerate(segments):
        gone = ids[bits.contains(segment.owned, ids)]
        if len(gone):
            owned = bits.without_items(segment.owned, gone)
            segment = replace(segment, owned=owned, num_dead=segment.num_dead + len(gone))
        if number == 0 or segment.owned.any():
            left.append(segment)
    return tuple(left)


def _merged(segments: Sequence[Segment], num_items: int, like: InvertedIndex) -> Segment:
    """One segment with the live postings of several, and the floors and metadata of an index."""
    parts = [(segment.index.postings, segment.owned) for segment in segments]
    owned = bits.no_items(num_items)
    for segment in segments:
        owned[: len(segment.owned)] |= segment.owned
    return Segment(InvertedIndex(merge_postings(parts, num_items), like.metadata, like.floors), owned)
