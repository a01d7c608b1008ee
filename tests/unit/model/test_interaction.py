"""Interaction scorers: cross, aligned and combine equal a NumPy reference, forward and backward."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.model.interaction import (
    AttentionScorer,
    DotScorer,
    GatedScorer,
    InteractionScorer,
    LowRankScorer,
    MLPScorer,
)
from sparcode.model.interaction.base import relu_sum

D, H, HEADS = 4, 6, 2
QUERIES, TOKENS, ITEMS = 3, 2, 3

CASES = [
    ("dot", 1, 1),
    ("dot", 1, 3),
    ("low_rank", 1, 1),
    ("low_rank", 1, 3),
    *[(kind, layers, count) for kind in ("mlp", "gated") for layers in (1, 2) for count in (1, 3)],
    ("attention", 1, 1),
    ("attention", 1, 3),
]


def make_scorer(kind: str, layers: int, count: int) -> InteractionScorer:
    if kind == "dot":
        return DotScorer(D)
    if kind == "low_rank":
        return _with_output(LowRankScorer(D, count, H))
    if kind == "mlp":
        return MLPScorer(D, count * D, H, layers)
    if kind == "gated":
        return _with_output(GatedScorer(D, count, H, layers))
    return AttentionScorer(D, D, count, H, HEADS)


def _with_output(scorer: GatedScorer | LowRankScorer) -> InteractionScorer:
    """Output weights that count: they start at zero."""
    rng = np.random.default_rng(9)
    layer = scorer.output if isinstance(scorer, GatedScorer) else scorer.item_output
    for parameter in layer.get_parameters():
        parameter.set_data(Tensor(rng.normal(size=parameter.shape).astype(np.float32)))
    return scorer


class All(nn.Cell):
    """Every form of a scorer on the same inputs, so that one graph is compiled."""

    def __init__(self, scorer: InteractionScorer) -> None:
        super().__init__(auto_prefix=False)
        self.scorer = scorer

    def construct(self, tokens: Tensor, item_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        token_parts = self.scorer.token_part(tokens)  # (Q, K_u, P_t)
        item_parts = self.scorer.item_part(item_tokens)  # (C, P_i)
        flat = token_parts.reshape(-1, token_parts.shape[-1])
        return (
            self.scorer.cross(flat, item_parts),
            self.scorer.aligned(token_parts, item_parts),
            self.scorer.combine(flat[:3], item_parts),
        )


class Total(nn.Cell):
    """A weighted sum of all pair scores, to compare the gradients of the two formulas."""

    def __init__(self, scorer: InteractionScorer, fast: bool) -> None:
        super().__init__(auto_prefix=False)
        self.scorer, self.fast = scorer, fast

    def construct(self, tokens: Tensor, item_tokens: Tensor, slope: Tensor) -> Tensor:
        token_parts, item_parts = self.scorer.token_part(tokens), self.scorer.item_part(item_tokens)
        if self.fast:
            scores = self.scorer.cross(token_parts, item_parts)
        else:
            scores = self.scorer.combine(token_parts.expand_dims(1), item_parts.expand_dims(0))
        return (scores * slope).sum()


class ReluSum(nn.Cell):
    def construct(self, tokens: Tensor, items: Tensor, weights: Tensor) -> Tensor:
        return relu_sum(tokens, items, weights)


def dense(layer: nn.Dense, x: np.ndarray) -> np.ndarray:
    product = x @ layer.weight.asnumpy().astype(np.float64).T
    return product + layer.bias.asnumpy() if layer.has_bias else product


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def reference(scorer: InteractionScorer, token: np.ndarray, item_tokens: np.ndarray) -> float:
    """Score of one token (d,) and one item (K_i, d), from the definition."""
    if isinstance(scorer, LowRankScorer):
        return _low_rank(scorer, token, item_tokens)
    if isinstance(scorer, DotScorer):
        return float(token @ item_tokens.sum(0))
    if isinstance(scorer, MLPScorer):
        return _mlp(scorer, token, item_tokens)
    if isinstance(scorer, GatedScorer):
        return _gated(scorer, token, item_tokens)
    assert isinstance(scorer, AttentionScorer)
    return _attention(scorer, token, item_tokens)


def _low_rank(scorer: LowRankScorer, token: np.ndarray, item_tokens: np.ndarray) -> float:
    phi = relu(dense(scorer.token_hidden, token))
    psi = dense(scorer.item_output, relu(dense(scorer.item_hidden, item_tokens.ravel())))
    return float(token @ item_tokens.sum(0) + phi @ psi)


def _mlp(scorer: MLPScorer, token: np.ndarray, item_tokens: np.ndarray) -> float:
    first = np.concatenate([scorer.from_token.weight.asnumpy(), scorer.from_item.weight.asnumpy()], 1)
    hidden = relu(first @ np.concatenate([token, item_tokens.ravel()]) + scorer.from_token.bias.asnumpy())
    for layer in scorer.deeper:
        hidden = relu(dense(layer, hidden))
    return float(dense(scorer.output, hidden)[0])


def _gated(scorer: GatedScorer, token: np.ndarray, item_tokens: np.ndarray) -> float:
    flat = item_tokens.ravel()
    hidden = relu(dense(scorer.from_token, token) + dense(scorer.from_item, flat))
    for layer in scorer.deeper:
        hidden = relu(dense(layer, hidden))
    gate = 1 / (1 + np.exp(-dense(scorer.gate, token)))
    weights = dense(scorer.output, token)
    return float(token @ item_tokens.sum(0) + (gate * weights * hidden).sum())


def _attention(scorer: AttentionScorer, token: np.ndarray, item_tokens: np.ndarray) -> float:
    rows = [dense(scorer.token_entry, token)]
    rows += [dense(layer, row) for layer, row in zip(scorer.item_entry, item_tokens, strict=True)]
    entries = np.stack(rows)  # (1 + K_i, H)
    query, key, value = np.split(dense(scorer.query_key_value, entries), 3, axis=1)
    mixed = np.zeros_like(entries)
    for head in range(HEADS):
        part = slice(head * H // HEADS, (head + 1) * H // HEADS)
        logits = query[:, part] @ key[:, part].T / np.sqrt(H // HEADS)
        share = np.exp(logits - logits.max(1, keepdims=True))
        mixed[:, part] = share / share.sum(1, keepdims=True) @ value[:, part]
    return float(dense(scorer.output, relu(entries + mixed).mean(0))[0])


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(QUERIES, TOKENS, D)).astype(np.float32)
    return tokens, rng.normal(size=(ITEMS, count, D)).astype(np.float32)


@pytest.mark.parametrize(("kind", "layers", "count"), CASES)
def test_all_forms_equal_the_reference(mode: str, kind: str, layers: int, count: int) -> None:
    ms.set_seed(2)
    scorer = make_scorer(kind, layers, count)
    tokens, items = inputs(count)
    cross, aligned, combined = (part.asnumpy() for part in All(scorer)(Tensor(tokens), Tensor(items)))
    flat = tokens.reshape(-1, D)
    expected = np.array([[reference(scorer, token, item) for item in items] for token in flat])
    np.testing.assert_allclose(cross, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(combined, expected[[0, 1, 2], [0, 1, 2]], rtol=1e-4, atol=1e-5)
    own = np.array([[expected[q * TOKENS + k, q] for k in range(TOKENS)] for q in range(QUERIES)])
    np.testing.assert_allclose(aligned, own, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("kind", ["mlp", "gated"])
def test_the_fast_formula_has_the_gradients_of_the_plain_one(kind: str) -> None:
    ms.set_seed(2)
    scorer = make_scorer(kind, 1, 2)
    tokens, items = inputs(2)
    slope = np.random.default_rng(1).normal(size=(QUERIES * TOKENS, ITEMS)).astype(np.float32)
    arguments = [Tensor(part) for part in (tokens.reshape(-1, D), items, slope)]
    results = []
    for fast in (True, False):
        total = Total(scorer, fast)
        results.append(ms.grad(total, (0, 1), scorer.trainable_params())(*arguments))
    for one, other in zip(*results, strict=True):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "scorer", [GatedScorer(D, 3, H, 1), GatedScorer(D, 3, H, 2), LowRankScorer(D, 3, H)], ids=str
)
def test_some_untrained_scorers_are_the_dot_product(scorer: InteractionScorer) -> None:
    tokens, items = inputs(3)
    parts = [Tensor(part) for part in (tokens, items)]
    for gated, dot in zip(All(scorer)(*parts), All(DotScorer(D))(*parts), strict=True):
        np.testing.assert_allclose(gated.asnumpy(), dot.asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 4])
def test_relu_sum_is_the_sum_over_hidden_units(mode: str, rows: int) -> None:
    rng = np.random.default_rng(3)
    tokens, items = rng.normal(size=(4, H)), rng.normal(size=(5, H))
    weights = rng.normal(size=(rows, H))
    found = ReluSum()(*(Tensor(part.astype(np.float32)) for part in (tokens, items, weights))).asnumpy()
    hidden = relu(tokens[:, None] + items[None])
    expected = np.einsum("tch,th->tc", hidden, np.broadcast_to(weights, (4, H)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
