"""Rankers: seen items, cut-offs, popularity by hand, and agreement of the two-tower's two searches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mindspore as ms
import numpy as np
import pytest

from helpers import interactions, tiny_config, tiny_dataset
from network_cases import TokenEncoder
from sparcode.data.dataset import Dataset
from sparcode.evaluation.query_set import QuerySet, query_set
from sparcode.evaluation.rankers import (
    ExhaustiveRanker,
    IndexRanker,
    PopularityRanker,
    Ranker,
    VectorRanker,
)
from sparcode.index import BuildOptions, build_index
from sparcode.index.search.dense import DenseIndex
from sparcode.model.block_scorer import ExhaustiveScorer, NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.item_vectors import item_vectors
from sparcode.training.encoding import encode_queries

RANKERS = ["index", "exact", "vectors", "popularity"]


@dataclass(frozen=True)
class Bench:
    dataset: Dataset
    queries: QuerySet
    rankers: dict[str, Ranker]


@pytest.fixture(scope="module")
def bench() -> Bench:
    """All rankers on one data set, with histories longer than the window of the encoder."""
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(5)
    dataset = tiny_dataset(features=False)
    queries = query_set(dataset, "test", 3, [])
    assert max(map(len, queries.seen)) > 3
    shape = DataShape(30, 3, (), (), {})
    towers = build_network(tiny_config({"model.name": "two_tower"}).model, shape)
    network = build_network(tiny_config().model, shape)
    (tokens,) = encode_queries(TokenEncoder(network), queries.history, (), 16)
    network.quantizer.fit(tokens, 0)
    built = build_index(NetworkBlockScorer(network, 30), network.term_codebooks(), BuildOptions(top_l=0))
    rankers: dict[str, Ranker] = {
        "index": IndexRanker(network, built.index, 16, 1),
        "exact": ExhaustiveRanker(towers, 30),
        "vectors": VectorRanker(towers, DenseIndex(item_vectors(towers)), "exact", 16),
        "popularity": PopularityRanker(dataset),
    }
    return Bench(dataset, queries, rankers)


@pytest.mark.parametrize("name", RANKERS)
def test_seen_items_are_never_results(bench: Bench, name: str) -> None:
    result = bench.rankers[name].rank(bench.queries, 30, exclude_seen=True)
    for found, seen in zip(result.item_ids, bench.queries.seen, strict=True):
        assert not set(found) & set(seen)
        assert 0 not in found


@pytest.mark.parametrize("name", RANKERS)
def test_seen_items_are_results_when_they_may_be(bench: Bench, name: str) -> None:
    """Everything positive or scored at all is ranked; the seen mask of the test above is what removed it."""
    result = bench.rankers[name].rank(bench.queries, 30, exclude_seen=False)
    overlap = sum(
        len(set(found) & set(seen)) for found, seen in zip(result.item_ids, bench.queries.seen, strict=True)
    )
    assert overlap > 0.8 * sum(len(set(seen)) for seen in bench.queries.seen)


@pytest.mark.parametrize("name", RANKERS)
@pytest.mark.parametrize("k", [1, 7, 50])
def test_results_are_sorted_and_padded(bench: Bench, name: str, k: int) -> None:
    """k = 50 is more than the catalogue holds."""
    result = bench.rankers[name].rank(bench.queries, k, exclude_seen=True)
    assert result.item_ids.shape == result.scores.shape == (len(bench.queries), k)
    for items, scores in zip(result.item_ids, result.scores, strict=True):
        count = int((items > 0).sum())
        assert (items[count:] == -1).all()
        assert np.isneginf(scores[count:]).all()
        assert np.isfinite(scores[:count]).all()
        assert (np.diff(scores[:count]) <= 0).all()
        assert len(set(items[:count])) == count


@pytest.mark.parametrize("name", RANKERS)
def test_a_longer_list_starts_with_the_shorter_one(bench: Bench, name: str) -> None:
    short = bench.rankers[name].rank(bench.queries, 4, exclude_seen=True)
    long = bench.rankers[name].rank(bench.queries, 9, exclude_seen=True)
    np.testing.assert_array_equal(long.item_ids[:, :4], short.item_ids)


def test_the_network_and_the_vector_search_rank_alike(bench: Bench) -> None:
    by_network = bench.rankers["exact"].rank(bench.queries, 10, exclude_seen=True)
    by_vectors = bench.rankers["vectors"].rank(bench.queries, 10, exclude_seen=True)
    np.testing.assert_allclose(by_network.scores, by_vectors.scores, rtol=1e-4, atol=1e-5)
    assert (by_network.item_ids == by_vectors.item_ids).mean() > 0.98


def test_popularity_by_hand() -> None:
    splits = {
        "train": interactions([[3, 2, 1], [3, 2], [3, 5]]),
        "valid": interactions([[4], [4], [4]]),
        "test": interactions([[6], [6], [6]]),
    }
    dataset = replace(tiny_dataset(num_users=3, num_items=6, features=False), **splits)
    queries = query_set(dataset, "test", 2, [])
    ranker = PopularityRanker(dataset)
    everyone = ranker.rank(queries, 6, exclude_seen=False)
    # item 3 three times, 2 twice, 1 and 5 once, 4 and 6 never in the training data; ties by id
    assert everyone.item_ids.tolist() == [[3, 2, 1, 5, 4, 6]] * 3
    assert everyone.scores[0].tolist() == [3, 2, 1, 1, 0, 0]
    unseen = ranker.rank(queries, 3, exclude_seen=True)
    assert unseen.item_ids.tolist() == [[5, 6, -1], [1, 5, 6], [2, 1, 6]]


def test_item_vectors_have_a_zero_row_for_padding(bench: Bench) -> None:
    towers = build_network(tiny_config({"model.name": "two_tower"}).model, DataShape(30, 3, (), (), {}))
    vectors = item_vectors(towers)
    assert vectors.shape == (31, 8)
    assert not vectors[0].any()
    np.testing.assert_array_equal(vectors[1:], towers.tower.id_table.asnumpy()[1:])


@pytest.mark.parametrize(
    ("name", "stages"),
    [("index", {"encode", "search"}), ("vectors", {"encode", "search"}), ("popularity", {"search"})],
)
def test_single_queries_are_timed_by_stage(bench: Bench, name: str, stages: set[str]) -> None:
    times = bench.rankers[name].time_single(bench.queries.take(4), 5, True)
    assert set(times) == stages
    for values in times.values():
        assert values.shape == (4,)
        assert (values > 0).all()


def test_an_exhaustive_ranker_keeps_its_parts_until_refreshed() -> None:
    dataset = tiny_dataset(features=False, num_users=4)
    queries = query_set(dataset, "test", 3, [])
    towers = build_network(tiny_config({"model.name": "two_tower"}).model, DataShape(30, 3, (), (), {}))
    ranker = ExhaustiveRanker(towers, 30)
    before = ranker.rank(queries, 5, exclude_seen=False)
    table = towers.tower.id_table
    table.set_data(ms.Tensor(-table.asnumpy()))
    ranker.refresh()
    after = ranker.rank(queries, 5, exclude_seen=False)
    assert (before.item_ids != after.item_ids).any()


def test_a_single_query_is_scored_as_one() -> None:
    """Padded to a batch it would take the time of the batch, which a report would call its own."""
    ms.set_context(mode=ms.GRAPH_MODE)
    queries = query_set(tiny_dataset(features=False), "test", 3, [])
    network = build_network(tiny_config({"model.name": "two_tower"}).model, DataShape(30, 3, (), (), {}))
    scorer = ExhaustiveScorer(network, 30, 8)
    cell, sizes = scorer._cell, []

    def watched(history: ms.Tensor, *others: ms.Tensor) -> ms.Tensor:
        sizes.append(history.shape[0])
        return cell(history, *others)

    scorer._cell = watched
    together = scorer.scores(queries.history[:9], ())
    alone = scorer.scores(queries.history[:1], ())
    assert sizes == [8, 1, 1]
    np.testing.assert_allclose(alone, together[:1], rtol=1e-5)
