"""Query encoders: NumPy references, causality, padding, empty histories, user features, dropout noise."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.model.encoders import HistoryEncoder
from sparcode.model.encoders.dnn import DNNEncoder
from sparcode.model.encoders.gru4rec import GRU4RecEncoder
from sparcode.model.encoders.sasrec import SASRecEncoder
from sparcode.model.layers import NoisyDropout
from sparcode.model.query_encoder import AttentionJoin, MLPJoin, QueryEncoder
from sparcode.types import FeatureSpec

S, L, D, HEADS = 5, 6, 8, 2
NAMES = ["dnn", "gru4rec", "sasrec"]
LENGTHS = [6, 3, 1, 4, 0]
"""Items of each history; the last one is empty."""


def make_encoder(name: str, length: int = L, layers: int = 2, dropout: float = 0.0) -> HistoryEncoder:
    ms.set_seed(4)
    if name == "dnn":
        return DNNEncoder(D, length, 7, layers)
    if name == "gru4rec":
        return GRU4RecEncoder(D, layers, dropout)
    return SASRecEncoder(D, length, layers, HEADS, 7, dropout)


class Both(nn.Cell):
    """States and last state, compiled together."""

    def __init__(self, encoder: HistoryEncoder) -> None:
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, items: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.encoder.states(items, mask, None)
        flat = self.encoder.output(states.reshape(-1, states.shape[-1]))
        return flat.reshape(states.shape), self.encoder.last(items, mask, None)


def histories(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors (S, L, D) and mask (S, L), right-aligned; padding holds vectors that must not count."""
    items = np.random.default_rng(seed).normal(size=(S, L, D)).astype(np.float32)
    mask = (np.arange(L)[None] >= L - np.array(LENGTHS)[:, None]).astype(np.float32)
    return items, mask


def run(encoder: HistoryEncoder, items: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    states, last = Both(encoder)(Tensor(items), Tensor(mask))
    return states.asnumpy(), last.asnumpy()


def dense(layer: nn.Dense, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.asnumpy().astype(np.float64).T + layer.bias.asnumpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(layer: nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * layer.gamma.asnumpy() + layer.beta.asnumpy()


def slow_dnn(encoder: DNNEncoder, items: np.ndarray) -> np.ndarray:
    """States (n, D) of one history without padding (n, D)."""
    states = []
    for position in range(len(items)):
        pooled = hidden = items[: position + 1].mean(0)
        for number, layer in enumerate(encoder.mlp.layers):
            hidden = dense(layer, hidden if number == 0 else np.maximum(hidden, 0))
        states.append(pooled + hidden)
    return np.array(states)


def slow_gru(encoder: GRU4RecEncoder, items: np.ndarray) -> np.ndarray:
    x = items
    for layer in encoder.layers:
        hidden, states = np.zeros(D), []
        for row in x:
            reset_in, update_in, new_in = np.split(dense(layer.from_input, row), 3)
            reset_own, update_own, new_own = np.split(dense(layer.from_hidden, hidden), 3)
            update = sigmoid(update_in + update_own)
            new = np.tanh(new_in + sigmoid(reset_in + reset_own) * new_own)
            hidden = (1 - update) * new + update * hidden
            states.append(hidden)
        x = np.array(states)
    return x


def slow_sasrec(encoder: SASRecEncoder, items: np.ndarray) -> np.ndarray:
    """The most recent item has the last position, however long the history is."""
    count = len(items)
    x = items + encoder.positions.asnumpy()[len(encoder.positions.asnumpy()) - count :]
    for block in encoder.blocks:
        normed = layer_norm(block.attention_norm, x)
        query, key, value = (dense(part, normed) for part in (block.query, block.key, block.value))
        mixed = np.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * D // HEADS, (head + 1) * D // HEADS)
            for position in range(count):
                logits = query[position, part] @ key[: position + 1, part].T / np.sqrt(D // HEADS)
                share = np.exp(logits - logits.max())
                mixed[position, part] = share / share.sum() @ value[: position + 1, part]
        x = x + dense(block.output, mixed)
        expanded = np.maximum(dense(block.expand, layer_norm(block.forward_norm, x)), 0)
        x = x + dense(block.contract, expanded)
    return layer_norm(encoder.final_norm, x)


SLOW: dict[str, Any] = {"dnn": slow_dnn, "gru4rec": slow_gru, "sasrec": slow_sasrec}


@pytest.mark.parametrize("name", NAMES)
def test_states_and_last_equal_the_reference(mode: str, name: str) -> None:
    encoder, (items, mask) = make_encoder(name), histories()
    states, last = run(encoder, items, mask)
    for row, count in enumerate(LENGTHS):
        if count:
            expected = SLOW[name](encoder, items[row, L - count :].astype(np.float64))
            np.testing.assert_allclose(states[row, L - count :], expected, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(last, states[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_future_changes_no_state(name: str) -> None:
    encoder, (items, mask) = make_encoder(name), histories()
    both = Both(encoder)
    before = both(Tensor(items), Tensor(mask))[0].asnumpy()
    for position in range(L - 1):
        changed = items.copy()
        changed[:, position + 1 :] *= -2.0
        after = both(Tensor(changed), Tensor(mask))[0].asnumpy()
        past = (mask > 0) & (np.arange(L) <= position)  # no query stands on padding
        np.testing.assert_allclose(after[past], before[past], atol=1e-5)
        assert np.abs(after[0, position + 1] - before[0, position + 1]).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_the_padding_does_not_matter(name: str) -> None:
    encoder, (items, mask) = make_encoder(name), histories()
    both = Both(encoder)
    changed = items + 7.0 * (1 - mask[..., None])
    before, after = (both(Tensor(part), Tensor(mask)) for part in (items, changed))
    real = np.array(LENGTHS) > 0
    np.testing.assert_allclose(before[1].asnumpy()[real], after[1].asnumpy()[real], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_longer_padding_gives_the_same_query_vector(name: str) -> None:
    """The same short history in a window of 6 and of 4, with positions counted from the most recent item."""
    items, mask = histories()
    long = make_encoder(name, L)
    short = make_encoder(name, 4)
    for mine, theirs in zip(short.get_parameters(), long.get_parameters(), strict=True):
        values = theirs.asnumpy()
        mine.set_data(Tensor(values[-4:] if "positions" in mine.name else values))
    fits = [row for row, count in enumerate(LENGTHS) if 0 < count <= 4]
    whole = run(long, items[fits], mask[fits])[1]
    cut = run(short, items[fits, 2:], mask[fits, 2:])[1]
    np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_history_is_finite(name: str) -> None:
    states, last = run(make_encoder(name), *histories())
    assert np.isfinite(states).all()
    assert np.isfinite(last).all()


# ---- dropout


def test_dropout_drops_below_the_threshold_and_scales_the_rest(mode: str) -> None:
    dropout = NoisyDropout(0.25)
    noise = np.array([[0, 63, 64, 255]], np.uint8)
    found = dropout(Tensor(np.full((1, 4), 3.0, np.float32)), Tensor(noise)).asnumpy()
    np.testing.assert_allclose(found, [[0, 0, 4, 4]], rtol=1e-6)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5])
def test_dropout_keeps_the_mean_over_all_noise_values(probability: float) -> None:
    noise = np.arange(256, dtype=np.uint8)
    found = NoisyDropout(probability)(Tensor(np.ones(256, np.float32)), Tensor(noise)).asnumpy()
    assert (found == 0).sum() == round(256 * probability)
    assert found.mean() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize(("name", "layers"), [("gru4rec", 2), ("sasrec", 5), ("dnn", 0)])
def test_encoders_ask_for_as_much_noise_as_they_use(name: str, layers: int) -> None:
    assert make_encoder(name, dropout=0.5).noise_layers == layers
    assert make_encoder(name, dropout=0.0).noise_layers == 0


@pytest.mark.parametrize("name", ["gru4rec", "sasrec"])
def test_every_layer_of_noise_changes_the_state(name: str) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    encoder = make_encoder(name, dropout=0.5)
    items, mask = (Tensor(part) for part in histories())
    keep = np.full((encoder.noise_layers, S, L, D), 255, np.uint8)
    base = encoder.states(items, mask, Tensor(keep)).asnumpy()
    for layer in range(encoder.noise_layers):
        noise = keep.copy()
        noise[layer, 0, -1, :3] = 0
        changed = encoder.states(items, mask, Tensor(noise)).asnumpy()
        assert np.abs(changed[0, -1] - base[0, -1]).max() > 1e-4
        np.testing.assert_allclose(changed[1:], base[1:], atol=1e-6)


# ---- user features and positions


class At(nn.Cell):
    """Query vectors at chosen positions and of whole histories."""

    def __init__(self, encoder: QueryEncoder) -> None:
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, items: Tensor, mask: Tensor, index: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.encoder.at(items, mask, rows, None, index),
            self.encoder.last(items, mask, rows, None),
        )


def make_query_encoder(specs: tuple[FeatureSpec, ...], attention: bool = False) -> QueryEncoder:
    join = AttentionJoin(D, 1, 7) if attention else MLPJoin(D, len(specs), 7)
    return QueryEncoder(make_encoder("dnn"), D, join if specs else None, specs)


@pytest.mark.parametrize("attention", [False, True], ids=["mlp", "attention"])
def test_a_query_at_the_last_position_is_the_query_of_the_whole_history(mode: str, attention: bool) -> None:
    specs = (FeatureSpec("age", "categorical", 4), FeatureSpec("profile", "dense", 3, 3))
    cell = At(make_query_encoder(specs, attention))
    items, mask = histories()
    index = np.array([row * L + L - 1 for row in range(S)], np.int32)
    age = np.array([1, 2, 3, 0, 1], np.int32)
    profile = np.random.default_rng(1).normal(size=(S, 3)).astype(np.float32)
    parts = [Tensor(part) for part in (items, mask, index, age, profile)]
    chosen, whole = (part.asnumpy() for part in cell(*parts))
    np.testing.assert_allclose(chosen, whole, rtol=1e-4, atol=1e-5)


def test_user_features_of_the_own_row_change_the_query_and_others_do_not() -> None:
    cell = At(make_query_encoder((FeatureSpec("age", "categorical", 4),)))
    items, mask = histories()
    index = np.array([5, 11, 10], np.int32)  # histories 0, 1, 1
    before, after = (
        cell(*(Tensor(part) for part in (items, mask, index, np.array(age, np.int32))))[0].asnumpy()
        for age in ([1, 2, 3, 0, 1], [1, 3, 1, 2, 2])
    )
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1:] - after[1:]).min(0).max() > 1e-4


def test_attention_treats_features_alike_and_lets_each_see_the_others(mode: str) -> None:
    join = AttentionJoin(D, 1, 7)
    parts = np.random.default_rng(3).normal(size=(4, 5, D)).astype(np.float32)
    joined, turned, other = (
        join(Tensor(np.ascontiguousarray(given))).asnumpy()
        for given in (parts, parts[:, ::-1], parts * np.array([1, -2, 1, 1, 1], np.float32)[:, None])
    )
    assert joined.shape == (4, D)
    np.testing.assert_allclose(joined, turned, rtol=1e-4, atol=1e-5)
    assert np.abs(joined - other).max() > 1e-3


def test_without_features_the_state_is_the_query() -> None:
    encoder = make_query_encoder(())
    items, mask = (Tensor(part) for part in histories())
    ms.set_context(mode=ms.PYNATIVE_MODE)
    queries = encoder.last(items, mask, (), None).asnumpy()
    np.testing.assert_array_equal(queries, encoder.history.last(items, mask, None).asnumpy())
