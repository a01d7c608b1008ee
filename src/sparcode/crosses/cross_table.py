"""The table of crosses, and what it adds to the score of a candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

ROW_BLOCK = 256
"""Rows made dense at once."""

Scores = Callable[[NDArray[np.int32], Sequence[NDArray]], NDArray[np.float32]]
"""Histories (B, L) and user feature rows (B, ...) -> scores (B, I + 1) of a model."""


@dataclass(frozen=True, eq=False)
class CrossTable:
    """Item-to-item weights, and how a query counts the items of its history.

    A candidate's score grows by ``weight * sum_j age_decay ** age(j) * rows[j, candidate]`` over the history
    items j, where the newest item has age 0. No query and item vectors can hold this sum: the table has full
    rank. The index serves it as it is, since history items are discrete already: item j is term
    ``first_term + j - 1``, its list is row j, and a query names it with ``weight * age_decay ** age``.

    Attributes:
        rows: (I + 1, I + 1) float32, none below 0; row and column 0 are empty.
        history_length: L', items of a history that count, the last ones.
        encoder_length: L, those of them that the network's encoder reads, at most L'.
        age_decay: factor for each step of age, in (0, 1].
        weight: of the crosses against the network's score, 0 or more.
    """

    rows: csr_matrix
    history_length: int
    encoder_length: int
    age_decay: float = 1.0
    weight: float = 1.0

    @property
    def num_items(self) -> int:
        """Catalogue size I."""
        return int(self.rows.shape[0]) - 1

    @property
    def size_bytes(self) -> int:
        """Bytes of the table as it is held: 8 for each weight, and the starts of the rows."""
        return int(self.rows.data.nbytes + self.rows.indices.nbytes + self.rows.indptr.nbytes)

    def history_weights(self) -> NDArray[np.float32]:
        """(L',) float32, what each place of a right-aligned history counts."""
        ages = np.arange(self.history_length - 1, -1, -1)
        return (self.weight * self.age_decay**ages).astype(np.float32)

    def lists(self) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]:
        """The rows of the items 1 .. I as posting lists, that of item j being list j - 1.

        Returns:
            borders (I + 1,) of the lists, item ids ascending in a list, and weights above 0.
        """
        rows = self.rows[1:]  # a copy
        rows.eliminate_zeros()
        rows.sort_indices()
        return rows.indptr, rows.indices, rows.data

    def add(self, scores: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        """Add to scores (B, I + 1) what candidates gain from right-aligned histories (B, L'), 0 = padding."""
        rows = self.rows
        _add_rows(scores, history, self.history_weights(), (rows.indptr, rows.indices, rows.data))

    def scores(self, history: NDArray[np.int32]) -> NDArray[np.float32]:
        """Histories (B, L'), right-aligned, 0 = padding -> what candidates gain, (B, I + 1) float32."""
        gains = np.zeros((len(history), self.num_items + 1), np.float32)
        self.add(gains, history)
        return gains

    def added_to(self, own: Scores) -> Scores:
        """The scores of a model with these crosses.

        Args:
            own: scores (B, I + 1) of the model, which reads the last L items of a history.

        Returns:
            the same for histories (B, L') with what their crosses add.
        """

        def both(history: NDArray[np.int32], user_rows: Sequence[NDArray]) -> NDArray[np.float32]:
            scores = own(history[:, -self.encoder_length :], user_rows)
            self.add(scores, history)
            return scores

        return both

    def row_blocks(self, top_l: int = 0) -> Iterator[NDArray[np.float32]]:
        """Rows of the items 1 .. I over the candidates 1 .. I, dense, some at a time: (at most 256, I).

        Args:
            top_l: 0 = whole rows; otherwise the best so many weights of each row, without those that equal
                the best one left out. They stay as they are: an item that is left out mostly has a weight
                near 0, not near that of the last one that is kept, as the lists of codes have it.
        """
        for start in range(1, self.num_items + 1, ROW_BLOCK):
            block: NDArray[np.float32] = self.rows[start : start + ROW_BLOCK, 1:].toarray()
            if 0 < top_l < self.num_items:
                left_out = -np.partition(-block, top_l, axis=1)[:, top_l]  # the best one of each row
                block[block <= left_out[:, None]] = 0.0
            yield block


@njit(cache=True, nogil=True)
def _add_rows(scores, history, weights, table):  # type: ignore[no-untyped-def]
    """Add the rows (indptr, items, values) of the items of each history, each times its place's weight."""
    indptr, items, values = table
    for query in range(len(history)):
        own = scores[query]
        for place in range(history.shape[1]):
            item = history[query, place]
            if item > 0:
                weight = weights[place]
                for posting in range(indptr[item], indptr[item + 1]):
                    own[items[posting]] += weight * values[posting]
