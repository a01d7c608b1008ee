"""Training batches of fixed shape, pure functions of seed, epoch and step: training can resume anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset, Interactions
from sparcode.errors import ConfigError

_SHUFFLE, _POSITIONS = 1, 2


@dataclass(frozen=True)
class QueryBatch:
    """Queries and their positives.

    Attributes:
        history: (S, L) int32, right-aligned, 0 = padding.
        users: (S,) int64 user of each row.
        query_index: (Q,) int32 place of each query in the (S, L) history, row * L + position.
        positives: (Q,) int32 item to predict, 0 = padding.
        weights: (Q,) float32, 1 = real query, 0 = padding; real queries come first.
    """

    history: NDArray[np.int32]
    users: NDArray[np.int64]
    query_index: NDArray[np.int32]
    positives: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class BatchShare:
    """What one of several workers has to do of a batch.

    Attributes:
        batch: own rows and queries, in the order of the whole batch, padded to a shape that is the same for
            every batch.
        rows: (S,) int64 rows of the whole batch that are own ones, 0 = padding.
        places: (n,) int64 places of the own real queries among those of the whole batch, ascending.
    """

    batch: QueryBatch
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


class BatchSource(Protocol):
    """Batches of one training set; a row has at most ``queries_per_row`` queries."""

    steps_per_epoch: int
    every_position: bool
    queries_per_batch: int
    queries_per_row: int
    rows_per_batch: int

    def epoch(self, number: int) -> Iterator[QueryBatch]:
        """The batches of one epoch, in the same order whenever it is asked for."""
        ...


@dataclass(frozen=True)
class BatchOptions:
    """Sizes of a batch.

    Attributes:
        batch_size: rows.
        history_length: L.
        targets_per_sequence: targets kept per row on average (ordered data).
        seed: of order, histories and kept targets.
        vary_history: cut each history to a random length from 0 to L (data without an order).
    """

    batch_size: int
    history_length: int
    targets_per_sequence: int
    seed: int
    vary_history: bool = False


class Sharding:
    """Divides batches among workers: no row is left out or worked on twice.

    Rows are dealt out back and forth, those with the most queries first. So workers have equally many rows,
    and their numbers of queries differ by less than what one row can have: that bounds the padding.

    Args:
        source: of the batches.
        rank: which worker.
        size: how many of them.
    """

    def __init__(self, source: BatchSource, rank: int, size: int) -> None:
        self._rank, self._size = rank, size
        self.rows = -(-source.rows_per_batch // size)
        spare = source.queries_per_row if size > 1 else 0
        even = -(-source.queries_per_batch // size)
        self.queries = min(even + spare, source.queries_per_batch, self.rows * source.queries_per_row)

    def share(self, batch: QueryBatch) -> BatchShare:
        """The worker's part of a batch."""
        length = batch.history.shape[1]
        count = int(batch.weights.sum())
        if self._size == 1:
            return BatchShare(batch, np.arange(len(batch.history)), np.arange(count))
        row_of = batch.query_index[:count] // length
        own = np.sort(self._dealt(np.bincount(row_of, minlength=len(batch.history))))
        new_place = np.full(len(batch.history), -1)
        new_place[own] = np.arange(len(own))
        places = np.flatnonzero(new_place[row_of] >= 0)
        rows = np.zeros(self.rows, np.int64)
        rows[: len(own)] = own
        history, users = batch.history[rows], batch.users[rows]
        history[len(own) :] = 0
        index = new_place[row_of[places]] * length + batch.query_index[places] % length
        padded = _padded(history, users, index, batch.positives[places], self.queries)
        return BatchShare(padded, rows, places)

    def _dealt(self, queries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Own rows of a batch with so many queries in each row."""
        order = np.argsort(-queries, kind="stable")
        turn, place = np.divmod(np.arange(len(order)), self._size)
        rank = np.where(turn % 2, self._size - 1 - place, place)
        return order[rank == self._rank]


def make_batches(dataset: Dataset, options: BatchOptions) -> BatchSource:
    """Windows with a target at every position for ordered histories, else one target per row.

    Raises:
        ConfigError: histories of random length are wanted of ordered data.
    """
    if dataset.ordered and dataset.query_kind == "history":
        if options.vary_history:
            raise ConfigError(
                "histories of ordered data are of every length already",
                where="train.vary_history",
                expected=False,
                received=True,
            )
        return SequenceBatches(dataset.train, options)
    return PairBatches(dataset.train, options, with_history=dataset.query_kind == "history")


class SequenceBatches:
    """Ordered data: windows of at most L items; the item after each position is that position's target.

    A sequence longer than L + 1 is cut into windows from its end. Of all targets of a batch a random
    ``batch_size * targets_per_sequence`` are used, so that every batch has the same shape. With weights a
    target takes part in an epoch with the probability ``weight / largest weight``.
    """

    every_position = True

    def __init__(self, train: Interactions, options: BatchOptions) -> None:
        self._items = np.asarray(train.items)
        self._keep = None if train.weights is None else train.weights / train.weights.max()
        self._options = options
        self._users, self._starts, self._lengths = _windows(train.indptr, options.history_length)
        self.rows_per_batch = options.batch_size
        self.queries_per_row = options.history_length
        self.queries_per_batch = options.batch_size * min(
            options.targets_per_sequence, options.history_length
        )
        self.steps_per_epoch = -(-len(self._users) // options.batch_size)

    def epoch(self, number: int) -> Iterator[QueryBatch]:
        """The batches of one epoch, drawn from the seed and the number of the epoch."""
        seed, size = self._options.seed, self._options.batch_size
        order = np.random.default_rng([seed, _SHUFFLE, number]).permutation(len(self._users))
        rng = np.random.default_rng([seed, _POSITIONS, number])
        for start in range(0, len(order), size):
            yield self._batch(order[start : start + size], rng)

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> QueryBatch:
        length, size = self._options.history_length, self._options.batch_size
        age = length - 1 - np.arange(length)  # (L,), 0 = most recent place
        counts = np.zeros(size, np.int64)
        counts[: len(rows)] = self._lengths[rows]
        first = np.zeros(size, np.int64)
        first[: len(rows)] = self._starts[rows]
        users = np.zeros(size, np.int64)
        users[: len(rows)] = self._users[rows]
        present = age[None] < counts[:, None]  # (S, L)
        place = np.where(present, first[:, None] + counts[:, None] - 1 - age[None], 0)
        history = np.where(present, self._items[place], 0).astype(np.int32)
        queries = np.flatnonzero(present)
        if self._keep is not None:
            queries = _thinned(queries, self._keep[place.reshape(-1)[queries] + 1], rng)
        if len(queries) > self.queries_per_batch:
            queries = np.sort(rng.choice(queries, self.queries_per_batch, replace=False))
        positives = self._items[place.reshape(-1)[queries] + 1]
        return _padded(history, users, queries, positives, self.queries_per_batch)


class PairBatches:
    """One (user, item) pair a row: the item is the positive, other items of the user are its history.

    For data without an order and for feature-only queries (empty history). Each epoch shuffles the items of
    every user; the history of a pair are the L items that follow it in that circular order, which makes it a
    uniformly random subset of the user's other items and never holds the positive itself. With
    ``vary_history`` their number is random as well, so that a model learns what few items, or none, tell.
    With weights the pairs of an epoch are drawn in proportion to them, with replacement.
    """

    every_position = False

    def __init__(self, train: Interactions, options: BatchOptions, with_history: bool) -> None:
        counts = train.counts()
        self._owner = np.repeat(np.arange(len(counts)), counts)
        self._items = np.asarray(train.items)
        self._indptr = np.asarray(train.indptr)
        self._counts = counts
        self._options = options
        self._with_history = with_history
        self._chance: NDArray[np.float64] | None = None
        usable = counts[self._owner] >= (2 if with_history else 1)
        self._pairs = np.flatnonzero(usable)
        if train.weights is not None:
            weights = train.weights[self._pairs].astype(np.float64)
            self._chance = weights / weights.sum()
        self.rows_per_batch = self.queries_per_batch = options.batch_size
        self.queries_per_row = 1
        self.steps_per_epoch = -(-len(self._pairs) // options.batch_size)

    def epoch(self, number: int) -> Iterator[QueryBatch]:
        """The batches of one epoch, drawn from the seed and the number of the epoch."""
        seed, size = self._options.seed, self._options.batch_size
        rng = np.random.default_rng([seed, _SHUFFLE, number])
        mixed = np.lexsort((rng.random(len(self._items)), self._owner))
        items = self._items[mixed]
        order = self._pairs[rng.permutation(len(self._pairs))]
        if self._chance is not None:
            drawn = rng.choice(self._pairs, len(self._pairs), p=self._chance)
            order = np.argsort(mixed)[drawn]  # where the drawn ones are in the mixed order
        for start in range(0, len(order), size):
            batch = self._batch(items, order[start : start + size])
            if self._options.vary_history:
                length = batch.history.shape[1]
                kept = rng.integers(0, length + 1, (len(batch.history), 1))
                batch.history[length - np.arange(length)[None] > kept] = 0
            yield batch

    def _batch(self, items: NDArray[np.int32], pairs: NDArray[np.int64]) -> QueryBatch:
        length, size = self._options.history_length, self._options.batch_size
        users = np.zeros(size, np.int64)
        users[: len(pairs)] = self._owner[pairs]
        history = np.zeros((size, length), np.int32)
        if self._with_history:
            own = users[: len(pairs)]
            first, count = self._indptr[own][:, None], self._counts[own][:, None]
            step = length - np.arange(length)[None]  # (1, L), 1 at the last place
            place = first + (pairs[:, None] - first + step) % count
            others = np.where(step < count, items[place], 0)
            # data that keep duplicates may have the positive a second time
            history[: len(pairs)] = np.where(others == items[pairs][:, None], 0, others)
        queries = np.arange(len(pairs)) * length + length - 1
        return _padded(history, users, queries, items[pairs], size)


def _thinned(
    queries: NDArray[np.int64], keep: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each query with its probability, but never none of them."""
    if not len(queries):
        return queries
    chance = rng.random(len(queries))
    kept = queries[chance < keep]
    return kept if len(kept) else queries[[int(np.argmax(keep - chance))]]


def _padded(
    history: NDArray[np.int32],
    users: NDArray[np.int64],
    queries: NDArray[np.int64],
    positives: NDArray[np.int32],
    size: int,
) -> QueryBatch:
    """Queries filled up to ``size`` with weight 0."""
    index = np.zeros(size, np.int32)
    index[: len(queries)] = queries
    targets = np.zeros(size, np.int32)
    targets[: len(queries)] = positives
    weights = np.zeros(size, np.float32)
    weights[: len(queries)] = 1.0
    return QueryBatch(history, users, index, targets, weights)


def _windows(
    indptr: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """User, first place and number of inputs of every window; the last input of a sequence has no target."""
    inputs = np.maximum(np.diff(indptr) - 1, 0)
    pieces = -(-inputs // length)  # windows per user
    users = np.repeat(np.arange(len(inputs)), pieces)
    piece = np.arange(len(users)) - np.repeat(
        np.cumsum(pieces) - pieces, pieces
    )  # 0 = the most recent window
    end = inputs[users] - piece * length
    start = np.maximum(end - length, 0)
    return users.astype(np.int64), indptr[users] + start, end - start
