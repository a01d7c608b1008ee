"""The shares of several workers are the batch: nothing lost, nothing twice, one shape for all."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import interactions
from sparcode.data.batching import (
    BatchOptions,
    BatchShare,
    PairBatches,
    QueryBatch,
    SequenceBatches,
    Sharding,
)

LENGTH = 6


def sequences(num_users: int, batch_size: int) -> SequenceBatches:
    rng = np.random.default_rng(3)
    rows = [rng.integers(1, 50, size) for size in rng.integers(2, 20, num_users)]
    return SequenceBatches(interactions(rows), BatchOptions(batch_size, LENGTH, 3, 0))


def pairs(num_users: int, batch_size: int) -> PairBatches:
    rows = [[user + 1, user + 2, user + 3] for user in range(num_users)]
    return PairBatches(interactions(rows), BatchOptions(batch_size, LENGTH, 3, 0), with_history=True)


def queries_of(batch: QueryBatch) -> list[tuple[int, tuple[int, ...], int, int]]:
    """User, history up to the query's place, that place and the positive, of every real query."""
    found = []
    for index, positive, weight in zip(batch.query_index, batch.positives, batch.weights, strict=True):
        if weight:
            row, place = divmod(int(index), LENGTH)
            history = tuple(int(item) for item in batch.history[row, : place + 1])
            found.append((int(batch.users[row]), history, place, int(positive)))
    return found


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("source", [sequences(41, 8), pairs(41, 8)], ids=["sequences", "pairs"])
def test_the_shares_are_the_batch(source: SequenceBatches | PairBatches, size: int) -> None:
    shardings = [Sharding(source, rank, size) for rank in range(size)]
    shapes: set[tuple[int, ...]] = set()
    for batch in source.epoch(0):
        shares: list[BatchShare] = [sharding.share(batch) for sharding in shardings]
        whole = queries_of(batch)
        for share in shares:
            shapes.add((*share.batch.history.shape, len(share.batch.users), len(share.batch.weights)))
            assert queries_of(share.batch) == [whole[place] for place in share.places]
            assert (np.diff(share.batch.weights) <= 0).all()  # real queries come first
            if not source.every_position:  # networks take row k for query k then
                count = len(share.places)
                assert share.batch.query_index[:count].tolist() == [
                    row * LENGTH + LENGTH - 1 for row in range(count)
                ]
            rows = share.rows[share.batch.history.any(1)]
            np.testing.assert_array_equal(
                share.batch.history[share.batch.history.any(1)], batch.history[rows]
            )
        places = np.concatenate([share.places for share in shares])
        assert sorted(places) == list(range(len(whole)))
        counts = [len(share.places) for share in shares]
        assert max(counts) - min(counts) <= source.queries_per_row
    assert len(shapes) == 1
    ((rows, _, _, queries),) = shapes
    assert rows == -(-8 // size)
    assert source.every_position or queries == rows


def test_one_worker_has_the_batch_itself() -> None:
    source = sequences(20, 8)
    sharding = Sharding(source, 0, 1)
    assert (sharding.rows, sharding.queries) == (source.rows_per_batch, source.queries_per_batch)
    for batch in source.epoch(0):
        share = sharding.share(batch)
        assert share.batch is batch
        np.testing.assert_array_equal(share.rows, np.arange(8))
        np.testing.assert_array_equal(share.places, np.arange(int(batch.weights.sum())))


def test_rows_full_of_queries_fit_whatever_their_order() -> None:
    """The worst case of the padding: as many queries as a row can have in some rows, one in the others."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = [range(1, 2 + (LENGTH if rng.random() < 0.3 else 1)) for _ in range(16)]
        source = SequenceBatches(interactions(rows), BatchOptions(16, LENGTH, LENGTH, seed))
        for rank in range(4):
            sharding = Sharding(source, rank, 4)
            for batch in source.epoch(0):
                assert len(sharding.share(batch).places) <= sharding.queries
