"""What is read of the training queries: tokens for the codebooks, and what followed the queries of a code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from helpers import interactions, tiny_config, tiny_dataset
from network_cases import TokenEncoder
from sparcode.data.batching import BatchOptions, BatchSource, QueryBatch, make_batches
from sparcode.index import CodeCounts
from sparcode.model.factory import build_network
from sparcode.model.inference import TrainingTerms, TrainingTokens
from sparcode.pipeline import runs
from sparcode.pipeline.model_inputs import user_arrays
from sparcode.training import encoding
from sparcode.training.encoding import TrainingQueries, encode_queries, followers
from sparcode.training.world import World
from workers import together

L = 6
AGES = np.arange(40, dtype=np.int32) % 5


def batches_of(ordered: bool, size: int = 7, train: list[list[int]] | None = None) -> BatchSource:
    """Batches with every target, of the ring or of given histories."""
    dataset = tiny_dataset(ordered=ordered, features=False)
    if train is not None:
        dataset = replace(dataset, num_users=len(train), train=interactions(train))
    return make_batches(dataset, BatchOptions(size, L, L, 0))


def slow_followers(batch: QueryBatch, ordered: bool) -> list[tuple[int, int, float]]:
    """(query, item, weight) of every observation, one after the other."""
    length, found = batch.history.shape[1], []
    positives = [int(item) for item, weight in zip(batch.positives, batch.weights, strict=True) if weight]
    targets = dict(zip(batch.query_index.tolist(), positives, strict=False))
    for query, item in enumerate(positives):
        if not ordered:
            found.append((query, item, 1.0))
            continue
        row, place = divmod(int(batch.query_index[query]), length)
        window = [*batch.history[row].tolist(), targets[row * length + length - 1]]
        found += [(query, next_item, 0.8**n) for n, next_item in enumerate(window[place + 1 :][:5])]
    return found


@pytest.mark.parametrize("ordered", [True, False], ids=["sequences", "pairs"])
def test_followers_are_the_next_items_of_the_window_or_the_item_left_out(ordered: bool) -> None:
    source, count = batches_of(ordered), 0
    for batch in source.epoch(0):
        query, item, weight = followers(batch, ordered)
        expected = slow_followers(batch, ordered)
        assert list(zip(query.tolist(), item.tolist(), strict=True)) == [row[:2] for row in expected]
        np.testing.assert_allclose(weight, [row[2] for row in expected], rtol=1e-6)
        assert (item.dtype, weight.dtype) == (np.int32, np.float32)
        count += len(item)
    single = len(tiny_dataset().train.items)
    assert count > 2 * single if ordered else count == single


def test_nothing_is_counted_beyond_the_border_of_a_window() -> None:
    """Nine items in windows of six: the last eight follow something, the window of 1 and 2 ends with 3."""
    (batch,) = batches_of(True, size=2, train=[list(range(1, 10))]).epoch(0)
    query, item, _ = followers(batch, True)
    found: dict[int, list[int]] = {}
    for number, follower in zip(query.tolist(), item.tolist(), strict=True):
        found.setdefault(int(batch.history.reshape(-1)[batch.query_index[number]]), []).append(follower)
    assert found == {
        1: [2, 3],
        2: [3],
        3: [4, 5, 6, 7, 8],
        4: [5, 6, 7, 8, 9],
        5: [6, 7, 8, 9],
        6: [7, 8, 9],
        7: [8, 9],
        8: [9],
    }


def two_terms(history: Tensor, query_index: Tensor, ages: Tensor) -> Tensor:
    """(Q, 2) terms of queries: of the item at their place and the age of their user."""
    places = query_index.asnumpy()
    items = history.asnumpy().reshape(-1)[places]
    own = ages.asnumpy()[places // history.shape[1]]
    return Tensor(np.stack([(items + own) % 7, 7 + items % 3], 1).astype(np.int32))


def count(ordered: bool, size: int = 7) -> Any:
    """What counts the followers of ``two_terms`` on a worker."""

    def work(world: World) -> CodeCounts:
        queries = TrainingQueries(batches_of(ordered, size), [AGES], world)
        return queries.count_followers(two_terms, 10)  # type: ignore[arg-type]

    return work


@pytest.mark.parametrize("ordered", [True, False], ids=["sequences", "pairs"])
def test_every_term_of_a_query_counts_what_followed_it(ordered: bool) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    for batch in batches_of(ordered).epoch(0):
        for query, item, weight in slow_followers(batch, ordered):
            place = int(batch.query_index[query])
            last, age = int(batch.history.reshape(-1)[place]), int(AGES[batch.users[place // L]])
            expected[(last + age) % 7, item] += weight
            expected[7 + last % 3, item] += weight
    found = count(ordered)(World())
    terms = np.repeat(np.arange(10), np.diff(found.indptr))
    pairs = list(zip(terms.tolist(), found.item_ids.tolist(), strict=True))
    assert pairs == sorted(expected)
    np.testing.assert_allclose(found.counts, [expected[pair] for pair in pairs], rtol=1e-5)


@pytest.mark.parametrize("ordered", [True, False], ids=["sequences", "pairs"])
@pytest.mark.parametrize(("workers", "size"), [(2, 7), (3, 40)], ids=["two", "more-than-batches"])
def test_workers_count_what_one_does(ordered: bool, workers: int, size: int) -> None:
    alone = count(ordered, size)(World())
    for found in together(workers, count(ordered, size)):
        np.testing.assert_array_equal(found.indptr, alone.indptr)
        np.testing.assert_array_equal(found.item_ids, alone.item_ids)
        np.testing.assert_allclose(found.counts, alone.counts, rtol=1e-6)


def places(history: Tensor, query_index: Tensor, ages: Tensor) -> Tensor:
    """(Q, 2, 3): which query it is, instead of tokens."""
    rows = two_terms(history, query_index, ages).asnumpy()[:, 0], query_index.asnumpy()
    return Tensor(np.stack([*rows, *rows, *rows], 1).reshape(-1, 2, 3).astype(np.float32))


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_sample_the_same_tokens_as_one(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "LEAST_FITTED", 100)  # of 42 queries each: three batches

    def sample(world: World) -> np.ndarray:
        queries = TrainingQueries(batches_of(True), [AGES], world)
        return queries.sample_tokens(places, 4)  # type: ignore[arg-type]

    alone = sample(World())
    for found in together(workers, sample):
        np.testing.assert_array_equal(found, alone)


def test_more_codewords_are_fitted_on_more_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    source = batches_of(True)
    sizes = [int(batch.weights.sum()) for batch in source.epoch(0)]
    queries = TrainingQueries(source, [AGES], World())
    monkeypatch.setattr(encoding, "LEAST_FITTED", 20)
    few, more, all_of_them = (len(queries.sample_tokens(places, n)) for n in (2, 6, 5000))  # type: ignore[arg-type]
    assert (few, more, all_of_them) == (sizes[0], sum(sizes[:2]), sum(sizes))


def test_training_queries_have_the_tokens_of_their_prefixes() -> None:
    ms.set_seed(1)
    config, dataset = tiny_config(), tiny_dataset()
    network: Any = build_network(config.model, runs.data_shape(config, dataset))
    source = make_batches(dataset, BatchOptions(16, L, L, 0))
    queries = TrainingQueries(source, user_arrays(config, dataset), World())
    tokens = queries.sample_tokens(TrainingTokens(network, True), 4)
    first = next(iter(source.epoch(0)))
    count = int(first.weights.sum())
    rows, last = np.divmod(first.query_index[:count], L)
    prefixes = np.zeros((count, L), np.int32)
    for prefix, row, place in zip(prefixes, rows, last, strict=True):
        prefix[L - 1 - place :] = first.history[row, : place + 1]
    features = [dataset.user_arrays[spec.name][first.users[rows]] for spec in dataset.user_features]
    (expected,) = encode_queries(TokenEncoder(network), prefixes, features, 16)
    np.testing.assert_allclose(tokens[:count], expected, rtol=1e-4, atol=1e-5)
    network.quantizer.fit(tokens, 0)
    inputs = [dataset.user_arrays[spec.name][first.users] for spec in dataset.user_features]
    cell = TrainingTerms(network, True)
    found = cell(*(Tensor(array) for array in (first.history, first.query_index, *inputs))).asnumpy()[:count]
    codes = network.quantizer.assign(Tensor(expected))
    np.testing.assert_array_equal(found, network.quantizer.term_ids(codes).asnumpy())
    assert len(np.unique(found)) > 10


def test_without_queries_an_encoder_gives_no_rows() -> None:
    """As where there are more workers than validation users."""
    ms.set_seed(1)
    config, dataset = tiny_config(), tiny_dataset(features=False)
    network: Any = build_network(config.model, runs.data_shape(config, dataset))
    (found,) = encode_queries(TokenEncoder(network), np.zeros((0, L), np.int32), (), 4)
    assert found.shape == (0, 3, 4)
