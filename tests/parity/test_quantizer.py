"""The quantizer equals a slow plain oracle, compiled and eager, forward and backward."""

from __future__ import annotations

import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.index import encode_terms
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions, kmeans_codebooks

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}
DECAY, EPSILON = 0.9, 1e-2
T, D, M, N = 24, 4, 2, 4
WIDTH = D // M


@pytest.fixture(params=list(MODES))
def mode(request: pytest.FixtureRequest, graph_mode: None) -> str:
    ms.set_context(mode=MODES[request.param])
    return str(request.param)


class Assign(nn.Cell):
    def __init__(self, quantizer: ProductQuantizer) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer = quantizer

    def construct(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codes = self.quantizer.assign(tokens)
        return codes, self.quantizer.decode(codes), self.quantizer.term_ids(codes.reshape(-1, 1, M))


class Update(nn.Cell):
    def __init__(self, quantizer: ProductQuantizer) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer = quantizer

    def construct(self, tokens: Tensor, codes: Tensor, weights: Tensor, restart_rows: Tensor) -> Tensor:
        return self.quantizer.update(tokens, codes, weights, restart_rows)


class LinearLoss(nn.Cell):
    """sum(slope * quantized) + beta * sum(error): its gradient is known in closed form."""

    def __init__(self, quantizer: ProductQuantizer, beta: float) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer, self.beta = quantizer, beta

    def construct(self, tokens: Tensor, slope: Tensor) -> Tensor:
        quantized, _, error = self.quantizer(tokens)
        return (quantized * slope).sum() + self.beta * error.sum()


def make_quantizer(books: np.ndarray, restart_threshold: float = 0.0) -> ProductQuantizer:
    """A quantizer with given codebooks (M, N, D/M) and one count per codeword."""
    count, size, width = books.shape
    quantizer = ProductQuantizer(
        QuantizerOptions(count, size, count * width, DECAY, EPSILON, restart_threshold)
    )
    flat = np.ascontiguousarray(books.reshape(-1, width), np.float32)
    quantizer.codebooks.set_data(Tensor(flat))
    quantizer.ema_sums.set_data(Tensor(flat))
    quantizer.ema_counts.set_data(Tensor(np.ones(count * size, np.float32)))
    return quantizer


def state_of(quantizer: ProductQuantizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parameters = (quantizer.codebooks, quantizer.ema_sums, quantizer.ema_counts)
    books, sums, counts = (parameter.asnumpy().copy() for parameter in parameters)
    return books.reshape(M, N, WIDTH), sums.reshape(M, N, WIDTH), counts.reshape(M, N)


def slow_codes(tokens: np.ndarray, books: np.ndarray) -> np.ndarray:
    """Nearest codewords by squared Euclidean distance, one token and one codebook at a time."""
    count, size, width = books.shape
    codes = np.zeros((len(tokens), count), np.int32)
    for row, book in itertools.product(range(len(tokens)), range(count)):
        part = tokens[row, book * width : (book + 1) * width].astype(np.float64)
        codes[row, book] = np.argmin([((part - books[book, word]) ** 2).sum() for word in range(size)])
    return codes


def slow_update(
    state: tuple[np.ndarray, np.ndarray, np.ndarray],
    tokens: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    restart: tuple[float, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The EMA rule, codeword by codeword; restart is (threshold, token of each codeword)."""
    books, sums, counts = (np.array(part, np.float64) for part in state)
    for book in range(M):
        parts = tokens[:, book * WIDTH : (book + 1) * WIDTH]
        for word in range(N):
            share = weights * (codes[:, book] == word)
            counts[book, word] = DECAY * counts[book, word] + (1 - DECAY) * share.sum()
            sums[book, word] = DECAY * sums[book, word] + (1 - DECAY) * (share[:, None] * parts).sum(0)
        total = counts[book].sum()
        for word in range(N):
            smoothed = (counts[book, word] + EPSILON) / (total + N * EPSILON) * total
            books[book, word] = sums[book, word] / smoothed
        for word in range(N):
            if counts[book, word] < restart[0]:
                fresh = parts[restart[1][book * N + word]]
                books[book, word], sums[book, word], counts[book, word] = fresh, fresh, 1.0
    return books, sums, counts


@pytest.fixture(scope="module")
def books() -> np.ndarray:
    """Codewords of very different norms: a wrong weight of the cross term changes most codes."""
    directions = np.array([[1.0, 0.2], [1.0, -0.3], [0.9, 0.5], [0.8, -0.1]])
    norms = np.array([[[0.5], [1.0], [2.0], [4.0]], [[3.0], [0.3], [1.5], [0.8]]])
    return (directions * norms).astype(np.float32)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return (1 + 2 * np.random.default_rng(1).normal(size=(T, D))).astype(np.float32)


def test_codes_are_the_nearest_codewords(mode: str, books: np.ndarray, tokens: np.ndarray) -> None:
    codes, decoded, terms = (part.asnumpy() for part in Assign(make_quantizer(books))(Tensor(tokens)))
    expected = slow_codes(tokens, books)
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == terms.dtype == np.int32
    by_hand = np.concatenate([books[0][expected[:, 0]], books[1][expected[:, 1]]], 1)
    np.testing.assert_array_equal(decoded, by_hand)
    np.testing.assert_array_equal(terms[:, 0], encode_terms(expected, N))
    np.testing.assert_array_equal(terms[:, 0], expected[:, 0] * N + expected[:, 1])


def test_the_data_tell_the_right_distance_from_wrong_ones(books: np.ndarray, tokens: np.ndarray) -> None:
    """Self-test: |c|^2 - 1 z.c, |c|^2 + 2 z.c and -2 z.c alone give other codes than the oracle."""
    parts = tokens.reshape(T, M, WIDTH)
    norms = (books**2).sum(-1)[None]
    cross = np.einsum("tmw,mnw->tmn", parts, books)
    expected = slow_codes(tokens, books)
    np.testing.assert_array_equal((norms - 2 * cross).argmin(-1), expected)
    for wrong in (norms - cross, norms + 2 * cross, -2 * cross):
        assert (wrong.argmin(-1) != expected).mean() > 0.1


def test_ties_go_to_the_smaller_codeword(mode: str) -> None:
    book = np.array([[3.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], np.float32)
    quantizer = make_quantizer(np.stack([book, book[::-1]]))
    codes = quantizer.assign(Tensor(np.array([[0.0, 0.0, 0.0, 0.0], [-1, 0, -1, 0]], np.float32)))
    np.testing.assert_array_equal(codes.asnumpy(), [[1, 0], [1, 0]])


def test_three_codebooks_have_the_first_most_significant(mode: str) -> None:
    quantizer = ProductQuantizer(QuantizerOptions(3, 5, 6))
    codes = np.array([[[1, 2, 3], [4, 4, 4]], [[0, 0, 1], [1, 0, 0]]], np.int32)
    terms = quantizer.term_ids(Tensor(codes)).asnumpy()
    np.testing.assert_array_equal(terms, [[25 + 10 + 3, 124], [1, 25]])
    np.testing.assert_array_equal(terms, encode_terms(codes, 5))


def test_forward_returns_codewords_and_error_and_changes_nothing(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books, restart_threshold=5.0)
    before = state_of(quantizer)
    quantizer.set_train(True)
    quantized, codes, error = (part.asnumpy() for part in quantizer(Tensor(tokens)))
    expected = slow_codes(tokens, books)
    by_hand = np.concatenate([books[0][expected[:, 0]], books[1][expected[:, 1]]], 1)
    np.testing.assert_allclose(quantized, by_hand, atol=1e-6)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_allclose(error, ((tokens - by_hand) ** 2).mean(1), rtol=1e-5)
    for one, other in zip(state_of(quantizer), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_gradient_is_straight_through_plus_commitment(
    mode: str, beta: float, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books)
    slope = np.random.default_rng(2).normal(size=(T, D)).astype(np.float32)
    gradient = ms.grad(LinearLoss(quantizer, beta))(Tensor(tokens), Tensor(slope)).asnumpy()
    expected = slow_codes(tokens, books)
    by_hand = np.concatenate([books[0][expected[:, 0]], books[1][expected[:, 1]]], 1)
    np.testing.assert_allclose(gradient, slope + beta * 2 * (tokens - by_hand) / D, atol=1e-5)


def test_codebooks_are_not_trained_by_gradients(books: np.ndarray) -> None:
    assert make_quantizer(books).trainable_params() == []


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_three_updates_equal_the_oracle(
    mode: str, threshold: float, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books, threshold)
    update, state = Update(quantizer), state_of(quantizer)
    rng = np.random.default_rng(3)
    restarted = 0
    for _ in range(3):
        batch = (tokens + rng.normal(size=tokens.shape)).astype(np.float32)
        weights = (rng.random(T) < 0.7).astype(np.float32)
        rows = rng.integers(0, T, M * N).astype(np.int32)
        codes = slow_codes(batch, state[0].astype(np.float32))
        counts = update(*(Tensor(part) for part in (batch, codes, weights, rows))).asnumpy()
        state = slow_update(state, batch, codes, weights, (threshold, rows))
        restarted += int((state[2] == 1.0).sum())
        np.testing.assert_allclose(counts.reshape(M, N), state[2], rtol=1e-5)
        for one, other in zip(state_of(quantizer), state, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert (restarted > 0) == (threshold > 0)


def test_padding_does_not_move_the_codebooks(mode: str, books: np.ndarray, tokens: np.ndarray) -> None:
    codes, rows = slow_codes(tokens, books), np.zeros(M * N, np.int32)
    weights = np.ones(T, np.float32)
    weights[T // 2 :] = 0
    padded = tokens.copy()
    padded[T // 2 :] = 1e6
    states = []
    for batch in (tokens, padded):
        quantizer = make_quantizer(books)
        Update(quantizer)(*(Tensor(part) for part in (batch, codes, weights, rows)))
        states.append(state_of(quantizer))
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dead_codeword_becomes_the_given_token_of_its_own_codebook(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books, restart_threshold=0.5)
    counts = np.ones((M, N), np.float32)
    counts[0, 2] = counts[1, 3] = 0.01
    quantizer.ema_counts.set_data(Tensor(counts.reshape(-1)))
    codes = np.zeros((T, M), np.int32)
    rows = np.arange(M * N, dtype=np.int32) + 5
    Update(quantizer)(*(Tensor(part) for part in (tokens, codes, np.ones(T, np.float32), rows)))
    moved, sums, new_counts = state_of(quantizer)
    np.testing.assert_array_equal(moved[0, 2], tokens[5 + 2, :WIDTH])
    np.testing.assert_array_equal(moved[1, 3], tokens[5 + N + 3, WIDTH:])
    np.testing.assert_array_equal(sums[1, 3], moved[1, 3])
    assert new_counts[0, 2] == new_counts[1, 3] == 1.0
    assert (new_counts == 1.0).sum() == 2  # the living ones decayed


def test_kmeans_finds_well_separated_clusters() -> None:
    rng = np.random.default_rng(4)
    centres = np.array([[0, 0, 9, 9], [9, 0, 0, 9], [0, 9, 0, 0], [9, 9, 9, 0]], np.float64)
    points = np.repeat(centres, 50, 0) + rng.normal(0, 0.05, (200, 4))
    books, sizes = kmeans_codebooks(points.astype(np.float32), 1, 4, seed=0)
    order = np.lexsort(np.round(books[0]).T)
    np.testing.assert_allclose(books[0][order], centres[np.lexsort(centres.T)], atol=0.1)
    np.testing.assert_array_equal(sizes, [[50, 50, 50, 50]])
    assert books.dtype == np.float32


def test_kmeans_treats_every_sub_vector_alone_and_is_deterministic(tokens: np.ndarray) -> None:
    books, sizes = kmeans_codebooks(tokens, M, N, seed=7)
    assert books.shape == (M, N, WIDTH)
    np.testing.assert_array_equal(sizes.sum(1), [T, T])
    again, _ = kmeans_codebooks(tokens, M, N, seed=7)
    np.testing.assert_array_equal(books, again)
    other, _ = kmeans_codebooks(tokens, M, N, seed=8)
    assert (books != other).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 3])
def test_kmeans_with_fewer_tokens_than_codewords_gives_distinct_codewords(
    count: int, tokens: np.ndarray
) -> None:
    books, _ = kmeans_codebooks(tokens[:count], M, 8, seed=0)
    assert np.isfinite(books).all()
    for book in books:
        assert len(np.unique(book, axis=0)) == 8


@pytest.mark.filterwarnings("error")
def test_kmeans_of_equal_tokens_is_finite_and_near_them() -> None:
    books, _ = kmeans_codebooks(np.full((50, D), 3.0, np.float32), M, N, seed=0)
    np.testing.assert_allclose(books, 3.0, atol=1e-2)


def test_fit_starts_the_moving_average_at_the_clusters(tokens: np.ndarray) -> None:
    quantizer = make_quantizer(np.zeros((M, N, WIDTH), np.float32))
    quantizer.fit(tokens, seed=3)
    books, sizes = kmeans_codebooks(tokens, M, N, seed=3)
    moved, sums, counts = state_of(quantizer)
    np.testing.assert_array_equal(moved, books)
    np.testing.assert_array_equal(quantizer.codebook_array(), books)
    np.testing.assert_allclose(counts, sizes / (T / N), rtol=1e-6)
    np.testing.assert_allclose(sums, books * counts[..., None], rtol=1e-5)
