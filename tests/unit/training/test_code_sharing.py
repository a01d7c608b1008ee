"""Distinct codes of a batch: found, scored once, with the same scores as token by token."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from helpers import tiny_config, tiny_dataset
from sparcode.model.factory import DataShape, build_network
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.training.step import shared_codes

QUERIES = 6
COUNTS = range(1, 600)


def make_network(scorer: str, **values: Any) -> Any:
    ms.set_seed(2)
    dataset = tiny_dataset()
    config = tiny_config({"model.scorer.name": scorer, **values})
    shape = DataShape(30, 6, dataset.item_features, (), dataset.item_arrays)
    network = build_network(config.model, shape)
    network.quantizer.fit(np.random.default_rng(0).normal(size=(40, 3, 4)).astype(np.float32), 0)
    return network


class Scores(nn.Cell):
    """Weighted sum of candidate scores as a function of token parts, token by token or shared."""

    def __init__(self, network: Any, shared: bool, slope: np.ndarray) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.shared, self.slope = network, shared, Tensor(slope)

    def construct(self, parts: Tensor, items: Tensor, rows: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        if self.shared:
            scores = self.network.shared_cross(parts, items, rows, sizes)
        else:
            scores = self.network.cross(parts, items)
        return (scores * self.slope).sum(), scores


def test_tokens_of_one_code_have_one_row() -> None:
    terms = np.array([[3, 20], [9, 20], [3, 3]], np.int32)
    rows, sizes = shared_codes(terms, np.ones(len(terms), bool))
    np.testing.assert_array_equal(rows, [0, 2, 1, 2, 0, 0])
    np.testing.assert_array_equal(sizes[:3], [3, 1, 2])
    assert (sizes[3:] == 1).all()
    assert (rows.dtype, sizes.dtype) == (np.int32, np.float32)


def test_queries_that_are_not_chosen_have_no_code() -> None:
    terms = np.array([[3, 20], [9, 21], [3, 3]], np.int32)
    rows, sizes = shared_codes(terms, np.array([True, False, True]))
    np.testing.assert_array_equal(rows, [0, 1, -1, -1, 0, 0])
    np.testing.assert_array_equal(sizes[:2], [3, 1])


def test_there_are_few_sizes_and_none_is_too_small() -> None:
    sizes = {
        count: shared_codes(np.arange(count, dtype=np.int32)[:, None], np.ones(count, bool))[1].shape[0]
        for count in COUNTS
    }
    assert all(count <= size <= max(64, 1.5 * count) for count, size in sizes.items())
    assert set(sizes.values()) == {64, 96, 128, 192, 256, 384, 512, 768}


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "relu"])
@pytest.mark.parametrize("scorer", ["mlp", "attention"])
def test_shared_scores_and_gradients(scorer: str, signed: bool) -> None:
    """Scores are those of the tokens; a token gets the mean of the gradients of its code."""
    network = make_network(scorer, **{"model.signed_scores": signed})
    ms.set_context(mode=ms.PYNATIVE_MODE)
    # few different queries, so that codes repeat
    queries = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)[[0, 1, 0, 2, 1, 0]]
    codes = network.quantizer.assign(network.tokens(Tensor(queries)))
    parts = network.query_part_of(network.quantizer.decode(codes))
    terms = network.code_terms(Tensor(queries)).asnumpy()
    assert len(np.unique(terms)) < terms.size
    rows, sizes = shared_codes(terms, np.ones(len(terms), bool))
    items = network.stored_item_part(Tensor(np.arange(1, 11, dtype=np.int32)))
    slope = np.random.default_rng(3).normal(size=(QUERIES, 10)).astype(np.float32)
    arguments = (parts, items, Tensor(rows), Tensor(sizes))
    outcomes = []
    for shared in (False, True):
        cell = Scores(network, shared, slope)
        gradient = ms.value_and_grad(cell, 0, network.scorer.trainable_params(), has_aux=True)
        ((_, scores), (of_parts, of_weights)) = gradient(*arguments)
        outcomes.append((scores.asnumpy(), of_parts.asnumpy(), [part.asnumpy() for part in of_weights]))
    (plain, by_token, weights), (found, by_code, shared_weights) = outcomes
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)
    flat = by_token.reshape(len(rows), -1)
    means = np.stack([flat[rows == row].mean(0) for row in rows])
    np.testing.assert_allclose(by_code.reshape(means.shape), means, rtol=1e-3, atol=1e-5)
    assert np.abs(means - flat).max() > 1e-3
    for mine, theirs in zip(shared_weights, weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_scorer_sees_the_distinct_codes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network("mlp")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    terms = np.repeat(np.arange(3, dtype=np.int32)[None], 50, 0)  # 150 tokens, three codes
    rows, sizes = shared_codes(terms, np.ones(len(terms), bool))
    seen: list[int] = []
    plain = network.scorer.cross

    def counting(token_parts: Tensor, item_parts: Tensor) -> Tensor:
        seen.append(token_parts.shape[0])
        return plain(token_parts, item_parts)

    monkeypatch.setattr(network.scorer, "cross", counting)
    items = network.stored_item_part(Tensor(np.arange(1, 11, dtype=np.int32)))
    found = network.shared_cross(ops.zeros((50, 3, 6), ms.float32), items, Tensor(rows), Tensor(sizes))
    assert found.shape == (50, 10)
    assert seen == [64]  # of 150


@pytest.mark.parametrize("scorer", ["mlp", "attention"])
def test_queries_that_are_not_chosen_are_scored_as_in_the_warm_start(scorer: str) -> None:
    """The loss of a batch of both kinds is that of each kind by itself."""
    network = make_network(scorer)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    rng = np.random.default_rng(1)
    history = Tensor(rng.integers(1, 31, (QUERIES, 6)).astype(np.int32))
    positives = Tensor(rng.integers(1, 31, QUERIES).astype(np.int32))
    candidates = Tensor(np.arange(1, 11, dtype=np.int32))
    chosen = np.array([1, 0, 0, 1, 1, 0], np.float32)
    unused = Tensor(np.zeros(QUERIES, np.int32))
    terms = network.code_terms(network.query_vectors(history, ())).asnumpy()

    def loss(of: Any, quantize: bool, mixed: bool, weights: np.ndarray, shared: np.ndarray) -> float:
        rows, sizes = shared_codes(terms, shared > 0)
        cell = TrainingLoss(of, LossWeights(1.0, 0.0), quantize, False, False, mixed)
        inputs = (
            history,
            unused,
            positives,
            Tensor(weights),
            candidates,
            Tensor(np.zeros((6, 10), np.float32)),
        )
        return float(cell(*inputs, Tensor(shared), Tensor(rows), Tensor(sizes), unused)[1].asnumpy())

    everyone = np.ones(QUERIES, np.float32)
    quantized = loss(network, True, False, chosen, everyone)
    warm = loss(network.warm_start(), False, False, 1 - chosen, everyone)
    assert abs(quantized - warm) > 1e-3
    mixed = loss(network, True, True, everyone, chosen)
    assert mixed == pytest.approx((quantized + warm) / 2, rel=1e-5)


@pytest.mark.parametrize("scorer", ["mlp", "attention"])
def test_the_warm_start_is_the_dot_product_of_the_same_weights(scorer: str) -> None:
    network = make_network(scorer)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    warm = network.warm_start()
    queries = Tensor(np.random.default_rng(1).normal(size=(QUERIES, 8)).astype(np.float32))
    ids = Tensor(np.arange(1, 11, dtype=np.int32))
    items = warm.stored_item_part(ids).asnumpy()
    np.testing.assert_allclose(
        warm.cross(warm.query_part(queries), Tensor(items)).asnumpy(), queries.asnumpy() @ items.T, atol=1e-4
    )
    names = [parameter.name for parameter in network.get_parameters()]
    assert len(set(names)) == len(names)
    assert "tower.id_table" in names
    assert make_network("dot").warm_start().shares_codes is False
