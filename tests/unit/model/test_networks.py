"""The three assembled networks: their similarities by definition, and that both sides of each agree."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from helpers import tiny_config, tiny_dataset
from sparcode.model.factory import DataShape, build_network
from sparcode.model.inference import (
    CodeEncoder,
    QueryScores,
    TokenItemScorer,
    VectorEncoder,
    VectorItemScorer,
)
from sparcode.model.tokenizer import Tokenizer

MODELS = ["two_tower", "all_to_all", "sparcode"]
DATASET = tiny_dataset()
IDS = np.array([3, 30, 7, 1], np.int32)


def make_network(name: str, **values: Any) -> Any:
    ms.set_seed(2)
    config = tiny_config({"model.name": name, **values})
    shape = DataShape(30, 6, DATASET.item_features, DATASET.user_features, DATASET.item_arrays)
    network = build_network(config.model, shape)
    if name == "sparcode":
        network.quantizer.fit(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), 0)
    return network


def query_inputs() -> list[Tensor]:
    """Histories of four users and their features."""
    history = np.random.default_rng(1).integers(0, 31, (4, 6)).astype(np.int32)
    rows = [DATASET.user_arrays[spec.name][:4] for spec in DATASET.user_features]
    return [Tensor(part) for part in (history, *rows)]


def item_rows() -> list[Tensor]:
    return [Tensor(DATASET.item_arrays[spec.name][IDS]) for spec in DATASET.item_features]


class Scores(nn.Cell):
    """Cross and aligned scores as served and as trained."""

    def __init__(self, network: Any, quantize: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.quantize = network, quantize

    def construct(self, ids: Tensor, history: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries = self.network.query_vectors(history, rows)
        items = self.network.stored_item_part(ids)
        served, trained = (
            self.network.query_part(queries),
            self.network.training_parts(queries, self.quantize),
        )
        return (
            self.network.cross(served, items),
            self.network.aligned(served, items),
            self.network.cross(trained[0], items),
        )


@pytest.mark.parametrize("name", MODELS)
def test_aligned_is_the_diagonal_of_cross_and_training_scores_what_is_served(mode: str, name: str) -> None:
    cell = Scores(make_network(name), quantize=True)
    cross, aligned, trained = (part.asnumpy() for part in cell(Tensor(IDS), *query_inputs()))
    assert cross.shape == (4, 4)
    np.testing.assert_allclose(aligned, np.diag(cross), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trained, cross, rtol=1e-4, atol=1e-5)
    assert cross.std() > 0


def test_before_quantization_sparcode_is_the_all_to_all_model() -> None:
    unquantized = Scores(make_network("sparcode"), quantize=False)
    reference = Scores(make_network("all_to_all"), quantize=False)
    mine = dict(reference.network.parameters_and_names())
    for key, parameter in unquantized.network.parameters_and_names():
        if key in mine:
            mine[key].set_data(Tensor(parameter.asnumpy()))
    inputs = [Tensor(IDS), *query_inputs()]
    found = unquantized(*inputs)
    np.testing.assert_allclose(found[2].asnumpy(), reference(*inputs)[2].asnumpy(), rtol=1e-5)
    assert np.abs(found[2].asnumpy() - found[0].asnumpy()).max() > 1e-3  # quantization does change scores


def test_the_sparse_score_by_definition() -> None:
    """y(q, i) = sum_k relu(E(z_q^k, i) + b), put together from the two graphs that are exported."""
    network = make_network("sparcode", **{"model.score_bias": 0.05})
    terms, tokens = (part.asnumpy() for part in CodeEncoder(network)(*query_inputs()))
    assert (terms.shape, terms.dtype, tokens.shape) == ((4, 3), np.int32, (4, 3, 4))
    books = network.quantizer.codebook_array()
    quantized = np.concatenate([books[0][terms.ravel() // 4], books[1][terms.ravel() % 4]], 1)
    scorer = TokenItemScorer(network)
    pair = scorer(Tensor(quantized), Tensor(IDS), *item_rows()).asnumpy().reshape(4, 3, 4)
    assert (pair < 0).any()
    assert (pair > 0).any()
    parts = network.stored_item_part(Tensor(IDS))
    inputs = query_inputs()
    found = QueryScores(network)(inputs[0], parts, *inputs[1:]).asnumpy()
    np.testing.assert_allclose(found, np.maximum(pair, 0).sum(1), rtol=1e-4, atol=1e-5)
    unquantized = QueryScores(network, quantize=False)(inputs[0], parts, *inputs[1:]).asnumpy()
    raw = scorer(Tensor(tokens.reshape(-1, 4)), Tensor(IDS), *item_rows()).asnumpy().reshape(4, 3, 4)
    np.testing.assert_allclose(unquantized, np.maximum(raw, 0).sum(1), rtol=1e-4, atol=1e-5)


def test_the_bias_shifts_every_pair() -> None:
    tokens = np.random.default_rng(4).normal(size=(5, 4)).astype(np.float32)
    found = []
    for bias in (0.0, 1.5):
        network = make_network("all_to_all", **{"model.score_bias": bias})
        found.append(TokenItemScorer(network)(Tensor(tokens), Tensor(IDS), *item_rows()).asnumpy())
    np.testing.assert_allclose(found[1] - found[0], 1.5, atol=1e-5)


def test_the_two_tower_is_one_dot_product() -> None:
    network = make_network("two_tower")
    vectors = VectorEncoder(network)(*query_inputs())
    items = network.stored_item_part(Tensor(IDS)).asnumpy()
    found = VectorItemScorer(network)(vectors, Tensor(IDS), *item_rows()).asnumpy()
    np.testing.assert_allclose(found, vectors.asnumpy() @ items.T, rtol=1e-4, atol=1e-5)


def test_tokens_are_normalised_linear_maps(mode: str) -> None:
    tokenizer = Tokenizer(8, 3, 4)
    queries = np.random.default_rng(5).normal(size=(2, 8)).astype(np.float32)
    found = tokenizer(Tensor(queries)).asnumpy()
    linear = queries @ tokenizer.project.weight.asnumpy().T + tokenizer.project.bias.asnumpy()
    tokens = linear.reshape(2, 3, 4)
    centred = tokens - tokens.mean(-1, keepdims=True)
    np.testing.assert_allclose(found, centred / tokens.std(-1, keepdims=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_features_can_be_left_out(name: str) -> None:
    network = build_network(tiny_config({"model.name": name}).model, DataShape(30, 6, (), (), {}))
    names = {parameter.name for parameter in network.get_parameters()}
    assert not any("features" in parameter or "join" in parameter for parameter in names)
    with_features = {parameter.name for parameter in make_network(name).get_parameters()}
    assert names < with_features


@pytest.mark.parametrize("scorer", ["mlp", "gated", "attention"])
def test_parameter_names_are_unique(scorer: str) -> None:
    parameters = list(make_network("sparcode", **{"model.scorer.name": scorer}).get_parameters())
    assert len({parameter.name for parameter in parameters}) == len(parameters)
