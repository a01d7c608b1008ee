"""Distinct codes of a batch: found, scored once, with the same scores as token by token."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from helpers import tiny_config, tiny_dataset
from sparcode.model.factory import DataShape, build_network
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

    def construct(self, parts: Tensor, items: Tensor, rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        if self.shared:
            scores = self.network.shared_cross(parts, items, rows, counts)
        else:
            scores = self.network.cross(parts, items)
        return (scores * self.slope).sum(), scores


def test_tokens_of_one_code_have_one_row() -> None:
    terms = np.array([[3, 20], [9, 20], [3, 3]], np.int32)
    rows, counts = shared_codes(terms)
    np.testing.assert_array_equal(rows, [0, 2, 1, 2, 0, 0])
    np.testing.assert_array_equal(counts[:, :3], [[1, 0, 1], [0, 1, 1], [2, 0, 0]])
    assert not counts[:, 3:].any()
    assert (rows.dtype, counts.dtype) == (np.int32, np.float32)


def test_there_are_few_sizes_and_none_is_too_small() -> None:
    sizes = {
        count: shared_codes(np.arange(count, dtype=np.int32)[:, None])[1].shape[1] for count in range(1, 600)
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
    rows, counts = shared_codes(terms)
    items = network.stored_item_part(Tensor(np.arange(1, 11, dtype=np.int32)))
    slope = np.random.default_rng(3).normal(size=(QUERIES, 10)).astype(np.float32)
    arguments = (parts, items, Tensor(rows), Tensor(counts))
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
    rows, counts = shared_codes(terms)
    seen: list[int] = []
    plain = network.scorer.cross

    def counting(token_parts: Tensor, item_parts: Tensor) -> Tensor:
        seen.append(token_parts.shape[0])
        return plain(token_parts, item_parts)

    monkeypatch.setattr(network.scorer, "cross", counting)
    items = network.stored_item_part(Tensor(np.arange(1, 11, dtype=np.int32)))
    found = network.shared_cross(ops.zeros((50, 3, 6), ms.float32), items, Tensor(rows), Tensor(counts))
    assert found.shape == (50, 10)
    assert seen == [64]  # of 150


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
