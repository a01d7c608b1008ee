"""Training batches: every target once, nothing of the future in sight, the same numbers every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import interactions, tiny_dataset
from sparcode.data.batching import (
    BatchOptions,
    BatchSource,
    PairBatches,
    QueryBatch,
    SequenceBatches,
    make_batches,
)
from sparcode.data.dataset import Interactions
from sparcode.errors import ConfigError

L = 4

lists_of_items = st.lists(st.lists(st.integers(1, 50), max_size=14, unique=True), min_size=1, max_size=9)


def options(batch_size: int = 3, targets: int = 100, seed: int = 0) -> BatchOptions:
    return BatchOptions(batch_size, L, targets, seed)


def real_queries(batch: QueryBatch) -> list[tuple[int, list[int], int]]:
    """(user, visible prefix without padding, positive) of every real query."""
    queries = []
    for place, positive, weight in zip(batch.query_index, batch.positives, batch.weights, strict=True):
        if weight:
            row, position = divmod(int(place), batch.history.shape[1])
            prefix = batch.history[row, : position + 1]
            queries.append((int(batch.users[row]), prefix[prefix > 0].tolist(), int(positive)))
    return queries


def leaks(train: Interactions, batch: QueryBatch) -> list[tuple[int, list[int], int]]:
    """Queries whose visible prefix is not exactly the items before their target (items unique per user)."""
    wrong = []
    for user, prefix, positive in real_queries(batch):
        items = train.of(user).tolist()
        before = items[: items.index(positive)] if positive in items else None
        if before is None or not prefix or before[-len(prefix) :] != prefix:
            wrong.append((user, prefix, positive))
    return wrong


def check_shapes(source: BatchSource, batch: QueryBatch) -> None:
    queries = source.queries_per_batch
    assert batch.history.shape == (source.rows_per_batch, L)
    assert batch.users.shape == (source.rows_per_batch,)
    assert batch.query_index.shape == batch.positives.shape == batch.weights.shape == (queries,)
    assert (batch.history.dtype, batch.query_index.dtype) == (np.int32, np.int32)
    assert (batch.positives.dtype, batch.weights.dtype) == (np.int32, np.float32)
    assert set(np.unique(batch.weights)) <= {0.0, 1.0}
    assert (np.diff(batch.weights) <= 0).all()  # real queries come first
    assert (batch.positives[batch.weights == 0] == 0).all()
    assert (batch.positives[batch.weights == 1] > 0).all()
    present = batch.history > 0
    assert (np.diff(present.astype(int), axis=1) >= 0).all()  # right-aligned


# ---- ordered data


@given(lists_of_items, st.integers(1, 5), st.integers(0, 3))
def test_every_target_of_ordered_data_appears_once_an_epoch(
    rows: list[list[int]], batch_size: int, epoch: int
) -> None:
    train = interactions(rows)
    source = SequenceBatches(train, options(batch_size))
    found: Counter[tuple[int, int]] = Counter()
    batches = list(source.epoch(epoch))
    for batch in batches:
        check_shapes(source, batch)
        assert leaks(train, batch) == []
        found.update((user, positive) for user, _, positive in real_queries(batch))
    assert found == Counter((user, item) for user, row in enumerate(rows) for item in row[1:])
    assert len(batches) == source.steps_per_epoch


def test_a_long_sequence_is_cut_from_its_end() -> None:
    train = interactions([list(range(1, 11))])  # nine targets, windows of 4
    (batch,) = SequenceBatches(train, options()).epoch(0)
    rows = sorted(batch.history.tolist())
    assert rows == [[0, 0, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    positives = {prefix[-1]: positive for _, prefix, positive in real_queries(batch)}
    assert positives == {item: item + 1 for item in range(1, 10)}


def test_users_with_fewer_than_two_items_have_no_target() -> None:
    source = SequenceBatches(interactions([[1], [], [2, 3]]), options())
    (batch,) = source.epoch(0)
    assert real_queries(batch) == [(2, [2], 3)]


def test_a_planted_leak_is_noticed() -> None:
    """Self-test of ``leaks``: the target shown in its own prefix, and a target that is not the next item."""
    train = interactions([[1, 2, 3, 4, 5]])
    (batch,) = SequenceBatches(train, options(batch_size=1)).epoch(0)
    assert leaks(train, batch) == []
    shifted = replace(batch, history=np.roll(batch.history, -1, axis=1))
    assert leaks(train, shifted)
    late = replace(batch, positives=np.where(batch.positives > 0, (batch.positives % 5) + 1, 0))
    assert leaks(train, late)


def test_targets_are_sampled_down_to_the_fixed_number() -> None:
    dataset = tiny_dataset()
    source = SequenceBatches(dataset.train, BatchOptions(8, 6, 2, 0))
    assert source.queries_per_batch == 16
    counts = [int(batch.weights.sum()) for batch in source.epoch(0)]
    assert max(counts) == 16
    for batch in source.epoch(0):
        assert leaks(dataset.train, batch) == []
        real = batch.query_index[batch.weights > 0]
        assert len(np.unique(real)) == len(real)


def test_targets_per_sequence_beyond_the_history_waste_no_room() -> None:
    assert SequenceBatches(interactions([[1, 2, 3]]), options(targets=100)).queries_per_batch == 3 * L


# ---- unordered data


@given(lists_of_items, st.integers(1, 5), st.integers(0, 3))
def test_every_pair_of_unordered_data_appears_once_an_epoch(
    rows: list[list[int]], batch_size: int, epoch: int
) -> None:
    source = PairBatches(interactions(rows), options(batch_size), with_history=True)
    found: Counter[tuple[int, int]] = Counter()
    for batch in source.epoch(epoch):
        check_shapes(source, batch)
        for user, history, positive in real_queries(batch):
            found[user, positive] += 1
            assert positive not in history
            assert set(history) <= set(rows[user])
            assert len(set(history)) == len(history) == min(len(rows[user]) - 1, L)
    assert found == Counter((user, item) for user, row in enumerate(rows) if len(row) > 1 for item in row)


def test_the_history_of_a_pair_is_a_random_subset() -> None:
    """Each of the five other items is in a history of four with probability 4/5, over the epochs."""
    source = PairBatches(interactions([[1, 2, 3, 4, 5, 6]]), options(6), with_history=True)
    shown: Counter[int] = Counter()
    for epoch in range(500):
        for batch in source.epoch(epoch):
            for _, history, positive in real_queries(batch):
                if positive == 1:
                    shown.update(history)
    assert set(shown) == {2, 3, 4, 5, 6}
    assert all(abs(count / 500 - 0.8) < 0.07 for count in shown.values())


def test_a_positive_that_a_user_has_twice_is_not_in_its_own_history() -> None:
    source = PairBatches(interactions([[4, 4, 7, 9], [5, 5]]), options(3), with_history=True)
    found = [query for number in range(5) for batch in source.epoch(number) for query in real_queries(batch)]
    assert len(found) == 30
    for _, history, positive in found:
        assert positive not in history


def test_feature_queries_keep_users_with_one_item_and_see_no_history() -> None:
    source = PairBatches(interactions([[7], [8, 9]]), options(2), with_history=False)
    batches = list(source.epoch(0))
    assert sorted(query for batch in batches for query in real_queries(batch)) == [
        (0, [], 7),
        (1, [], 8),
        (1, [], 9),
    ]
    assert not any(batch.history.any() for batch in batches)


# ---- both


@pytest.mark.parametrize("ordered", [True, False])
def test_the_last_uneven_batch_keeps_all_its_queries(ordered: bool) -> None:
    rows = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    train = interactions(rows)
    source: BatchSource = (
        SequenceBatches(train, options(3)) if ordered else PairBatches(train, options(3), with_history=True)
    )
    batches = list(source.epoch(0))
    weights = [int(batch.weights.sum()) for batch in batches]
    assert weights == ([3, 2] if ordered else [3, 3, 3, 1])
    assert {batch.history.shape for batch in batches} == {(3, L)}


@pytest.mark.parametrize("ordered", [True, False])
def test_an_epoch_is_a_function_of_seed_and_number(ordered: bool) -> None:
    dataset = tiny_dataset(ordered=ordered)

    def numbers(epoch: int, seed: int = 0) -> list[np.ndarray]:
        source = make_batches(dataset, BatchOptions(8, 6, 2, seed))
        list(source.epoch(3))  # what was asked for before makes no difference
        return [part for batch in source.epoch(epoch) for part in vars(batch).values()]

    first, again = numbers(1), numbers(1)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    for others in (numbers(2), numbers(1, seed=1)):
        assert any((one != other).any() for one, other in zip(first, others, strict=True))


@pytest.mark.parametrize(
    ("ordered", "query_kind", "kind", "with_history"),
    [
        (True, "history", SequenceBatches, None),
        (False, "history", PairBatches, True),
        (True, "features", PairBatches, False),
    ],
)
def test_the_data_decide_the_kind_of_batches(
    ordered: bool, query_kind: str, kind: type, with_history: bool | None
) -> None:
    source = make_batches(tiny_dataset(ordered=ordered, query_kind=query_kind), options())
    assert type(source) is kind
    if with_history is not None:
        assert any(batch.history.any() for batch in source.epoch(0)) == with_history


def test_histories_of_random_length() -> None:
    rows = [list(range(1, 9)), list(range(3, 12)), [4, 2]]
    usual, varied = (
        make_batches(
            replace(tiny_dataset(ordered=False), train=interactions(rows)), BatchOptions(8, 5, 2, 0, vary)
        )
        for vary in (False, True)
    )
    lengths = []
    for number in range(30):
        for full, cut, again in zip(
            usual.epoch(number), varied.epoch(number), varied.epoch(number), strict=True
        ):
            np.testing.assert_array_equal(cut.history, again.history)
            np.testing.assert_array_equal(cut.positives, full.positives)
            for whole, part in zip(full.history, cut.history, strict=True):
                count = int((part > 0).sum())
                assert part.tolist() == [0] * (5 - count) + whole[5 - count :].tolist()
                if (whole > 0).all():
                    lengths.append(count)
    shares = np.bincount(lengths, minlength=6) / len(lengths)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.06)


def test_ordered_data_have_histories_of_every_length_already() -> None:
    with pytest.raises(ConfigError, match="vary_history"):
        make_batches(tiny_dataset(), BatchOptions(8, 6, 2, 0, vary_history=True))


def test_weighted_targets_are_drawn_in_proportion():
    train = interactions([[1, 2, 3, 4], [5, 6, 7, 8, 9]])
    weights = np.where(np.isin(train.items, (3, 8)), 4.0, 1.0).astype(np.float32)
    weighted = replace(train, weights=weights)
    for source, targets in (
        (SequenceBatches(weighted, options(2)), (2, 3, 4, 6, 7, 8, 9)),
        (PairBatches(weighted, options(9), with_history=True), tuple(range(1, 10))),
    ):
        drawn: Counter[int] = Counter()
        for epoch in range(3000):
            for batch in source.epoch(epoch):
                real = real_queries(batch)
                assert real
                assert all(positive not in history for _, history, positive in real)
                drawn.update(positive for _, _, positive in real)
        assert set(drawn) == set(targets)
        heavy = np.mean([drawn[item] for item in (3, 8)])
        light = np.mean([drawn[item] for item in targets if item not in (3, 8)])
        assert heavy / light == pytest.approx(4.0, rel=0.08)
