"""MaxSim and mixture of logits: scores by definition, gradients by differences, both sides of each agree."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from helpers import tiny_config, tiny_dataset
from sparcode.model.factory import DataShape, build_network

MODELS = ["max_sim", "mol"]
DATASET = tiny_dataset()
IDS = np.array([3, 30, 7, 1], np.int32)
MIXTURE = {
    "model.mixture.item_components": 2,
    "model.mixture.component_size": 5,
    "model.mixture.gate_size": 4,
    "model.mixture.temperature": 0.2,
}


def make_network(name: str) -> Any:
    """A network of 3 query vectors with every weight moved from where it starts."""
    ms.set_seed(2)
    shape = DataShape(30, 6, DATASET.item_features, DATASET.user_features, DATASET.item_arrays)
    mixture = MIXTURE if name == "mol" else {}
    network = build_network(tiny_config({"model.name": name, **mixture}).model, shape)
    rng = np.random.default_rng(7)
    for parameter in network.trainable_params():
        shift = rng.normal(0, 0.2, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(parameter.asnumpy() + shift))
    return network


class Scores(nn.Cell):
    """Query vectors -> scores of all pairs and of aligned pairs."""

    def __init__(self, network: Any) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, queries: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        items = self.network.stored_item_part(ids)
        part = self.network.training_parts(queries, ops.ones_like(queries[:, 0]))[0]
        return self.network.cross(part, items), self.network.aligned(part, items)


class Total(nn.Cell):
    """One number that depends on cross and aligned scores, each with weights of its own."""

    def __init__(self, network: Any, weights: np.ndarray) -> None:
        super().__init__(auto_prefix=False)
        self.scores = Scores(network)
        self.weights = Tensor(weights)

    def construct(self, queries: Tensor, ids: Tensor) -> Tensor:
        items = self.scores.network.stored_item_part(ids)
        part = self.scores.network.query_part(queries)
        cross = self.scores.network.cross(part, items)
        return (cross * self.weights[:, :-1]).sum() + (
            self.scores.network.aligned(part, items) * self.weights[:, -1]
        ).sum()


def some_queries() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.asnumpy().astype(np.float64).T + layer.bias.asnumpy()


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def item_vectors(network: Any) -> np.ndarray:
    """(4, d) vectors of the four items."""
    return network.tower(Tensor(IDS), network.store(Tensor(IDS))).asnumpy().astype(np.float64)


def max_sim_score(network: Any, query: np.ndarray, vector: np.ndarray) -> float:
    """Best of three dot products with the item vector."""
    project = network.project.asnumpy().astype(np.float64)
    return max(float(query @ project[:, 8 * k : 8 * k + 8] @ vector) for k in range(3))


def mol_score(network: Any, query: np.ndarray, vector: np.ndarray) -> float:
    """One pair, component by component."""
    f = unit((query @ network.query_project.asnumpy().astype(np.float64)).reshape(3, 5))
    g = unit((vector @ network.item_project.asnumpy().astype(np.float64)).reshape(2, 5))
    logits = np.array([f[a] @ g[b] / 0.2 for a in range(3) for b in range(2)])
    gates = []
    for gate, x in ((network.query_gate, query), (network.item_gate, vector)):
        gates.append(dense(gate.layers[1], np.maximum(dense(gate.layers[0], x), 0)))
    pair = dense(network.pair_output, silu(dense(network.pair_hidden, logits)))
    weights = np.exp(silu(gates[0] * gates[1] + pair))
    return float((weights * logits).sum() / weights.sum())


ORACLES = {"max_sim": max_sim_score, "mol": mol_score}


@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_the_oracle_and_aligned_is_the_diagonal(mode: str, name: str) -> None:
    network = make_network(name)
    queries = some_queries()
    cross, aligned = (part.asnumpy() for part in Scores(network)(Tensor(queries), Tensor(IDS)))
    vectors = item_vectors(network)
    oracle = ORACLES[name]
    expected = np.array([[oracle(network, query, item) for item in vectors] for query in queries])
    np.testing.assert_allclose(cross, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(aligned, np.diag(cross), rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_gradients_equal_differences(mode: str, name: str) -> None:
    """Directional derivatives of queries and of all weights, against central differences."""
    network = make_network(name)
    rng = np.random.default_rng(4)
    total = Total(network, rng.normal(size=(4, 5)).astype(np.float32))
    queries, ids = Tensor(some_queries()), Tensor(IDS)
    reached = {"max_sim": 6, "mol": 16}[name]  # tower and similarity; the encoder is not run
    weights = [p for p in network.trainable_params() if not p.name.startswith("encoder")]
    assert len(weights) >= reached
    by_query, by_weight = ms.value_and_grad(total, 0, ms.ParameterTuple(weights))(queries, ids)[1]
    for values, gradient in [(queries, by_query), *zip(weights, by_weight, strict=True)]:
        start = values.asnumpy().copy()
        direction = rng.normal(size=start.shape).astype(np.float32)
        slope = float((gradient.asnumpy().astype(np.float64) * direction).sum())
        step = 2e-3
        ends = []
        for sign in (1, -1):
            moved = Tensor(start + sign * step * direction)
            if isinstance(values, Parameter):
                values.set_data(moved)
                ends.append(float(total(queries, ids).asnumpy()))
            else:
                ends.append(float(total(moved, ids).asnumpy()))
        if isinstance(values, Parameter):
            values.set_data(Tensor(start))
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05, abs=0.1), values


def test_maxsim_is_no_two_tower_and_every_vector_wins_somewhere() -> None:
    network = make_network("max_sim")
    queries = np.random.default_rng(5).normal(size=(200, 8)).astype(np.float32)
    vectors = network.query_part(Tensor(queries)).asnumpy()
    assert vectors.shape == (200, 3, 8)
    items = network.stored_item_part(Tensor(np.arange(1, 31, dtype=np.int32))).asnumpy()
    winners = np.einsum("qkd,cd->qck", vectors, items).argmax(-1)
    assert set(np.unique(winners)) == {0, 1, 2}


def test_a_mixture_is_bounded_by_its_logits_and_survives_an_empty_query() -> None:
    network = make_network("mol")
    queries = np.zeros((4, 8), np.float32)
    queries[1:] = 100 * some_queries()[1:]
    cell = Scores(network)
    scores = cell(Tensor(queries), Tensor(IDS))[0].asnumpy()
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() <= 1 / 0.2 + 1e-4
    gradient = ms.grad(Total(network, np.ones((4, 5), np.float32)), 0)(Tensor(queries), Tensor(IDS))
    assert np.isfinite(gradient.asnumpy()).all()


def test_a_large_gate_does_not_overflow() -> None:
    network = make_network("mol")
    network.pair_output.bias.set_data(ops.full_like(network.pair_output.bias, 500.0))
    scores = Scores(network)(Tensor(some_queries()), Tensor(IDS))[0].asnumpy()
    assert np.isfinite(scores).all()
