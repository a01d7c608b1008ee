"""Which scores become postings, and with what score.

A pruner sees the scores of one block of terms as consecutive blocks of items, and gives back the finished
lists. All pruners keep positive scores only, as the relu of the model does.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.index.build.selection import emit_lists, offer_block, smallest_scores

Lists = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]
"""(T,) lengths, item ids and scores of the T lists one after the other, and (T,) floors: what was subtracted
from the scores of each list."""


class Pruner(Protocol):
    """Turns blocks of scores into posting lists."""

    def begin(self, num_terms: int) -> None:
        """Start a block of terms."""

    def add(self, scores: NDArray[np.float32], first_item: int) -> None:
        """Take the (T, I) scores of items ``first_item .. first_item + I - 1``; blocks come ascending."""

    def finish(self) -> Lists:
        """The lists of the block of terms."""


class ShiftPruner:
    """Keeps ``score + shift`` where that is above 0.

    Memory: the postings of one block of terms, 8 bytes each, twice while several blocks of items are merged.

    Args:
        shift: added to every score in float32; 0 keeps exactly what the relu of the model keeps. One number,
            or one for each term of the block, (T,) float32.
    """

    def __init__(self, shift: float | NDArray[np.float32]) -> None:
        self._shift = np.asarray(shift, dtype=np.float32).reshape(-1, 1)  # (T, 1) or (1, 1)
        self._parts: list[Lists] = []

    def begin(self, num_terms: int) -> None:
        self._parts = []

    def add(self, scores: NDArray[np.float32], first_item: int) -> None:
        shifted = scores + self._shift
        kept = shifted > 0
        columns = np.nonzero(kept)[1]  # row by row
        floors = np.full(len(scores), -self._shift[:, 0], dtype=np.float32)
        self._parts.append((kept.sum(axis=1), (columns + first_item).astype(np.int32), shifted[kept], floors))

    def finish(self) -> Lists:
        if len(self._parts) == 1:
            return self._parts[0]
        lengths = np.sum([part[0] for part in self._parts], axis=0)
        item_ids = np.empty(lengths.sum(), dtype=np.int32)
        scores = np.empty(len(item_ids), dtype=np.float32)
        starts = np.cumsum(lengths) - lengths  # (T,) where the next part of each list goes
        for part_lengths, part_items, part_scores, _ in self._parts:
            part_starts = np.cumsum(part_lengths) - part_lengths
            places = np.repeat(starts - part_starts, part_lengths) + np.arange(len(part_items))
            item_ids[places], scores[places] = part_items, part_scores
            starts = starts + part_lengths
        return lengths, item_ids, scores, self._parts[0][3]


class TopPruner:
    """Keeps the ``top_l`` best scores of each list, less the list's floor.

    The floor is the best score that is left out: an item that is absent from the list counts as the floor,
    which makes the floor a bias of the code. Where nothing is left out it is 0 for sparse scores, and the
    smallest score of the list for signed ones. Postings equal to the floor are dropped.

    Memory: 8 * (top_l + 2) bytes per term of the block, whatever the catalogue.

    Args:
        top_l: longest list.
        signed: scores of either sign count; otherwise only positive ones, as the relu of the model has it.
    """

    def __init__(self, top_l: int, signed: bool = False) -> None:
        self._capacity = top_l + 1  # one entry more than may be kept: its score is the floor
        self._signed = signed

    def begin(self, num_terms: int) -> None:
        # offer_block wants room for one entry more
        self._scores = np.empty((num_terms, self._capacity + 1), dtype=np.float32)
        self._items = np.empty((num_terms, self._capacity + 1), dtype=np.int32)
        self._thresholds = np.full(num_terms, -np.inf if self._signed else 0.0, dtype=np.float32)
        self._fill = np.zeros(num_terms, dtype=np.int64)

    def add(self, scores: NDArray[np.float32], first_item: int) -> None:
        offer_block(scores, first_item, self._thresholds, self._scores, self._items, self._fill)

    def finish(self) -> Lists:
        floors = smallest_scores(self._scores, self._fill, self._capacity, self._signed)
        total = int(self._fill.sum())
        items, scores = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.float32)
        lengths = emit_lists(self._scores, self._items, self._fill, floors, items, scores)
        kept = int(lengths.sum())
        return lengths, items[:kept], scores[:kept], floors
