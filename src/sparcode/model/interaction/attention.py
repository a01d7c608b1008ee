"""Self-attention over the token and the item's feature tokens."""

from __future__ import annotations

from typing import Literal

from mindspore import Tensor, nn, ops
from pydantic import Field, model_validator
from typing_extensions import Self

from sparcode.config.model_schema import ScorerOptions
from sparcode.config.section import Positive
from sparcode.model.interaction.base import InteractionScorer
from sparcode.model.layers import dot_products


class AttentionOptions(ScorerOptions):
    """Self-attention over the token and the item's id and features."""

    name: Literal["attention"] = "attention"
    hidden_size: Positive = Field(32, description="width of the hidden layers")
    num_heads: Positive = Field(2, description="attention heads")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"model.scorer.hidden_size ({self.hidden_size}) must be divisible by "
                f"model.scorer.num_heads ({self.num_heads})"
            )
        return self


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the last axis, kept as an axis of length one."""
    return (a * b).sum(-1, keepdims=True)


def _attend(logits: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> Tensor:
    """Softmax-weighted mean of values (..., w); every logit is (..., 1) and may broadcast."""
    top = logits[0]
    for logit in logits[1:]:
        top = ops.maximum(top, logit)
    weight = ops.exp(logits[0] - top)
    total = weight
    mixed = weight * values[0]
    for logit, value in zip(logits[1:], values[1:]):
        weight = ops.exp(logit - top)
        total = total + weight
        mixed = mixed + weight * value
    return mixed / total


class AttentionScorer(InteractionScorer):
    """One self-attention layer over [token, item tokens], residual, ReLU, mean, linear output.

    Entries, queries, keys and values of either side are computed once per token and once per item; only
    the mixing is done per pair.

    Args:
        width: width d of a token and of an item token.
        num_item_tokens: K_i.
        hidden_size: width H of the entries, divisible by num_heads.
        num_heads: attention heads.
    """

    def __init__(self, width: int, num_item_tokens: int, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_item_tokens = num_item_tokens
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.head_width = hidden_size // num_heads
        self.scale = self.head_width**-0.5
        self.token_entry = nn.Dense(width, hidden_size)
        self.item_entry = nn.CellList([nn.Dense(width, hidden_size) for _ in range(num_item_tokens)])
        self.query_key_value = nn.Dense(hidden_size, 3 * hidden_size)
        self.output = nn.Dense(hidden_size, 1)

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., 4 H): entry, query, key, value."""
        entry = self.token_entry(tokens)
        return ops.concat((entry, self.query_key_value(entry)), -1)

    def item_part(self, vectors: Tensor, tokens: tuple[Tensor, ...]) -> Tensor:
        """K_i times (C, d) -> (C, K_i * 4 H): entry, query, key, value of each item token, as embedded."""
        parts: tuple[Tensor, ...] = ()
        for number, layer in enumerate(self.item_entry):
            entry = layer(tokens[number])
            parts = (*parts, entry, self.query_key_value(entry))
        return ops.concat(parts, -1)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(..., 4 H), (..., K_i * 4 H), broadcast against each other -> scores (...)."""
        pieces = ops.split(token_parts, self.hidden_size, -1)
        item_pieces = ops.split(item_parts, self.hidden_size, -1)
        rows = 1 + self.num_item_tokens
        entries: tuple[Tensor, ...] = (pieces[0],)
        queries: tuple[Tensor, ...] = (pieces[1],)
        keys: tuple[Tensor, ...] = (pieces[2],)
        values: tuple[Tensor, ...] = (pieces[3],)
        for number in range(self.num_item_tokens):
            first = 4 * number
            entries = (*entries, item_pieces[first])
            queries = (*queries, item_pieces[first + 1])
            keys = (*keys, item_pieces[first + 2])
            values = (*values, item_pieces[first + 3])
        pooled = ops.relu(entries[0] + self._mix(queries[0], keys, values))
        for row in range(1, rows):
            pooled = pooled + ops.relu(entries[row] + self._mix(queries[row], keys, values))
        return self.output(pooled * (1.0 / rows)).squeeze(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(T, 4 H), (C, K_i * 4 H) -> (T, C), one hidden unit at a time.

        Logits between the token and the items are matrix products, and those between two item tokens depend
        on the item alone. What remains for each pair are sums of (T, C) planes, which stay in the cache.
        """
        pieces = ops.split(token_parts, self.hidden_size, 1)
        item_pieces = ops.split(item_parts, self.hidden_size, 1)
        entries: tuple[Tensor, ...] = (ops.expand_dims(pieces[0].transpose(1, 0), 2),)  # (H, T, 1)
        values: tuple[Tensor, ...] = (ops.expand_dims(pieces[3].transpose(1, 0), 2),)
        queries: tuple[Tensor, ...] = (pieces[1],)
        keys: tuple[Tensor, ...] = (pieces[2],)
        for number in range(self.num_item_tokens):
            first = 4 * number
            entries = (*entries, ops.expand_dims(item_pieces[first].transpose(1, 0), 1))  # (H, 1, C)
            queries = (*queries, item_pieces[first + 1])
            keys = (*keys, item_pieces[first + 2])
            values = (*values, ops.expand_dims(item_pieces[first + 3].transpose(1, 0), 1))
        weights = ops.unstack(self.output.weight.reshape(-1) * (1.0 / len(entries)), axis=0)
        rows: tuple[tuple[Tensor, ...], ...] = ()
        for stack in entries:
            rows = (*rows, ops.unstack(stack, axis=0))
        columns: tuple[tuple[Tensor, ...], ...] = ()
        for stack in values:
            columns = (*columns, ops.unstack(stack, axis=0))
        total = self.output.bias
        for head in range(self.num_heads):
            begin = head * self.head_width
            for row in range(len(entries)):
                shares = self._shares(queries, keys, row, begin)
                for unit in range(begin, begin + self.head_width):
                    mixed = rows[row][unit]
                    for column in range(len(entries)):
                        mixed = mixed + shares[column] * columns[column][unit]
                    total = total + ops.relu(mixed) * weights[unit]
        return total

    def _shares(
        self, queries: tuple[Tensor, ...], keys: tuple[Tensor, ...], row: int, begin: int
    ) -> tuple[Tensor, ...]:
        """How much a row attends to each of the 1 + K_i rows, in the head that begins at a hidden unit.

        Row 0 is the token, (T, H), the others are item tokens, (C, H). Returns planes (T, C).
        """
        end = begin + self.head_width
        query = queries[row][:, begin:end] * self.scale
        logits: tuple[Tensor, ...] = ()
        for column in range(len(keys)):
            key = keys[column][:, begin:end]
            if row == 0 and column == 0:
                logits = (*logits, (query * key).sum(1, keepdims=True))  # (T, 1)
            elif row == 0:
                logits = (*logits, dot_products(query, key))  # (T, C)
            elif column == 0:
                logits = (*logits, dot_products(key, query))  # (T, C)
            else:
                logits = (*logits, ops.expand_dims((query * key).sum(1), 0))  # (1, C)
        top = logits[0]
        for logit in logits[1:]:
            top = ops.maximum(top, logit)
        raised: tuple[Tensor, ...] = ()
        for logit in logits:
            raised = (*raised, ops.exp(logit - top))
        total = raised[0]
        for plane in raised[1:]:
            total = total + plane
        shares: tuple[Tensor, ...] = ()
        for plane in raised:
            shares = (*shares, plane / total)
        return shares

    def _mix(self, query: Tensor, keys: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> Tensor:
        """Attention output (..., H) of one row, head by head."""
        heads: tuple[Tensor, ...] = ()
        query_heads = ops.split(query * self.scale, self.head_width, -1)
        key_heads: tuple[tuple[Tensor, ...], ...] = ()
        value_heads: tuple[tuple[Tensor, ...], ...] = ()
        for key, value in zip(keys, values):
            key_heads = (*key_heads, ops.split(key, self.head_width, -1))
            value_heads = (*value_heads, ops.split(value, self.head_width, -1))
        for head in range(self.num_heads):
            logits: tuple[Tensor, ...] = ()
            picked: tuple[Tensor, ...] = ()
            for key, value in zip(key_heads, value_heads):
                logits = (*logits, _dot(query_heads[head], key[head]))
                picked = (*picked, value[head])
            heads = (*heads, _attend(logits, picked))
        return ops.concat(heads, -1)


def build(options: AttentionOptions, width: int, num_item_tokens: int) -> AttentionScorer:
    """The scorer of tokens of a width and items of so many tokens."""
    return AttentionScorer(width, num_item_tokens, options.hidden_size, options.num_heads)
