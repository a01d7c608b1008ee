"""Tokenizer and lift: their maps by hand, their common start, and the codebooks of the index."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.index import tokens_of_terms
from sparcode.model.layers import subspace
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions
from sparcode.model.tokenizer import Tokenizer, TokenLift

WIDTH, TOKENS, SIZE = 8, 3, 4
SIZES = (WIDTH, TOKENS, SIZE)
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])


class RoundTrip(nn.Cell):
    """Tokens of queries, and the tokens lifted again."""

    def __init__(self, tokenizer: Tokenizer, lift: TokenLift) -> None:
        super().__init__(auto_prefix=False)
        self.tokenizer, self.lift = tokenizer, lift

    def construct(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(queries)
        return tokens, self.lift(tokens)


class LiftedCodes(nn.Cell):
    """What the network makes of codes (Q, K_u, M): their term ids and lifted tokens."""

    def __init__(self, quantizer: ProductQuantizer, lift: TokenLift) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer, self.lift = quantizer, lift

    def construct(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        return self.quantizer.term_ids(codes), self.lift(self.quantizer.decode(codes))


def queries(count: int = 5, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, width)).astype(np.float32)


def stirred(cell: nn.Cell) -> nn.Cell:
    """The cell with random weights, as after some training."""
    rng = np.random.default_rng(6)
    for parameter in cell.get_parameters():
        parameter.set_data(Tensor(rng.normal(size=parameter.shape).astype(np.float32)))
    return cell


def linear(tokenizer: Tokenizer, inputs: np.ndarray) -> np.ndarray:
    """Tokens (Q, K_u, D) before any normalisation."""
    flat = inputs @ tokenizer.project.asnumpy()
    return flat.reshape(len(inputs), TOKENS, SIZE)


def test_tokens_with_codebooks_of_their_own_are_a_linear_map(mode: str) -> None:
    tokenizer = stirred(Tokenizer(*SIZES, shared=False))
    found = tokenizer(Tensor(queries())).asnumpy()
    assert found.shape == (5, TOKENS, SIZE)
    np.testing.assert_allclose(found, linear(tokenizer, queries()), rtol=1e-4, atol=1e-5)


def test_tokens_that_share_codebooks_are_normalised(mode: str) -> None:
    tokenizer = Tokenizer(*SIZES, shared=True)
    tokens = linear(tokenizer, queries())
    expected = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True)
    found = tokenizer(Tensor(queries())).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@SHARED
def test_a_lifted_token_is_a_linear_map_of_it(mode: str, shared: bool) -> None:
    lift = stirred(TokenLift(*SIZES, shared))
    tokens = np.random.default_rng(7).normal(size=(5, TOKENS, SIZE)).astype(np.float32)
    weight = lift.weight.asnumpy()
    assert len(weight) == lift.num_slots == (1 if shared else TOKENS)
    found = lift(Tensor(tokens)).asnumpy()
    for k in range(TOKENS):
        slot = 0 if shared else k
        expected = tokens[:, k] @ weight[slot]
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [3, 4, 8], ids=["just-enough", "more", "each-alone"])
def test_untrained_lifted_tokens_add_up_to_the_query_vector(size: int) -> None:
    """K_u * D >= d: the tokens hold everything."""
    cell = RoundTrip(Tokenizer(WIDTH, TOKENS, size, False), TokenLift(WIDTH, TOKENS, size, False))
    tokens, lifted = (part.asnumpy() for part in cell(Tensor(queries())))
    np.testing.assert_allclose(lifted.sum(1), queries(), rtol=1e-4, atol=1e-5)
    assert (tokens.std((0, 2)) > 0.1).all()  # each token holds some of it


def test_untrained_lifted_tokens_add_up_to_the_projection_that_fits() -> None:
    """K_u * D < d: an orthogonal projection, so what is lost is at right angles to what is kept."""
    cell = RoundTrip(Tokenizer(16, TOKENS, SIZE, False), TokenLift(16, TOKENS, SIZE, False))
    vectors = queries(width=16)
    total = cell(Tensor(vectors))[1].asnumpy().sum(1)
    kept = subspace(16, TOKENS * SIZE)
    np.testing.assert_allclose(total, vectors @ kept.T @ kept, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(((vectors - total) * total).sum(-1), 0.0, atol=1e-4)
    assert (np.linalg.norm(total, axis=1) < 0.99 * np.linalg.norm(vectors, axis=1)).all()


@pytest.mark.parametrize(
    ("size", "shared", "trained"), [(3, False, False), (2, False, True), (3, True, True)]
)
def test_maps_of_the_whole_query_vector_are_not_trained(size: int, shared: bool, trained: bool) -> None:
    """K_u * D >= d with codebooks for each token: a fixed rotation and its transpose."""
    sizes = (WIDTH, TOKENS, size, shared)
    assert any("project" in p.name for p in Tokenizer(*sizes).trainable_params()) == trained
    assert bool(TokenLift(*sizes).trainable_params()) == trained


def test_untrained_shared_tokens_are_views_of_one_subspace() -> None:
    """Every token starts as the same view of the query, up to noise, and is lifted back by its transpose."""
    ms.set_seed(8)
    width, count, size = 64, 4, 16
    tokenizer, lift = Tokenizer(width, count, size, True), TokenLift(width, count, size, True)
    common = subspace(width, size)
    weights = tokenizer.project.asnumpy().T.reshape(count, size, width)
    noise = (weights - common).std((1, 2))
    np.testing.assert_allclose(noise, 0.5 * width**-0.5, rtol=0.1)
    tokens = np.random.default_rng(7).normal(size=(2, count, size)).astype(np.float32)
    np.testing.assert_allclose(lift(Tensor(tokens)).asnumpy(), tokens @ common, rtol=1e-3, atol=1e-5)


@SHARED
@pytest.mark.parametrize("num_codebooks", [1, 2, 4])
def test_the_tokens_of_the_index_are_the_lifted_ones_of_the_network(
    mode: str, shared: bool, num_codebooks: int
) -> None:
    """lifted_codebooks and tokens_of_terms give, for every term, what the network computes from its codes."""
    slots, words = (1 if shared else TOKENS), 3
    options = QuantizerOptions(num_codebooks, words, SIZE, TOKENS, slots)
    quantizer, lift = ProductQuantizer(options), stirred(TokenLift(*SIZES, shared))
    rows = np.random.default_rng(9).normal(size=quantizer.codebooks.shape).astype(np.float32)
    quantizer.codebooks.set_data(Tensor(rows))
    every_code = np.stack(np.unravel_index(np.arange(words**num_codebooks), [words] * num_codebooks), -1)
    codes = np.repeat(every_code[:, None], TOKENS, 1).astype(np.int32)  # (N**M, K_u, M)
    term_ids, expected = (part.asnumpy() for part in LiftedCodes(quantizer, lift)(Tensor(codes)))
    lifted = lift.lifted_codebooks(quantizer.codebook_array())
    assert lifted.shape == (slots, num_codebooks, words, WIDTH)
    assert lifted.dtype == np.float32
    assert set(term_ids.ravel()) == set(range(slots * words**num_codebooks))
    found = tokens_of_terms(lifted, term_ids.ravel()).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class AddedTokens(nn.Cell):
    """The lifted tokens of a query added up: in one go, and one by one."""

    def __init__(self, lift: TokenLift) -> None:
        super().__init__(auto_prefix=False)
        self.lift = lift

    def construct(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.lift.total(tokens), self.lift(tokens).sum(1)


@SHARED
def test_lifted_tokens_are_added_before_they_are_multiplied_out(shared: bool) -> None:
    tokens = np.random.default_rng(7).normal(size=(5, TOKENS, SIZE)).astype(np.float32)
    added, expected = AddedTokens(stirred(TokenLift(*SIZES, shared)))(Tensor(tokens))
    np.testing.assert_allclose(added.asnumpy(), expected.asnumpy(), rtol=1e-4, atol=1e-4)
