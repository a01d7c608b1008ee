"""The quantizer equals a slow plain oracle, compiled and eager, forward and backward."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from sparcode.index import encode_terms
from sparcode.model.quantizer import CHANCE, ProductQuantizer, QuantizerOptions, kmeans_codebooks

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}
DECAY, EPSILON = 0.9, 1e-2
Q, K, D, M, N = 16, 3, 4, 2, 4
WIDTH = D // M

State = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Codebooks (S, M, N, D/M), EMA sums of that shape, EMA counts (S, M, N)."""


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
        return codes, self.quantizer.decode(codes), self.quantizer.term_ids(codes)


class Update(nn.Cell):
    def __init__(self, quantizer: ProductQuantizer) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer = quantizer

    def construct(self, tokens: Tensor, codes: Tensor, weights: Tensor, restart_rows: Tensor) -> Tensor:
        return self.quantizer.update(self.quantizer.statistics(tokens, codes, weights, restart_rows))


class AssignAndUpdate(nn.Cell):
    """A step of the codebooks as training takes it."""

    def __init__(self, quantizer: ProductQuantizer) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer = quantizer

    def construct(self, tokens: Tensor, weights: Tensor, restart_rows: Tensor) -> Tensor:
        codes = self.quantizer.assign(tokens)
        return self.quantizer.update(self.quantizer.statistics(tokens, codes, weights, restart_rows))


def quantization_error(quantizer: ProductQuantizer, tokens: np.ndarray) -> float:
    """Mean squared distance of tokens (Q, K_u, D) to their codewords."""
    return float(np.square(quantizer.decode(quantizer.assign(Tensor(tokens))).asnumpy() - tokens).mean())


class LinearLoss(nn.Cell):
    """sum(slope * quantized) + beta * sum(error): its gradient is known in closed form."""

    def __init__(self, quantizer: ProductQuantizer, beta: float) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer, self.beta = quantizer, beta

    def construct(self, tokens: Tensor, slope: Tensor) -> Tensor:
        quantized, _, error = self.quantizer(tokens, ops.ones_like(tokens[:, 0, 0]))
        return (quantized * slope).sum() + self.beta * error.sum()


def ones(tokens: np.ndarray) -> Tensor:
    """Every query is quantized."""
    return Tensor(np.ones(len(tokens), np.float32))


def make_quantizer(
    books: np.ndarray, restart_threshold: float = 0.0, num_tokens: int = K
) -> ProductQuantizer:
    """A quantizer with given codebooks (S, M, N, D/M) and one count per codeword."""
    slots, count, size, width = books.shape
    quantizer = ProductQuantizer(
        QuantizerOptions(count, size, count * width, num_tokens, slots, DECAY, EPSILON, restart_threshold)
    )
    flat = np.ascontiguousarray(books.reshape(-1, width), np.float32)
    quantizer.codebooks.set_data(Tensor(flat))
    quantizer.ema_sums.set_data(Tensor(flat))
    quantizer.ema_counts.set_data(Tensor(np.ones(len(flat), np.float32)))
    return quantizer


def state_of(quantizer: ProductQuantizer) -> State:
    parameters = (quantizer.codebooks, quantizer.ema_sums, quantizer.ema_counts)
    books, sums, counts = (parameter.asnumpy().copy() for parameter in parameters)
    return books.reshape(-1, M, N, WIDTH), sums.reshape(-1, M, N, WIDTH), counts.reshape(-1, M, N)


def slow_codes(tokens: np.ndarray, books: np.ndarray) -> np.ndarray:
    """Nearest codewords by squared Euclidean distance, one query, token and codebook at a time.

    Token k looks into the codebooks of slot k, or of slot 0 if there is no other.
    """
    slots, count, size, width = books.shape
    codes = np.zeros((*tokens.shape[:2], count), np.int32)
    for query, token, book in np.ndindex(codes.shape):
        part = tokens[query, token, book * width : (book + 1) * width].astype(np.float64)
        words = books[0 if slots == 1 else token, book]
        codes[query, token, book] = np.argmin([((part - words[word]) ** 2).sum() for word in range(size)])
    return codes


def slow_decode(codes: np.ndarray, books: np.ndarray) -> np.ndarray:
    """Codewords of codes (Q, K_u, M), put side by side."""
    rows = [
        [
            np.concatenate([books[0 if len(books) == 1 else token, m, word] for m, word in enumerate(code)])
            for token, code in enumerate(query)
        ]
        for query in codes
    ]
    return np.array(rows, np.float32)


def rows_of_tokens(tokens: np.ndarray, slots: int) -> np.ndarray:
    """(Q, K_u, D) -> (T, S, D): the tokens of a query in one row, or every token in a row of its own."""
    return tokens.reshape(-1, slots, tokens.shape[-1])


def slow_update(
    state: State,
    tokens: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    restart: tuple[float, np.ndarray],
) -> State:
    """The EMA rule, codeword by codeword; restart is (share of the mean, row of tokens for each codeword)."""
    books, sums, counts = (np.array(part, np.float64) for part in state)
    slots = len(books)
    rows, words = rows_of_tokens(tokens, slots), rows_of_tokens(codes, slots)
    share_of_row = np.repeat(weights, len(rows) // len(weights))
    for number, (slot, book) in enumerate(np.ndindex(slots, M)):
        parts = rows[:, slot, book * WIDTH : (book + 1) * WIDTH]
        for word in range(N):
            share = share_of_row * (words[:, slot, book] == word)
            old = counts[slot, book, word], sums[slot, book, word]
            counts[slot, book, word] = DECAY * old[0] + (1 - DECAY) * share.sum()
            sums[slot, book, word] = DECAY * old[1] + (1 - DECAY) * (share[:, None] * parts).sum(0)
        total = counts[slot, book].sum()
        for word in range(N):
            mean = total / N
            smoothed = (counts[slot, book, word] + EPSILON * mean) / (N * mean * (1 + EPSILON)) * total
            books[slot, book, word] = sums[slot, book, word] / smoothed
        for word in range(N):
            if counts[slot, book, word] < min(restart[0], DECAY ** (CHANCE / (total / N))) * total / N:
                fresh = parts[restart[1][number * N + word]]
                books[slot, book, word], sums[slot, book, word] = fresh, fresh * total / N
                counts[slot, book, word] = total / N
    return books, sums, counts


@pytest.fixture(scope="module", params=[1, K], ids=["shared", "slots"])
def books(request: pytest.FixtureRequest) -> np.ndarray:
    """Codewords of very different norms: a wrong weight of the cross term changes most codes."""
    directions = np.array([[1.0, 0.2], [1.0, -0.3], [0.9, 0.5], [0.8, -0.1]])
    norms = np.array([[[0.5], [1.0], [2.0], [4.0]], [[3.0], [0.3], [1.5], [0.8]]])
    by_slot = [norms, norms[:, ::-1], norms[::-1]]
    return np.stack([directions * norm for norm in by_slot[: request.param]]).astype(np.float32)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return (1 + 2 * np.random.default_rng(1).normal(size=(Q, K, D))).astype(np.float32)


def test_codes_are_the_nearest_codewords(mode: str, books: np.ndarray, tokens: np.ndarray) -> None:
    codes, decoded, terms = (part.asnumpy() for part in Assign(make_quantizer(books))(Tensor(tokens)))
    expected = slow_codes(tokens, books)
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == terms.dtype == np.int32
    np.testing.assert_array_equal(decoded, slow_decode(expected, books))
    slots = np.arange(K) % len(books)
    np.testing.assert_array_equal(terms, encode_terms(expected, N, slots))
    by_hand = slots * N**2 + expected[..., 0] * N + expected[..., 1]
    np.testing.assert_array_equal(terms, by_hand)


def test_the_data_tell_the_right_distance_from_wrong_ones(books: np.ndarray, tokens: np.ndarray) -> None:
    """Self-test: |c|^2 - 1 z.c, |c|^2 + 2 z.c and -2 z.c alone give other codes than the oracle."""
    parts = tokens.reshape(Q, K, M, WIDTH)
    per_token = np.broadcast_to(books, (K, M, N, WIDTH))
    norms = (per_token**2).sum(-1)[None]
    cross = np.einsum("qkmw,kmnw->qkmn", parts, per_token)
    expected = slow_codes(tokens, books)
    np.testing.assert_array_equal((norms - 2 * cross).argmin(-1), expected)
    for wrong in (norms - cross, norms + 2 * cross, -2 * cross):
        assert (wrong.argmin(-1) != expected).mean() > 0.1


def test_the_data_tell_one_slot_from_another(tokens: np.ndarray, books: np.ndarray) -> None:
    """Self-test: with the codebooks of other slots the codes are others."""
    if len(books) == 1:
        return
    expected = slow_codes(tokens, books)
    for wrong in (books[:1], np.roll(books, 1, 0)):
        assert (slow_codes(tokens, wrong) != expected).mean() > 0.2


def test_ties_go_to_the_smaller_codeword(mode: str) -> None:
    book = np.array([[3.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], np.float32)
    quantizer = make_quantizer(np.stack([book, book[::-1]])[None], num_tokens=2)
    tokens = np.array([[[0.0, 0.0, 0.0, 0.0], [-1, 0, -1, 0]]], np.float32)
    np.testing.assert_array_equal(quantizer.assign(Tensor(tokens)).asnumpy(), [[[1, 0], [1, 0]]])


def test_three_codebooks_have_the_first_most_significant(mode: str) -> None:
    codes = np.array([[[1, 2, 3], [4, 4, 4]], [[0, 0, 1], [1, 0, 0]]], np.int32)
    for slots, first in ((1, [0, 0]), (2, [0, 125])):
        quantizer = ProductQuantizer(QuantizerOptions(3, 5, 6, 2, slots))
        terms = quantizer.term_ids(Tensor(codes)).asnumpy()
        expected = np.array([[25 + 10 + 3, 124], [1, 25]]) + first
        np.testing.assert_array_equal(terms, expected)
        np.testing.assert_array_equal(terms, encode_terms(codes, 5, np.arange(2) % slots))


def test_forward_returns_codewords_and_error_and_changes_nothing(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books, restart_threshold=5.0)
    before = state_of(quantizer)
    quantizer.set_train(True)
    quantized, codes, error = (part.asnumpy() for part in quantizer(Tensor(tokens), ones(tokens)))
    expected = slow_codes(tokens, books)
    by_hand = slow_decode(expected, books)
    np.testing.assert_allclose(quantized, by_hand, atol=1e-6)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_allclose(error, ((tokens - by_hand) ** 2).mean((1, 2)), rtol=1e-5)
    for one, other in zip(state_of(quantizer), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_some_queries_keep_their_tokens_and_all_have_codes_and_errors(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books)
    chosen = (np.arange(len(tokens)) % 3 == 1).astype(np.float32)
    quantized, *rest = (part.asnumpy() for part in quantizer(Tensor(tokens), ones(tokens)))
    mixed, *others = (part.asnumpy() for part in quantizer(Tensor(tokens), Tensor(chosen)))
    np.testing.assert_array_equal(mixed[chosen == 1], quantized[chosen == 1])
    np.testing.assert_array_equal(mixed[chosen == 0], tokens[chosen == 0])
    assert (mixed != quantized).any()
    for one, other in zip(rest, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_probes_replace_a_token_together_and_the_error_is_that_of_the_nearest(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    plain, *others = (part.asnumpy() for part in make_quantizer(books)(Tensor(tokens), ones(tokens)))
    quantizer = make_quantizer(books)
    quantizer.probes, quantizer.probe_temperature, quantizer.mixes_probes = 3, 0.5, True
    mixed, *rest = (part.asnumpy() for part in quantizer(Tensor(tokens), ones(tokens)))
    codes, weights = (part.asnumpy() for part in quantizer.probe(Tensor(tokens)))
    expected = sum(weights[:, :, place, None] * slow_decode(codes[:, :, place], books) for place in range(3))
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(mixed - plain).max() > 0.1
    for one, other in zip(rest, others, strict=True):  # codes and errors
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_gradient_is_straight_through_plus_commitment(
    mode: str, beta: float, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books)
    slope = np.random.default_rng(2).normal(size=tokens.shape).astype(np.float32)
    gradient = ms.grad(LinearLoss(quantizer, beta))(Tensor(tokens), Tensor(slope)).asnumpy()
    by_hand = slow_decode(slow_codes(tokens, books), books)
    np.testing.assert_allclose(gradient, slope + beta * 2 * (tokens - by_hand) / (K * D), atol=1e-5)


def test_codebooks_are_not_trained_by_gradients(books: np.ndarray) -> None:
    assert make_quantizer(books).trainable_params() == []


@pytest.mark.parametrize("restarts", [False, True])
def test_three_updates_equal_the_oracle(
    mode: str, restarts: bool, books: np.ndarray, tokens: np.ndarray
) -> None:
    threshold = 0.95 if restarts else 0.0  # some fall below so large a share of the mean
    quantizer = make_quantizer(books, threshold)
    counts = np.ones(books.size // WIDTH, np.float32)
    counts[::3] = 0.05  # nearly dead, so that some are after a step
    quantizer.ema_counts.set_data(Tensor(counts))
    update, state = Update(quantizer), state_of(quantizer)
    rng = np.random.default_rng(3)
    restarted = 0
    for _ in range(3):
        batch = (tokens + rng.normal(size=tokens.shape)).astype(np.float32)
        weights = (rng.random(Q) < 0.7).astype(np.float32)
        rows = rng.integers(0, Q * K // len(books), books.size // WIDTH).astype(np.int32)
        codes = slow_codes(batch, state[0].astype(np.float32))
        counts = update(*(Tensor(part) for part in (batch, codes, weights, rows))).asnumpy()
        state = slow_update(state, batch, codes, weights, (threshold, rows))
        restarted += int(np.isin(state[0], batch).all(-1).sum())
        np.testing.assert_allclose(counts.reshape(-1, M, N), state[2], rtol=1e-5)
        for one, other in zip(state_of(quantizer), state, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert (restarted > 0) == restarts


def test_padding_does_not_move_the_codebooks(mode: str, books: np.ndarray, tokens: np.ndarray) -> None:
    codes, rows = slow_codes(tokens, books), np.zeros(books.size // WIDTH, np.int32)
    weights = np.ones(Q, np.float32)
    weights[Q // 2 :] = 0
    padded = tokens.copy()
    padded[Q // 2 :] = 1e6
    states = []
    for batch in (tokens, padded):
        quantizer = make_quantizer(books)
        Update(quantizer)(*(Tensor(part) for part in (batch, codes, weights, rows)))
        states.append(state_of(quantizer))
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dead_codeword_becomes_a_sub_vector_of_its_own_slot_and_codebook(
    mode: str, books: np.ndarray, tokens: np.ndarray
) -> None:
    quantizer = make_quantizer(books, restart_threshold=0.2)
    slots = len(books)
    counts = np.ones((slots, M, N), np.float32)
    dead = [(0, 0, 2), (slots - 1, 1, 3)]
    for place in dead:
        counts[place] = 0.01
    quantizer.ema_counts.set_data(Tensor(counts.reshape(-1)))
    codes = np.zeros((Q, K, M), np.int32)
    rows = (np.arange(counts.size) % 11 + 2).astype(np.int32)
    Update(quantizer)(*(Tensor(part) for part in (tokens, codes, np.ones(Q, np.float32), rows)))
    moved, sums, new_counts = state_of(quantizer)
    by_row = rows_of_tokens(tokens, slots)
    for slot, book, word in dead:
        row = rows.reshape(slots, M, N)[slot, book, word]
        fresh = by_row[row, slot, book * WIDTH : (book + 1) * WIDTH]
        np.testing.assert_array_equal(moved[slot, book, word], fresh)
        mean = (DECAY * counts[slot, book].sum() + (1 - DECAY) * Q * K / slots) / N
        np.testing.assert_allclose(sums[slot, book, word], fresh * mean, rtol=1e-6)
        np.testing.assert_allclose(new_counts[slot, book, word], mean, rtol=1e-6)
    living = np.delete(new_counts.reshape(-1), [np.ravel_multi_index(place, counts.shape) for place in dead])
    assert living[living < 1].size == counts.size - len(dead) - slots * M  # without a token they decayed


@pytest.mark.parametrize("size", [256, 1024, 4096])
def test_restarts_are_rare_however_few_tokens_a_codeword_sees(graph_mode: None, size: int) -> None:
    """Tokens of one distribution: what k-means found stays as good, and codewords in use are kept."""
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    count, width = 256, 4
    sample = rng.normal(size=(5000, 1, width)).astype(np.float32)
    quantizer = ProductQuantizer(QuantizerOptions(1, size, width))
    with_steps = rng.normal(size=(2 * size, 1, width)).astype(np.float32)
    quantizer.fit(with_steps, 0, count)
    before = quantization_error(quantizer, sample)
    step, restarts = AssignAndUpdate(quantizer), 0
    for _ in range(300):
        tokens = rng.normal(size=(count, 1, width)).astype(np.float32)
        rows = rng.integers(0, count, size).astype(np.int32)
        step(*(Tensor(part) for part in (tokens, np.ones(count, np.float32), rows)))
        drawn = tokens[rows, 0]
        restarts += int((quantizer.codebook_array().reshape(size, width) == drawn).all(1).sum())
    assert restarts < 300 * size * 2e-4
    assert quantization_error(quantizer, sample) < 1.02 * before


def test_an_unused_codeword_is_restarted(graph_mode: None) -> None:
    """Nothing is near to one of 64 codewords: it moves when chance does not explain that."""
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    quantizer = ProductQuantizer(QuantizerOptions(1, 64, 4))
    quantizer.fit(rng.normal(size=(2000, 1, 4)).astype(np.float32), 0, 32)
    books = quantizer.codebook_array().reshape(64, 4)
    books[7] = 100.0
    quantizer.codebooks.set_data(Tensor(books))
    sums = books * quantizer.ema_counts.asnumpy()[:, None]
    quantizer.ema_sums.set_data(Tensor(sums.astype(np.float32)))
    step, lasted = AssignAndUpdate(quantizer), 0
    while np.abs(quantizer.codebook_array()).max() > 50:
        tokens = rng.normal(size=(32, 1, 4)).astype(np.float32)
        rows = rng.integers(0, 32, 64).astype(np.int32)
        step(*(Tensor(part) for part in (tokens, np.ones(32, np.float32), rows)))
        lasted += 1
        assert lasted < 400
    assert lasted > 20  # ten tokens of the mean codeword


def test_kmeans_treats_every_sub_vector_alone_and_is_deterministic(tokens: np.ndarray) -> None:
    books, sizes = kmeans_codebooks(tokens[:, 0], M, N, seed=7)
    assert books.shape == (M, N, WIDTH)
    np.testing.assert_array_equal(sizes.sum(1), [Q, Q])
    again, _ = kmeans_codebooks(tokens[:, 0], M, N, seed=7)
    np.testing.assert_array_equal(books, again)
    other, _ = kmeans_codebooks(tokens[:, 0], M, N, seed=8)
    assert (books != other).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 3])
def test_kmeans_with_fewer_tokens_than_codewords_gives_distinct_codewords(
    count: int, tokens: np.ndarray
) -> None:
    books, _ = kmeans_codebooks(tokens[:count, 0], M, 8, seed=0)
    assert np.isfinite(books).all()
    for book in books:
        assert len(np.unique(book, axis=0)) == 8


@pytest.mark.filterwarnings("error")
def test_kmeans_of_equal_tokens_is_finite_and_near_them() -> None:
    books, _ = kmeans_codebooks(np.full((50, D), 3.0, np.float32), M, N, seed=0)
    np.testing.assert_allclose(books, 3.0, atol=1e-2)


def test_fit_starts_the_moving_average_at_the_clusters(books: np.ndarray, tokens: np.ndarray) -> None:
    quantizer = make_quantizer(np.zeros_like(books))
    quantizer.fit(tokens, seed=3)
    slots = len(books)
    found, sizes = kmeans_codebooks(tokens.reshape(-1, slots * D), slots * M, N, seed=3)
    found, sizes = found.reshape(books.shape), sizes.reshape(slots, M, N)
    moved, sums, counts = state_of(quantizer)
    np.testing.assert_array_equal(moved, found)
    np.testing.assert_array_equal(quantizer.codebook_array(), found)
    np.testing.assert_allclose(counts, sizes / (Q * K / slots / N), rtol=1e-6)
    np.testing.assert_allclose(sums, found * counts[..., None], rtol=1e-5)


@pytest.mark.parametrize("slots", [1, K])
def test_fit_on_as_many_sub_vectors_as_codewords_learns_each_in_its_place(
    slots: int, tokens: np.ndarray
) -> None:
    """Codebook m of slot k holds part m of the tokens k, and nothing of the others."""
    few = tokens[:4]
    size = 4 * K // slots
    quantizer = ProductQuantizer(QuantizerOptions(M, size, D, K, slots))
    quantizer.fit(few, seed=1)
    found = quantizer.codebook_array()
    for slot, book in np.ndindex(slots, M):
        parts = rows_of_tokens(few, slots)[:, slot, book * WIDTH : (book + 1) * WIDTH]
        words = found[slot, book]
        assert found.shape == (slots, M, size, WIDTH)
        np.testing.assert_allclose(words[np.argsort(words[:, 0])], parts[np.argsort(parts[:, 0])], atol=1e-5)
    np.testing.assert_array_equal(quantizer.ema_counts.asnumpy(), 1.0)
