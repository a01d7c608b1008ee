"""Probes: the nearest codes of a token and their weights, against enumerating every code."""

from __future__ import annotations

import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.evaluation.index_choice import probe_weights
from sparcode.index import encode_terms
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}
Q, K, WIDTH = 7, 3, 2


class Probe(nn.Cell):
    def __init__(self, quantizer: ProductQuantizer, table: Tensor | None = None) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer, self.table = quantizer, table

    def construct(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codes, weights = self.quantizer.probe(tokens, self.table)
        return codes, weights, self.quantizer.probe_terms(codes)


class Nearest(nn.Cell):
    def __init__(self, quantizer: ProductQuantizer, probes: int) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer, self.probes = quantizer, probes

    def construct(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.quantizer.nearest(tokens, self.probes)


def make_case(
    slots: int, books: int, size: int, probes: int, temperature: float = 1.0
) -> tuple[ProductQuantizer, np.ndarray]:
    rng = np.random.default_rng(slots * 100 + books * 10 + probes)
    options = QuantizerOptions(
        books, size, books * WIDTH, K, slots, probes=probes, probe_temperature=temperature
    )
    quantizer = ProductQuantizer(options)
    quantizer.codebooks.set_data(Tensor(rng.normal(size=(slots * books * size, WIDTH)).astype(np.float32)))
    return quantizer, rng.normal(size=(Q, K, books * WIDTH)).astype(np.float32)


def slow_probes(quantizer: ProductQuantizer, token: np.ndarray, slot: int) -> list[tuple[float, tuple]]:
    """(squared distance, code) of every code, nearest first."""
    words = quantizer.codebook_array()[slot].astype(np.float64)  # (M, N, D/M)
    books, size = words.shape[:2]
    return sorted(
        (float(((np.concatenate([words[m, c] for m, c in enumerate(code)]) - token) ** 2).sum()), code)
        for code in itertools.product(range(size), repeat=books)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("slots", "books", "size", "probes", "temperature"),
    [
        (K, 1, 9, 4, 1.0),
        (1, 1, 9, 2, 0.2),
        (K, 2, 5, 4, 0.4),
        (1, 3, 4, 6, 1.0),
        (K, 2, 2, 4, 2.5),
        (K, 1, 9, 1, 0.2),
    ],
)
def test_probes_are_the_nearest_codes(
    graph_mode: None, mode: str, slots: int, books: int, size: int, probes: int, temperature: float
) -> None:
    ms.set_context(mode=MODES[mode])
    quantizer, tokens = make_case(slots, books, size, probes, temperature)
    codes, weights, terms = (part.asnumpy() for part in Probe(quantizer)(Tensor(tokens)))
    assert codes.shape == (Q, K, probes, books)
    for query, token in np.ndindex(Q, K):
        nearest = slow_probes(quantizer, tokens[query, token].astype(np.float64), token % slots)[:probes]
        assert [tuple(code) for code in codes[query, token]] == [code for _, code in nearest]
        distances = np.array([distance for distance, _ in nearest])
        raw = np.exp(-(distances - distances[0]) / (temperature * distances[0]))
        np.testing.assert_allclose(weights[query, token], raw / raw.sum(), rtol=1e-3, atol=1e-6)
    slot_of = np.repeat(np.arange(K) % slots, probes).reshape(K, probes)
    np.testing.assert_array_equal(terms, encode_terms(codes, size, slot_of).reshape(Q, -1))


def test_the_first_probe_is_the_code_and_a_token_on_its_code_stays_there(graph_mode: None) -> None:
    quantizer, tokens = make_case(K, 2, 5, 3)
    codes, _, _ = (part.asnumpy() for part in Probe(quantizer)(Tensor(tokens)))
    np.testing.assert_array_equal(codes[:, :, 0], quantizer.assign(Tensor(tokens)).asnumpy())
    exact = quantizer.decode(Tensor(codes[:, :, 0]))
    _, weights, _ = (part.asnumpy() for part in Probe(quantizer)(exact))
    assert weights[:, :, 0].min() > 0.99


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("slots", "books", "size", "probes"), [(K, 1, 9, 4), (1, 2, 4, 7), (K, 2, 2, 9), (1, 1, 3, 5)]
)
def test_nearest_codes_have_their_squared_distances(
    graph_mode: None, mode: str, slots: int, books: int, size: int, probes: int
) -> None:
    """Of a token with fewer codes than probes there are as many as it has."""
    ms.set_context(mode=MODES[mode])
    quantizer, tokens = make_case(slots, books, size, 1)
    codes, distances = (part.asnumpy() for part in Nearest(quantizer, probes)(Tensor(tokens)))
    found = min(probes, size**books)
    assert codes.shape == (Q, K, found, books)
    assert distances.shape == (Q, K, found)
    for query, token in np.ndindex(Q, K):
        nearest = slow_probes(quantizer, tokens[query, token].astype(np.float64), token % slots)[:found]
        assert [tuple(code) for code in codes[query, token]] == [code for _, code in nearest]
        expected = [distance for distance, _ in nearest]
        np.testing.assert_allclose(distances[query, token], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.5])
def test_weights_that_are_tried_are_those_of_the_graph(graph_mode: None, temperature: float) -> None:
    """Those of fewer probes too, and those of a token on its code."""
    quantizer, tokens = make_case(K, 2, 5, 4, temperature)
    own = quantizer.decode(quantizer.assign(Tensor(tokens))).asnumpy()
    tokens = np.concatenate([tokens, own])
    distances = Nearest(quantizer, 4)(Tensor(tokens))[1].asnumpy()
    for probes in (1, 2, 4):
        quantizer.probes = probes
        _, weights, _ = (part.asnumpy() for part in Probe(quantizer)(Tensor(tokens)))
        found = probe_weights(distances[:, :, :probes], temperature)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, weights, rtol=1e-4, atol=1e-6)
    assert weights[: len(own)].max(2).min() < 0.9 < 0.99 < weights[len(own) :, :, 0].min()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("probes", [1, 4])
@pytest.mark.parametrize("slots", [1, K])
def test_a_kept_distance_table_gives_the_same_probes(
    graph_mode: None, mode: str, probes: int, slots: int
) -> None:
    ms.set_context(mode=MODES[mode])
    quantizer, tokens = make_case(slots, 2, 5, probes)
    table = quantizer.distance_table()
    words = quantizer.codebook_array().astype(np.float64)
    np.testing.assert_allclose(table[:, -1], (words**2).sum(-1).reshape(table[:, -1].shape), rtol=1e-5)
    plain = [part.asnumpy() for part in Probe(quantizer)(Tensor(tokens))]
    codes, weights, terms = (part.asnumpy() for part in Probe(quantizer, Tensor(table))(Tensor(tokens)))
    np.testing.assert_array_equal(codes, plain[0])
    np.testing.assert_allclose(weights, plain[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(terms, plain[2])
    table[:, -1] = 0
    wrong = Probe(quantizer, Tensor(table))(Tensor(tokens))[0].asnumpy()
    assert (wrong != codes).any()  # self-test: the lengths are used
