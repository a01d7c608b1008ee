"""The claim of the project: what the index returns is what the network scores.

With nothing pruned, the index score of every (query, item) pair equals the network's, and the top-k from the
index is the exhaustive top-k up to ties within rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
import pytest

from helpers import tiny_config, tiny_dataset
from network_cases import TokenEncoder
from sparcode.data.dataset import Dataset
from sparcode.evaluation.code_scorer import CodeScorer
from sparcode.evaluation.query_set import QuerySet, query_set
from sparcode.evaluation.rankers import ExhaustiveRanker, IndexRanker
from sparcode.evaluation.report import fidelity
from sparcode.index import (
    BlockScorer,
    BuildOptions,
    CodeCounts,
    InvertedIndex,
    Posterior,
    build_index,
    tokens_of_terms,
)
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.inference import CodeEncoder, TokenItemScorer
from sparcode.model.matchers.sparcode import SparCode
from sparcode.training.encoding import encode_queries

TOLERANCE = 1e-5
K = 10


@dataclass(frozen=True)
class Built:
    """A network, the index built from it, its queries, and all scores (B, I + 1) by the graph of the network.

    Where scores are signed, every list has a floor, its smallest score: ``exact`` is above the floors of the
    lists of the query, as the scores of the index are.

    Whatever compiles a graph is kept for all tests.
    """

    network: SparCode
    scorer: NetworkBlockScorer
    index: InvertedIndex
    queries: QuerySet
    term_ids: np.ndarray
    weights: np.ndarray
    ranker: ExhaustiveRanker
    table: np.ndarray
    exact: np.ndarray
    signed: bool

    def build(self, top_l: int = 0) -> InvertedIndex:
        return build_from(self.network, self.scorer, top_l, self.signed)


@pytest.fixture(
    scope="module",
    params=[
        "dot-1-shared",
        "dot-1-slots-id",
        "mlp-1-slots",
        "mlp-2-shared",
        "attention-1-slots-id",
        "mlp-1-shared-id",
        "attention-1-slots",
        "mlp-1-slots-id",
        "mlp-1-slots-signed",
        "attention-1-shared-signed",
        "mlp-1-slots-probes",
        "dot-1-slots-signed-probes",
        "dot-1-shared-signed-probes",
        "dot-1-slots-signed-length",
    ],
)
def built(request: pytest.FixtureRequest) -> Built:
    scorer, layers, slots, *others = request.param.split("-")
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(3)
    dataset = tiny_dataset(features="id" not in others)
    values = {"model.scorer.name": scorer}
    if scorer == "mlp":
        values["model.scorer.num_layers"] = int(layers)
    signed = "signed" in others
    slotted = {
        "model.quantizer.shared": slots == "shared",
        "model.signed_scores": signed,
        "model.item_length": 3.0 if "length" in others else 0.0,
    }
    config = tiny_config({**values, **slotted})
    shape = DataShape(dataset.num_items, 6, dataset.item_features, dataset.user_features, dataset.item_arrays)
    network = build_network(config.model, shape)
    network.quantizer.probes = 3 if "probes" in others else 1
    _spread(network)
    names = [spec.name for spec in dataset.user_features]
    queries = query_set(dataset, "test", 6, names)
    (tokens,) = encode_queries(TokenEncoder(network), queries.history, queries.user_rows, 16)
    network.quantizer.fit(tokens, seed=0)
    encoder = CodeEncoder(network)
    term_ids, weights, _ = encode_queries(encoder, queries.history, queries.user_rows, 16)
    block_scorer = NetworkBlockScorer(network, dataset.num_items)
    if not signed:
        _balance(network, dataset)
    index = build_from(network, block_scorer, 0, signed)
    table = table_of(network, dataset)
    floors = table.min(1, keepdims=True) if signed else 0.0
    exact = np.full((len(queries), dataset.num_items + 1), -np.inf)
    exact[:, 1:] = query_scores(np.maximum(table - floors, 0), term_ids, weights)
    ranker = ExhaustiveRanker(network, dataset.num_items)
    return Built(network, block_scorer, index, queries, term_ids, weights, ranker, table, exact, signed)


def query_scores(table: np.ndarray, term_ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, I): the rows of (T, I) that each query names, with their weights."""
    return np.einsum("bt,bti->bi", weights.astype(np.float64), table[term_ids])


def build_from(network: SparCode, scorer: BlockScorer, top_l: int, signed: bool) -> InvertedIndex:
    """An index scored in blocks that do not divide the terms (16 for each slot) and 30 items evenly."""
    chosen = BuildOptions(top_l, signed=signed, block_terms=10, block_items=11)
    return build_index(scorer, network.term_codebooks(), chosen).index


class ShiftedScorer:
    """Other scores than the network's: .05 less."""

    def __init__(self, scorer: NetworkBlockScorer) -> None:
        self._scorer, self.num_items = scorer, scorer.num_items

    def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        return self._scorer.score_block(tokens, start, stop) - np.float32(0.05)


def _spread(network: SparCode) -> None:
    """Larger weights, so that scores of different size occur, and another lift than at the start."""
    rng = np.random.default_rng(4)
    for parameter in (*network.scorer.trainable_params(), network.lift.weight):
        shift = rng.normal(0, 0.4, parameter.shape).astype(np.float32)
        parameter.set_data(ms.Tensor(parameter.asnumpy() + shift))


def _balance(network: SparCode, dataset: Dataset) -> None:
    """A bias that makes 60 % of all (term, item) pairs positive, whatever the initial weights are."""
    network.score.bias.set_data(ms.Tensor(np.zeros(1, np.float32)))
    lowest = -np.quantile(table_of(network, dataset), [0.4])
    network.score.bias.set_data(ms.Tensor(lowest.astype(np.float32)))


def table_of(network: SparCode, dataset: Dataset) -> np.ndarray:
    """Scores (T, I) of all terms and items by the graph that a bundle rescores with."""
    codebooks = network.term_codebooks()
    tokens = tokens_of_terms(codebooks, np.arange(len(codebooks) * 4**2))
    ids = np.arange(1, dataset.num_items + 1, dtype=np.int32)
    rows = [dataset.item_arrays[spec.name][ids] for spec in dataset.item_features]
    table: np.ndarray = TokenItemScorer(network)(*map(ms.Tensor, (tokens, ids, *rows))).asnumpy()
    return table.astype(np.float64)


def all_scores(index: InvertedIndex, built: Built) -> np.ndarray:
    """Scores (B, I + 1) of all items by the index; an item that is in no list of the query has score 0."""
    result = index.search(built.term_ids, index.num_items, built.weights)
    scores = np.zeros((len(built.term_ids), index.num_items + 1), np.float32)
    for row, (items, values) in enumerate(zip(result.item_ids, result.scores, strict=True)):
        scores[row, items[items > 0]] = values[items > 0]
    return scores


def terms_of(built: Built) -> tuple[np.ndarray, np.ndarray]:
    return built.term_ids, built.weights


def worst_difference(found: np.ndarray, exact: np.ndarray) -> float:
    """Largest score difference relative to max(1, |score|); column 0 is padding."""
    exact = exact[:, 1:]
    return float((np.abs(found[:, 1:] - exact) / np.maximum(1.0, np.abs(exact))).max())


def drop_posting(index: InvertedIndex, term: int) -> InvertedIndex:
    """The index without the best posting of one list."""
    postings = index.postings
    start, stop = postings.indptr[term], postings.indptr[term + 1]
    victim = start + int(np.argmax(postings.scores[start:stop]))
    indptr = np.array(postings.indptr)
    indptr[term + 1 :] -= 1
    return InvertedIndex.from_postings(
        indptr,
        np.delete(postings.item_ids, victim),
        np.delete(postings.scores, victim),
        num_items=index.num_items,
    )


def test_the_case_is_not_trivial(built: Built) -> None:
    """Some pairs are positive and some are not, and queries use different lists."""
    assert len(np.unique(built.weights)) == 1 or built.weights.min() < 0.3 < 0.4 < built.weights.max()
    density = built.index.index_density
    # a floor takes one posting of a list, or more where several items have the lowest score (dead units)
    assert 0.7 < density <= 29 / 30 + 1e-6 if built.signed else 0.55 < density < 0.65
    assert (built.exact[:, 1:] > 0).mean() > 0.2
    slots = built.network.quantizer.num_slots
    assert built.index.num_terms == slots * 16
    assert len(np.unique(built.term_ids)) > 4 * slots
    np.testing.assert_array_equal(np.unique(built.term_ids // 16), np.arange(slots))


def test_every_pair_scores_the_same(built: Built) -> None:
    assert worst_difference(all_scores(built.index, built), built.exact) < TOLERANCE


def test_exhaustive_ranking_is_by_the_same_scores(built: Built) -> None:
    everything = built.ranker.rank(built.queries, built.index.num_items, exclude_seen=False)
    found = np.take_along_axis(built.exact, everything.item_ids, 1)
    wanted = query_scores(built.table if built.signed else np.maximum(built.table, 0), *terms_of(built))
    wanted = np.take_along_axis(wanted, everything.item_ids - 1, 1)
    np.testing.assert_allclose(everything.scores, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.diff(found).max() < TOLERANCE


def test_top_k_is_the_exhaustive_top_k_up_to_ties(built: Built) -> None:
    result = built.index.search(built.term_ids, K, built.weights)
    for row, exact in enumerate(built.exact):
        found = result.item_ids[row]
        positive = np.sort(exact[1:][exact[1:] > 0])[::-1][:K]
        assert (found > 0).sum() == len(positive)
        np.testing.assert_allclose(exact[found[found > 0]], positive, rtol=TOLERANCE, atol=TOLERANCE)


def test_one_dropped_posting_is_noticed(built: Built) -> None:
    """Self-test of the comparison above, for several lists in use."""
    used = np.unique(built.term_ids)
    for term in [term for term in used if len(built.index.posting_list(term)[0])][:5]:
        damaged = drop_posting(built.index, int(term))
        assert worst_difference(all_scores(damaged, built), built.exact) > 100 * TOLERANCE


def test_another_bias_is_noticed(built: Built) -> None:
    """Self-test: an index built with other scores than the network's does not pass."""
    if built.signed:
        pytest.skip("signed lists are relative to a floor: the same shift of all scores changes nothing")
    other = build_from(built.network, ShiftedScorer(built.scorer), 0, False)
    assert worst_difference(all_scores(other, built), built.exact) > 100 * TOLERANCE


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_the_rankers_of_the_evaluation_agree(built: Built, exclude_seen: bool) -> None:
    index = IndexRanker(built.network, built.index, batch_size=16, threads=1)
    report = fidelity(index, built.ranker, built.queries, K, exclude_seen)
    assert report[f"index_recall@{K}"] == 1.0
    if not built.signed:  # floors are not part of the scores that the index returns
        assert report["max_score_error"] < 1e-4


@pytest.mark.parametrize("strength", [2.0, 50.0])
def test_posterior_lists_score_as_the_corrected_network(built: Built, strength: float) -> None:
    """Index, ``CodeScorer`` and log((n + mu p) / (n_c + mu)) by definition: every query, every item."""
    if not built.signed:
        pytest.skip("the relu of unsigned scores leaves no distribution to correct")
    num_terms, num_items = built.table.shape
    rng, scale = np.random.default_rng(6), 3.0
    counts = np.where(rng.random(built.table.shape) < 0.3, rng.integers(1, 6, built.table.shape), 0)
    terms, items = np.nonzero(counts)
    observed = CodeCounts.added_up(terms, items + 1, counts[terms, items], num_terms)
    posterior = Posterior(observed, strength, scale)
    prior = np.exp(scale * built.table)
    prior /= prior.sum(1, keepdims=True)
    mean = (counts + strength * prior) / (counts.sum(1, keepdims=True) + strength)
    exact = query_scores(np.log(mean) / scale, *terms_of(built))

    scorer = CodeScorer(built.network, num_items, 16, posterior)
    by_network = scorer.scores(built.queries.history, built.queries.user_rows)[:, 1:]
    options = BuildOptions(0, signed=True, block_terms=10, block_items=11)
    index = build_index(built.scorer, built.network.term_codebooks(), options, posterior=posterior).index
    assert index.floors is not None
    floors = (built.weights * index.floors[built.term_ids]).sum(1, keepdims=True)
    by_index = all_scores(index, built)[:, 1:] + floors
    np.testing.assert_allclose(by_index, by_network, rtol=1e-4, atol=1e-4)
    for found in (by_network, by_index):  # what is the same for all items of a list is left out
        np.testing.assert_allclose(found - found[:, :1], exact - exact[:, :1], rtol=1e-4, atol=1e-4)
    plain = query_scores(built.table, *terms_of(built))
    changed = (by_network - by_network[:, :1]) - (plain - plain[:, :1])
    assert np.abs(changed).max() > 0.01  # self-test: counts change the scores


def test_long_enough_lists_prune_nothing(built: Built) -> None:
    index = built.build(top_l=built.index.num_items)
    assert worst_difference(all_scores(index, built), built.exact) < TOLERANCE


def test_another_weight_gives_another_fingerprint(built: Built) -> None:
    before = built.scorer.fingerprint
    assert before == NetworkBlockScorer(built.network, built.scorer.num_items).fingerprint
    parameters = list(built.network.scorer.get_parameters())
    if not parameters:
        pytest.skip("a dot product has no weights")
    kept = parameters[-1].asnumpy().copy()
    parameters[-1].set_data(ms.Tensor(kept + np.float32(0.5)))
    assert built.scorer.fingerprint != before
    parameters[-1].set_data(ms.Tensor(kept))
