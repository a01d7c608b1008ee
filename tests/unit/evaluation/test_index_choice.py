"""How an index is asked and corrected: every value is that of an index with it, and the best one is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from helpers import tiny_config, tiny_dataset
from sparcode.crosses import CrossTable, FollowingOptions, following_weights
from sparcode.data.batching import BatchOptions, make_batches
from sparcode.evaluation.index_choice import (
    TEMPERATURES,
    IndexChoice,
    IndexSettings,
    ListSources,
    SettingsTried,
)
from sparcode.evaluation.query_set import QuerySet, query_set
from sparcode.evaluation.rankers import IndexRanker
from sparcode.evaluation.report import relevance
from sparcode.index import BuildOptions, InvertedIndex, Posterior, append_lists, build_index
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.inference import TrainingTerms, TrainingTokens
from sparcode.training.encoding import TrainingQueries
from sparcode.training.world import World
from workers import together

ITEMS, READ, LONGER, CROSS_LISTS = 30, 6, 8, 5
METRIC = "ndcg@10"
DATASET = tiny_dataset(features=False)
TRAINING = TrainingQueries(make_batches(DATASET, BatchOptions(16, READ, READ, 0)), (), World())


@pytest.fixture(autouse=True)
def eager() -> None:
    """Many short graphs are not worth compiling."""
    ms.set_context(mode=ms.PYNATIVE_MODE)


@dataclass(frozen=True)
class Bench:
    sources: ListSources
    queries: QuerySet

    def without_crosses(self) -> Bench:
        queries = replace(self.queries, history=self.queries.history[:, -READ:])
        return Bench(replace(self.sources, crosses=None), queries)

    def choice(self, kind: type[IndexChoice] = IndexChoice, **values: Any) -> IndexChoice:
        return kind(self.sources, self.queries, METRIC, World(), **values)


def fitted_network(codes: int) -> Any:
    """Untrained, with so many codes for each of two tokens."""
    values = {"num_query_tokens": 2, "quantizer.num_codebooks": 1, "quantizer.codebook_size": codes}
    config = tiny_config({f"model.{key}": value for key, value in values.items()})
    network: Any = build_network(config.model, DataShape(ITEMS, READ, (), (), {}))
    network.quantizer.fit(TRAINING.sample_tokens(TrainingTokens(network, True), codes), 0)
    return network


@pytest.fixture(scope="module")
def bench() -> Bench:
    """An untrained network of 8 codes for each token, short lists, and what followed its codes."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(5)
    network, dataset = fitted_network(8), DATASET
    counts = TRAINING.count_followers(TrainingTerms(network, True), network.quantizer.num_terms)
    rows = following_weights(
        dataset.train.indptr, dataset.train.items, ITEMS, FollowingOptions(20, 0.9, 0.7, 0.3, 15.0)
    )
    crosses = CrossTable(rows, LONGER, READ, age_decay=0.7)
    options = BuildOptions(top_l=12, signed=True)
    sources = ListSources(network, ITEMS, options, counts, 2.0, (crosses, CROSS_LISTS))
    return Bench(sources, query_set(dataset, "valid", LONGER, []))


def evaluator(bench: Bench) -> Callable[[dict[str, Any]], float]:
    """What evaluation gives for an index of the whole network that is built and asked with some settings."""
    sources, network = bench.sources, bench.sources.network

    @cache
    def lists(strength: float | None) -> InvertedIndex:
        assert sources.counts is not None
        posterior = None if strength is None else Posterior(sources.counts, strength, sources.scale)
        scorer = NetworkBlockScorer(network, ITEMS)
        return build_index(scorer, network.term_codebooks(), sources.options, posterior=posterior).index

    def evaluate(setting: dict[str, Any]) -> float:
        network.quantizer.probes = setting["probes"]
        network.quantizer.probe_temperature = setting["probe_temperature"]
        index, queries, crosses = lists(setting["prior_strength"]), bench.queries, None
        if setting["cross_weight"] is None:
            queries = replace(queries, history=queries.history[:, -READ:])
        else:
            assert sources.crosses is not None
            crosses = replace(sources.crosses[0], weight=setting["cross_weight"])
            index = append_lists(index, crosses.row_blocks(CROSS_LISTS), 0, signed=False)
        ranker = IndexRanker(network, index, 16, 1, crosses)
        return relevance(ranker, queries, (10,), True, World())[METRIC]

    return evaluate


def test_every_value_is_what_evaluating_an_index_with_these_settings_gives(bench: Bench) -> None:
    choice, evaluate = bench.choice(), evaluator(bench)
    best = choice.choose(SettingsTried((1, 3), (0.2, 2.5), (None, 5.0)))
    assert len(choice.tried) > 25
    values = [tried[METRIC] for tried in choice.tried]
    np.testing.assert_allclose(values, [evaluate(tried) for tried in choice.tried], atol=1e-6)
    assert len(np.unique(np.round(values, 4))) > 10  # self-test: settings matter
    crossed = [tried for tried in choice.tried if tried["cross_weight"] is not None]
    assert choice.best_value == max(tried[METRIC] for tried in crossed)
    (first, *_) = [tried for tried in crossed if tried[METRIC] == choice.best_value]
    assert best == IndexSettings(**{key: value for key, value in first.items() if key != METRIC})
    assert best.cross_weight is not None
    assert best.cross_weight > 0  # on a ring the last item tells the next one


def test_counts_of_what_followed_help_a_network_that_knows_nothing(bench: Bench) -> None:
    choice = bench.without_crosses().choice()
    best = choice.choose(SettingsTried((1, 4), (1.0,), (None, 5.0, 50.0)))
    alone = max(tried[METRIC] for tried in choice.tried if tried["prior_strength"] is None)
    assert best.prior_strength is not None
    assert best.cross_weight is None
    assert choice.best_value > alone + 0.05


class Planted(IndexChoice):
    """Values that are best at planted settings."""

    best: IndexSettings
    best_alone: IndexSettings

    def _value(self, index: InvertedIndex, settings: IndexSettings) -> float:
        best = self.best_alone if settings.cross_weight is None else self.best
        strengths = (settings.prior_strength or 1e4, best.prior_strength or 1e4)
        pairs = [(settings.probes, best.probes), (settings.probe_temperature, best.probe_temperature)]
        pairs.append(strengths)
        if settings.cross_weight is not None:
            pairs.append((settings.cross_weight + 1e-9, best.cross_weight or 1e-9))
        value = -sum(abs(math.log(mine / other)) for mine, other in pairs)
        self.tried.append({**vars(settings), METRIC: value})
        return value


@pytest.mark.parametrize("strength", [None, 30.0, 300.0])
@pytest.mark.parametrize(
    ("probes", "temperature"), [(2, TEMPERATURES[-1]), (4, TEMPERATURES[0]), (8, TEMPERATURES[1])]
)
def test_planted_settings_are_found(
    bench: Bench, probes: int, temperature: float, strength: float | None
) -> None:
    choice = bench.choice()
    weights = choice._weights(choice._index(None), IndexSettings(1, 1.0, None))
    for planted in (0.0, weights[4] * 2**0.5, weights[9]):
        choice = bench.choice(Planted)
        choice.best_alone = IndexSettings(probes, temperature, 10.0)
        choice.best = IndexSettings(probes, temperature, strength, planted)
        found = choice.choose(SettingsTried())
        assert replace(found, cross_weight=None) == replace(choice.best, cross_weight=None)
        if strength is None:  # lists of the other strengths have other means, and so other weights
            assert found.cross_weight == pytest.approx(planted)


def test_the_strength_that_is_best_with_crosses_wins(bench: Bench) -> None:
    """Not that which is best without them."""
    choice = bench.choice(Planted)
    choice.best_alone, choice.best = IndexSettings(2, 1.0, 10.0), IndexSettings(2, 1.0, 100.0, 1.0)
    assert choice.choose(SettingsTried()).prior_strength == 100.0
    choice = bench.without_crosses().choice(Planted)
    choice.best_alone = IndexSettings(2, 1.0, 10.0)
    assert choice.choose(SettingsTried()) == choice.best_alone


def test_what_is_given_is_kept(bench: Bench) -> None:
    given = SettingsTried((3,), (0.7,), (20.0,), cross_weight=2.5)
    choice = bench.choice()
    assert choice.choose(given) == IndexSettings(3, 0.7, 20.0, 2.5) == given.fixed
    assert [tried["cross_weight"] for tried in choice.tried] == [None, 2.5]
    for open_one in (
        SettingsTried(temperatures=(0.7,), strengths=(20.0,)),
        SettingsTried((3,), strengths=(20.0,)),
        SettingsTried((3,), (0.7,)),
    ):
        assert open_one.fixed is None


def test_more_probes_than_are_tried_can_be_given(bench: Bench) -> None:
    wide = fitted_network(24)
    one = bench.without_crosses()
    one = replace(one, sources=replace(one.sources, network=wide, counts=None))
    given = SettingsTried((20,), strengths=(None,))
    assert one.choice(most_probes=20).choose(given).probes == 20


def test_probes_beyond_the_codes_are_not_tried_nor_temperatures_of_a_single_one(bench: Bench) -> None:
    choice = bench.without_crosses().choice()
    choice.choose(SettingsTried(strengths=(None,)))
    tried = [(entry["probes"], entry["probe_temperature"]) for entry in choice.tried]
    assert tried == [(1, TEMPERATURES[0]), *((probes, t) for probes in (2, 4, 8) for t in TEMPERATURES)]


class Indifferent(IndexChoice):
    """All settings are alike."""

    def _value(self, index: InvertedIndex, settings: IndexSettings) -> float:
        return 0.5


def test_of_equal_settings_that_which_reads_least_wins(bench: Bench) -> None:
    found = bench.choice(Indifferent).choose(SettingsTried())
    assert (found.probes, found.prior_strength, found.cross_weight) == (1, None, 0)


def test_crosses_that_say_nothing_have_no_weight(bench: Bench) -> None:
    assert bench.sources.crosses is not None
    empty = csr_matrix((ITEMS + 1, ITEMS + 1), dtype=np.float32)
    crosses = (replace(bench.sources.crosses[0], rows=empty), CROSS_LISTS)
    silent = Bench(replace(bench.sources, crosses=crosses), bench.queries)
    assert silent.choice().choose(SettingsTried((2,), (1.0,), (None,))).cross_weight == 0


@pytest.mark.parametrize(("workers", "count"), [(2, 40), (3, 2)], ids=["two", "more-than-queries"])
def test_workers_choose_as_one_does(bench: Bench, workers: int, count: int) -> None:
    """Also a worker without a query."""
    queries, tried = bench.queries.take(count), SettingsTried((1, 4), (0.4, 1.0), (None, 30.0))

    def work(world: World) -> tuple[IndexSettings, list[dict[str, Any]]]:
        ms.set_context(mode=ms.PYNATIVE_MODE)
        own = queries.part(world.share(len(queries)))
        choice = IndexChoice(bench.sources, own, METRIC, world)
        return choice.choose(tried), choice.tried

    settings, values = work(World())
    for found, own_values in together(workers, work):
        assert found == settings
        assert own_values == [pytest.approx(entry) for entry in values]
