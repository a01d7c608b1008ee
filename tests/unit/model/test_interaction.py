"""Interaction scorers: cross, aligned and combine equal a NumPy reference, forward and backward."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from sparcode.model.interaction import InteractionScorer
from sparcode.model.interaction.attention import AttentionScorer
from sparcode.model.interaction.dot import DotScorer
from sparcode.model.interaction.mlp import MLPScorer, ReluSum

D, H, HEADS = 4, 6, 2
QUERIES, TOKENS, ITEMS = 3, 2, 3

CASES = [
    ("dot", 1, 1),
    ("mlp", 1, 3),
    ("mlp", 2, 3),
    ("attention", 1, 1),
    ("attention", 1, 3),
]


def make_scorer(kind: str, layers: int, count: int) -> InteractionScorer:
    if kind == "dot":
        return DotScorer(D)
    if kind == "mlp":
        return MLPScorer(D, H, layers)
    return AttentionScorer(D, count, H, HEADS)


class All(nn.Cell):
    """Every form of a scorer on the same inputs, so that one graph is compiled."""

    def __init__(self, scorer: InteractionScorer) -> None:
        super().__init__(auto_prefix=False)
        self.scorer = scorer

    def construct(
        self, tokens: Tensor, vectors: Tensor, *item_tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        token_parts = self.scorer.token_part(tokens)  # (Q, K_u, P_t)
        item_parts = self.scorer.item_part(vectors, item_tokens)  # (C, P_i)
        flat = token_parts.reshape(-1, token_parts.shape[-1])
        return (
            self.scorer.cross(flat, item_parts),
            self.scorer.aligned(token_parts, item_parts),
            self.scorer.combine(flat[:3], item_parts),
        )


class Total(nn.Cell):
    """A weighted sum of all sums of ReLUs, by the cell under test or by the definition."""

    def __init__(self, fast: bool) -> None:
        super().__init__()
        self.fast, self.cell = fast, ReluSum()

    def construct(self, tokens: Tensor, items: Tensor, weights: Tensor, slope: Tensor) -> Tensor:
        if self.fast:
            return (self.cell(tokens, items, weights) * slope).sum()
        hidden = ops.relu(tokens.expand_dims(2) + items.expand_dims(1))  # (H, T, C)
        return ((hidden * weights.reshape(-1, 1, 1)).sum(0) * slope).sum()


def dense(layer: nn.Dense, x: np.ndarray) -> np.ndarray:
    product = x @ layer.weight.asnumpy().astype(np.float64).T
    return product + layer.bias.asnumpy() if layer.has_bias else product


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def reference(scorer: InteractionScorer, token: np.ndarray, item: list[np.ndarray]) -> float:
    """Score of one token (d,) and one item, its vector (d,) and its tokens (d,), from the definition."""
    if isinstance(scorer, DotScorer):
        return float(token @ item[0])
    if isinstance(scorer, MLPScorer):
        return _mlp(scorer, token, item[0])
    assert isinstance(scorer, AttentionScorer)
    return _attention(scorer, token, item[1:])


def _mlp(scorer: MLPScorer, token: np.ndarray, vector: np.ndarray) -> float:
    first = np.concatenate([scorer.from_token.weight.asnumpy(), scorer.from_item.weight.asnumpy()], 1)
    hidden = relu(first @ np.concatenate([token, vector]) + scorer.from_token.bias.asnumpy())
    for layer in scorer.deeper:
        hidden = relu(dense(layer, hidden))
    return float(dense(scorer.output, hidden)[0])


def _attention(scorer: AttentionScorer, token: np.ndarray, item_tokens: list[np.ndarray]) -> float:
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


def inputs(count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Tokens (Q, K_u, d); item vectors (C, d) and ``count`` times item tokens (C, d), drawn independently."""
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(QUERIES, TOKENS, D)).astype(np.float32)
    return tokens, list(rng.normal(size=(1 + count, ITEMS, D)).astype(np.float32))


@pytest.mark.parametrize(("kind", "layers", "count"), CASES)
def test_all_forms_equal_the_reference(mode: str, kind: str, layers: int, count: int) -> None:
    ms.set_seed(2)
    scorer = make_scorer(kind, layers, count)
    tokens, items = inputs(count)
    cross, aligned, combined = (
        part.asnumpy() for part in All(scorer)(Tensor(tokens), *(Tensor(part) for part in items))
    )
    flat = tokens.reshape(-1, D)
    expected = np.array(
        [[reference(scorer, token, [part[c] for part in items]) for c in range(ITEMS)] for token in flat]
    )
    np.testing.assert_allclose(cross, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(combined, expected[[0, 1, 2], [0, 1, 2]], rtol=1e-4, atol=1e-5)
    own = np.array([[expected[q * TOKENS + k, q] for k in range(TOKENS)] for q in range(QUERIES)])
    np.testing.assert_allclose(aligned, own, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-3


def test_sums_of_relus_and_their_gradients_follow_the_definition(mode: str) -> None:
    rng = np.random.default_rng(3)
    shapes = [(H, 4), (H, 5), (H,), (4, 5)]
    arguments = [Tensor(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    fast, plain = (ms.value_and_grad(Total(which), (0, 1, 2))(*arguments) for which in (True, False))
    np.testing.assert_allclose(fast[0].asnumpy(), plain[0].asnumpy(), rtol=1e-5)
    for mine, theirs in zip(fast[1], plain[1], strict=True):
        np.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=1e-4, atol=1e-5)
        assert np.abs(theirs.asnumpy()).max() > 0.1
