"""The three assembled networks: their similarities by definition, and that both sides of each agree."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from helpers import tiny_config, tiny_dataset
from network_cases import TokenEncoder
from sparcode.evaluation.code_scorer import CodeScorer, exhaustive_scorer
from sparcode.index import tokens_of_terms
from sparcode.model.factory import DataShape, build_network
from sparcode.model.inference import (
    CodeEncoder,
    QueryScores,
    TokenItemScorer,
    VectorEncoder,
    VectorItemScorer,
)

MODELS = ["two_tower", "max_sim", "mol", "all_to_all", "sparcode"]
DATASET = tiny_dataset()
IDS = np.array([3, 30, 7, 1], np.int32)


def make_network(name: str, **values: Any) -> Any:
    ms.set_seed(2)
    config = tiny_config({"model.name": name, **values})
    shape = DataShape(30, 6, DATASET.item_features, DATASET.user_features, DATASET.item_arrays)
    network = build_network(config.model, shape)
    if name == "sparcode":
        sizes = (20, 3, config.model.token_size)
        network.quantizer.fit(np.random.default_rng(0).normal(size=sizes).astype(np.float32), 0)
    return network


def spread(network: Any) -> Any:
    """The network with other scorer weights than at the start, where some scorers are dot products."""
    rng = np.random.default_rng(7)
    for parameter in network.scorer.trainable_params():
        shift = rng.normal(0, 0.3, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(parameter.asnumpy() + shift))
    return network


def centred(network: Any) -> Any:
    """The network with an output bias, if its scorer has one, that leaves scores of either sign."""
    if hasattr(network.scorer, "output"):
        tokens = Tensor(network.term_codebooks().reshape(-1, 8))
        scores = TokenItemScorer(network)(tokens, Tensor(IDS), *item_rows()).asnumpy()
        bias = network.scorer.output.bias
        bias.set_data(bias - float(np.median(scores)))
    return network


def copy_weights(source: Any, target: Any) -> None:
    """Set every parameter of the target that the source has too."""
    mine = {parameter.name: parameter for parameter in target.get_parameters()}
    for parameter in source.get_parameters():
        if parameter.name in mine:
            mine[parameter.name].set_data(Tensor(parameter.asnumpy()))


def query_inputs() -> list[Tensor]:
    """Histories of four users and their features."""
    history = np.random.default_rng(1).integers(0, 31, (4, 6)).astype(np.int32)
    rows = [DATASET.user_arrays[spec.name][:4] for spec in DATASET.user_features]
    return [Tensor(part) for part in (history, *rows)]


def item_rows() -> list[Tensor]:
    return [Tensor(DATASET.item_arrays[spec.name][IDS]) for spec in DATASET.item_features]


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_sets_the_spread_of_item_embeddings(name: str) -> None:
    tower = make_network(name, **{"model.item_std": 0.02}).tower
    assert tower.id_table.asnumpy().std() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_sets_the_length_of_scored_items(name: str) -> None:
    tower = make_network(name, **{"model.item_length": 1.5}).tower
    scored = tower(Tensor(IDS), tuple(item_rows())).asnumpy()
    np.testing.assert_allclose(np.linalg.norm(scored, axis=1), 1.5, rtol=1e-4)


class Scores(nn.Cell):
    """Cross and aligned scores as trained."""

    def __init__(self, network: Any, quantize: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.quantize = network, quantize

    def construct(self, ids: Tensor, history: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.network.query_vectors(history, rows)
        items = self.network.stored_item_part(ids)
        trained = self.network.training_parts(
            queries, ops.ones_like(queries[:, 0]) if self.quantize else None
        )[0]
        return self.network.cross(trained, items), self.network.aligned(trained, items)


@pytest.mark.parametrize("name", MODELS)
def test_aligned_is_the_diagonal_of_cross(mode: str, name: str) -> None:
    cell = Scores(make_network(name), quantize=True)
    cross, aligned = (part.asnumpy() for part in cell(Tensor(IDS), *query_inputs()))
    assert cross.shape == (4, 4)
    np.testing.assert_allclose(aligned, np.diag(cross), rtol=1e-4, atol=1e-5)
    assert cross.std() > 0


@pytest.mark.parametrize(("scorer", "probes"), [("dot", 1), ("dot", 3), ("mlp", 1), ("attention", 1)])
def test_training_scores_what_is_served(mode: str, scorer: str, probes: int) -> None:
    """Also by several probes where scores are linear in the tokens."""
    network = spread(make_network("sparcode", **{"model.scorer.name": scorer}))
    network.quantizer.probes, network.quantizer.mixes_probes = probes, network.adds_tokens
    inputs = query_inputs()
    trained = Scores(network, quantize=True)(Tensor(IDS), *inputs)[0].asnumpy()
    rows = [part.asnumpy() for part in inputs]
    served = CodeScorer(network, 30, 4).scores(rows[0], rows[1:])
    assert np.isneginf(served[:, 0]).all()
    np.testing.assert_allclose(trained, served[:, IDS], rtol=1e-4, atol=1e-5)
    network.quantizer.mixes_probes = False
    nearest = Scores(network, quantize=True)(Tensor(IDS), *inputs)[0].asnumpy()
    assert (np.abs(nearest - trained).max() > 1e-3) == (probes > 1)


@pytest.mark.parametrize("probes", [1, 3])
def test_exhaustive_scoring_reads_new_weights_and_codebooks_when_refreshed(probes: int) -> None:
    network = make_network("sparcode")
    network.quantizer.probes = probes
    rows = [part.asnumpy() for part in query_inputs()]
    scorer = CodeScorer(network, 30, 4)
    before = scorer.scores(rows[0], rows[1:])
    rng = np.random.default_rng(8)
    for parameter in (network.quantizer.codebooks, network.tower.id_table):
        parameter.set_data(Tensor(rng.normal(0, 0.7, parameter.shape).astype(np.float32)))
    scorer.refresh()
    after = scorer.scores(rows[0], rows[1:])
    np.testing.assert_allclose(after, CodeScorer(network, 30, 4).scores(rows[0], rows[1:]), rtol=1e-5)
    assert np.abs(after[:, 1:] - before[:, 1:]).max() > 0.1


def test_before_quantization_sparcode_is_the_all_to_all_model() -> None:
    unquantized = Scores(make_network("sparcode"), quantize=False)
    reference = Scores(make_network("all_to_all"), quantize=False)
    copy_weights(unquantized.network, reference.network)
    inputs = [Tensor(IDS), *query_inputs()]
    found = unquantized(*inputs)[0].asnumpy()
    np.testing.assert_allclose(found, reference(*inputs)[0].asnumpy(), rtol=1e-5)
    quantized = Scores(unquantized.network, quantize=True)(*inputs)[0].asnumpy()
    assert np.abs(found - quantized).max() > 1e-3  # quantization does change scores


def test_a_training_step_can_quantize_some_of_its_queries() -> None:
    network = make_network("sparcode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    queries = network.query_vectors(query_inputs()[0], query_inputs()[1:])
    chosen = np.array([0, 1, 1, 0], np.float32)
    none, every, some = (
        network.training_parts(queries, which)[0].asnumpy()
        for which in (None, ops.ones(4, ms.float32), Tensor(chosen))
    )
    np.testing.assert_allclose(some[chosen == 0], none[chosen == 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some[chosen == 1], every[chosen == 1], rtol=1e-5, atol=1e-6)
    assert np.abs(none - every).max(1).min() > 1e-3


@pytest.mark.parametrize("signed", [False, True], ids=["relu", "signed"])
@pytest.mark.parametrize(
    ("scorer_name", "shared"),
    [("mlp", False), ("mlp", True), ("dot", False), ("attention", False)],
    ids=str,
)
def test_the_score_by_definition(scorer_name: str, shared: bool, signed: bool) -> None:
    """sum_k relu(E(x_k, i) + b) or sum_k E(x_k, i), put together from the two graphs that are exported."""
    values = {
        "model.signed_scores": signed,
        "model.score_bias": 0.05,
        "model.scorer.name": scorer_name,
        "model.quantizer.shared": shared,
    }
    network = centred(spread(make_network("sparcode", **values)))
    terms, weights, tokens = (part.asnumpy() for part in CodeEncoder(network)(*query_inputs()))
    assert (weights == 1).all()
    assert weights.shape == terms.shape
    assert (terms.shape, terms.dtype, tokens.shape) == ((4, 3), np.int32, (4, 3, 8))
    assert (terms // 16 == (0 if shared else np.arange(3))).all()
    quantized = tokens_of_terms(network.term_codebooks(), terms.ravel())  # (Q * K_u, d)
    scorer = TokenItemScorer(network)
    pair = scorer(Tensor(quantized), Tensor(IDS), *item_rows()).asnumpy().reshape(4, 3, 4)
    assert (pair < 0).any()
    assert (pair > 0).any()
    parts = network.stored_item_part(Tensor(IDS))
    inputs = query_inputs()
    rows = [part.asnumpy() for part in inputs]
    found = CodeScorer(network, 30, 4).scores(rows[0], rows[1:])[:, IDS]
    least = -np.inf if signed else 0.0
    np.testing.assert_allclose(found, np.maximum(pair, least).sum(1), rtol=1e-4, atol=1e-5)
    unquantized = QueryScores(network)(inputs[0], parts, *inputs[1:]).asnumpy()
    raw = scorer(Tensor(tokens.reshape(-1, 8)), Tensor(IDS), *item_rows()).asnumpy().reshape(4, 3, 4)
    np.testing.assert_allclose(unquantized, np.maximum(raw, least).sum(1), rtol=1e-4, atol=1e-5)


def test_the_bias_shifts_every_pair() -> None:
    tokens = np.random.default_rng(4).normal(size=(5, 8)).astype(np.float32)
    found = []
    for bias in (0.0, 1.5):
        values = {"model.signed_scores": False, "model.score_bias": bias}
        network = make_network("all_to_all", **values)
        found.append(TokenItemScorer(network)(Tensor(tokens), Tensor(IDS), *item_rows()).asnumpy())
    np.testing.assert_allclose(found[1] - found[0], 1.5, atol=1e-5)


def test_the_two_tower_is_one_dot_product() -> None:
    network = make_network("two_tower")
    vectors = VectorEncoder(network)(*query_inputs())
    items = network.stored_item_part(Tensor(IDS)).asnumpy()
    found = VectorItemScorer(network)(vectors, Tensor(IDS), *item_rows()).asnumpy()
    np.testing.assert_allclose(found, vectors.asnumpy() @ items.T, rtol=1e-4, atol=1e-5)


def as_two_tower(values: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores (Q, C) of untrained networks less K_u * b, and those of the two-tower with the same weights."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    rival = make_network("two_tower")
    inputs = query_inputs()
    scores = {}
    for name in ("all_to_all", "sparcode"):
        known = {key: value for key, value in values.items() if name == "sparcode" or "quantizer" not in key}
        network = make_network(name, **known, **{"model.score_bias": 40.0})
        shift = 0.0 if values.get("model.signed_scores", True) else 3 * 40.0
        copy_weights(rival, network)
        if name == "sparcode":  # as many codewords as queries: none of them loses anything
            tokens = TokenEncoder(network)(*inputs).asnumpy()
            network.quantizer.fit(tokens, 0)
        rows = [part.asnumpy() for part in inputs]
        found = exhaustive_scorer(network, 30, 4).scores(rows[0], rows[1:])[:, 1:]
        assert found.shape == (4, 30)
        scores[name] = found.astype(np.float64) - shift
    vectors = VectorEncoder(rival)(*inputs).asnumpy()
    items = rival.stored_item_part(Tensor(np.arange(1, 31, dtype=np.int32))).asnumpy()
    return scores, vectors @ items.T


@pytest.mark.parametrize("signed", [False, True], ids=["relu", "signed"])
@pytest.mark.parametrize("token_size", [3, 4], ids=["K*D-above-d", "K*D-well-above-d"])
def test_with_every_pair_active_untrained_networks_are_the_two_tower(token_size: int, signed: bool) -> None:
    """Signed scores, or a bias that keeps all positive: sum_k <x_k, v>, and the tokens hold the query."""
    values = {
        "model.signed_scores": signed,
        "model.scorer.name": "dot",
        "model.token_size": token_size,
        "model.quantizer.num_codebooks": 1,
        "model.quantizer.codebook_size": 4,
    }
    scores, products = as_two_tower(values)
    np.testing.assert_allclose(scores["all_to_all"], products, atol=1e-4)
    # k-means starts from slightly shifted points: equal up to the shift
    np.testing.assert_allclose(scores["sparcode"], products, atol=0.02)
    for name in scores:
        np.testing.assert_array_equal(scores[name].argmax(1), products.argmax(1))
    assert products.std() > 0.5


def test_fewer_codewords_than_queries_do_change_the_scores() -> None:
    """Self-test: the comparison above notices quantization, and a part of the query that no token holds."""
    values = {"model.scorer.name": "dot", "model.quantizer.num_codebooks": 1}
    scores, products = as_two_tower({**values, "model.quantizer.codebook_size": 2})
    assert np.abs(scores["sparcode"] - products).max() > 0.1
    narrow, products = as_two_tower({**values, "model.token_size": 2, "model.quantizer.codebook_size": 4})
    assert np.abs(narrow["all_to_all"] - products).max() > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_features_can_be_left_out(name: str) -> None:
    network = build_network(tiny_config({"model.name": name}).model, DataShape(30, 6, (), (), {}))
    names = {parameter.name for parameter in network.get_parameters()}
    assert not any("features" in parameter or "join" in parameter for parameter in names)
    with_features = {parameter.name for parameter in make_network(name).get_parameters()}
    assert names < with_features


@pytest.mark.parametrize("scorer", ["dot", "mlp", "attention"])
def test_parameter_names_are_unique(scorer: str) -> None:
    parameters = list(make_network("sparcode", **{"model.scorer.name": scorer}).get_parameters())
    assert len({parameter.name for parameter in parameters}) == len(parameters)
