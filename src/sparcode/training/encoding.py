"""What the codes need to know of training queries: tokens to fit them on, and counts of what followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from sparcode.data.batching import BatchSource, QueryBatch
from sparcode.index import CodeCounts
from sparcode.model.block_scorer import padded_tensors
from sparcode.training.world import World

LEAST_FITTED, FITTED_PER_CODE = 20_000, 8
"""Queries on whose tokens codebooks are fitted: so many, and so many for each codeword."""

FOLLOWERS, FOLLOWER_DECAY = 5, 0.8
"""Items after a query of ordered data that are counted for its code; a later one counts less."""


class TrainingQueries:
    """The queries of the training batches, run through a cell.

    Args:
        batches: of training.
        user_arrays: (U, ...) for each user feature that the encoder reads, in input order.
        world: the workers, who take turns with the batches.
    """

    def __init__(self, batches: BatchSource, user_arrays: Sequence[NDArray], world: World) -> None:
        self._batches, self._user_arrays, self._world = batches, user_arrays, world

    def sample_tokens(self, cell: nn.Cell, codebook_size: int) -> NDArray[np.float32]:
        """Tokens (T, K_u, D) for ``cell`` that gives those of a batch; the same on every worker."""
        wanted = max(LEAST_FITTED, FITTED_PER_CODE * codebook_size)
        count = -(-wanted // self._batches.queries_per_batch)
        return self._gathered((batch, self._run(cell, batch)) for batch in self._own(count))

    def count_followers(self, cell: nn.Cell, num_terms: int) -> CodeCounts:
        """Count, for each term, the items that followed the queries with that term.

        Of ordered data the next ``FOLLOWERS`` items are counted, of sets the item that was left out of the
        history. Every interaction of one epoch is, so the batches should keep all targets.

        Args:
            cell: batch -> term ids (Q, K_u).
            num_terms: of the index.
        """
        terms, items, weights = [], [], []
        for batch in self._own(self._batches.steps_per_epoch):
            codes = self._run(cell, batch)
            query, item, weight = followers(batch, self._batches.every_position)
            terms.append(codes[query].reshape(-1))
            items.append(np.repeat(item, codes.shape[1]))
            weights.append(np.repeat(weight, codes.shape[1]))
        empty = np.zeros(0, np.int32)
        return CodeCounts.added_up(
            self._world.gather(np.concatenate([empty, *terms])),
            self._world.gather(np.concatenate([empty, *items])),
            self._world.gather(np.concatenate([empty.astype(np.float32), *weights])),
            num_terms,
        )

    def _own(self, count: int) -> Iterator[QueryBatch]:
        """This worker's batches among the first ``count`` of an epoch."""
        return islice(self._batches.epoch(0), self._world.rank, count, self._world.size)

    def _run(self, cell: nn.Cell, batch: QueryBatch) -> NDArray:
        """What the cell gives for the real queries of a batch, which come first."""
        rows = [np.ascontiguousarray(array[batch.users]) for array in self._user_arrays]
        inputs = [Tensor(array) for array in (batch.history, batch.query_index, *rows)]
        found: NDArray = cell(*inputs).asnumpy()[: int(batch.weights.sum())]
        return found

    def _gathered(self, found: Iterator[tuple[QueryBatch, NDArray]]) -> NDArray:
        """The rows of all batches of all workers, in the order of the batches."""
        pieces, size = [part for _, part in found], self._world.size
        numbers = [np.full(len(part), self._world.rank + size * place) for place, part in enumerate(pieces)]
        if size == 1:
            return np.concatenate(pieces)
        width = self._world.gather_sizes(pieces[0][0].size if pieces else 0).max()
        own = np.concatenate(
            [np.zeros((0, width), np.float32), *(part.reshape(-1, width) for part in pieces)]
        )
        rows = self._world.gather(own)
        order = self._world.gather(np.concatenate([np.zeros(0, np.int64), *numbers]).astype(np.int64))
        shape = self._world.gather(np.array([pieces[0].shape[1:]] if pieces else np.zeros((0, 2)), np.int64))[
            0
        ]
        return rows[np.argsort(order, kind="stable")].reshape(-1, *shape)


def followers(
    batch: QueryBatch, ordered: bool
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """What followed the real queries of a batch.

    Args:
        batch: with all targets of its rows, if they are ordered.
        ordered: whether the history goes on behind a query.

    Returns:
        number of the query, item and weight of each observation (n,).
    """
    count = int(batch.weights.sum())
    positives = batch.positives[:count]
    if not ordered:
        return np.arange(count), positives, np.ones(count, np.float32)
    rows, length = batch.history.shape
    after = np.concatenate([batch.history[:, 1:], np.zeros((rows, 1), np.int32)], 1).reshape(-1)
    after[batch.query_index[:count]] = (
        positives  # the target behind the last place of a row is known here only
    )
    after = np.concatenate([after.reshape(rows, length), np.zeros((rows, FOLLOWERS - 1), np.int32)], 1)
    row, place = np.divmod(batch.query_index[:count], length)
    steps = np.arange(FOLLOWERS)
    items = after[row[:, None], place[:, None] + steps]  # (n, FOLLOWERS)
    query, step = np.nonzero(items)
    return query, items[query, step], (FOLLOWER_DECAY**step).astype(np.float32)


def encode_queries(
    cell: nn.Cell, history: NDArray[np.int32], user_rows: Sequence[NDArray], batch_size: int
) -> tuple[NDArray, ...]:
    """Run an encoder cell over all queries in batches of one fixed shape.

    Args:
        cell: (history, one input for each user feature) -> one output or several, a row for each query.
        history: (B, L) int32.
        user_rows: one array (B, ...) for each user feature in input order.
        batch_size: queries encoded at once.

    Returns:
        Its outputs as arrays with one row per query (a 1-tuple for a single output).
    """
    pieces: list[tuple[NDArray, ...]] = []
    for start in range(0, max(len(history), 1), batch_size):  # without a query the outputs have no rows
        rows = slice(start, start + batch_size)
        outputs = cell(*padded_tensors([history, *user_rows], rows, batch_size))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        count = len(history[rows])
        pieces.append(tuple(output.asnumpy()[:count] for output in outputs))
    return tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True))
