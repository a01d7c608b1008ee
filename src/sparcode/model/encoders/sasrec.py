"""SASRec encoder (Kang and McAuley, ICDM 2018): causal self-attention over the history."""

from __future__ import annotations

from typing import Literal

from mindspore import Tensor, nn, ops
from pydantic import Field

from sparcode.config.model_schema import EncoderOptions
from sparcode.config.section import Fraction, Positive
from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.layers import NEGATIVE, LayerNorm, NoisyDropout, causal_mask, embedding_table

NOISE_PER_BLOCK = 2

pair_products = ops.BatchMatMul(transpose_b=True)
"""(..., L, w), (..., L, w) -> (..., L, L); its gradient, unlike that of ``ops.matmul``, makes no copies."""

weighted_sums = ops.BatchMatMul()
"""(..., L, L), (..., L, w) -> (..., L, w)."""


class AttentionBlock(nn.Cell):
    """Pre-norm causal self-attention and feed-forward block: (S, L, d) -> (S, L, d)."""

    def __init__(self, width: int, num_heads: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_width = width // num_heads
        self.scale = self.head_width**-0.5
        self.attention_norm = LayerNorm(width)
        self.query = nn.Dense(width, width)
        self.key = nn.Dense(width, width)
        self.value = nn.Dense(width, width)
        self.output = nn.Dense(width, width)
        self.forward_norm = LayerNorm(width)
        self.expand = nn.Dense(width, hidden_size)
        self.contract = nn.Dense(hidden_size, width)
        self.dropout = NoisyDropout(dropout)

    def _heads(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        return x.reshape(rows, length, self.num_heads, self.head_width).transpose(0, 2, 1, 3)

    def _attend(self, x: Tensor, additive_mask: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        query, key, value = (
            self._heads(self.query(normed)),
            self._heads(self.key(normed)),
            self._heads(self.value(normed)),
        )
        logits = pair_products(query, key) * self.scale + additive_mask  # (S, heads, L, L)
        mixed = weighted_sums(ops.softmax(logits, -1), value)  # (S, heads, L, d/heads)
        return self.output(mixed.transpose(0, 2, 1, 3).reshape(x.shape))

    def construct(self, x: Tensor, additive_mask: Tensor, noise: tuple[Tensor, ...]) -> Tensor:
        """(S, L, d), mask added to logits (S, heads, L, L), noise 2 x (S, L, d) or () -> (S, L, d)."""
        attended = self._attend(x, additive_mask)
        if noise:
            attended = self.dropout(attended, noise[0])
        x = x + attended
        expanded = self.contract(ops.relu(self.expand(self.forward_norm(x))))
        if noise:
            expanded = self.dropout(expanded, noise[1])
        return x + expanded


class SASRecOptions(EncoderOptions):
    """Causal self-attention over the history."""

    name: Literal["sasrec"] = "sasrec"
    num_layers: Positive = Field(1, description="hidden layers, recurrent layers or attention blocks")
    dropout: Fraction = Field(0.0, description="dropout probability, in steps of 1/256")

    @property
    def attends(self) -> bool:
        """Its width is divided into heads."""
        return True


class SASRecEncoder(HistoryEncoder):
    """Learned positions (counted from the most recent item), attention blocks, final layer norm.

    Args:
        width: embedding width d, divisible by num_heads.
        length: history length L.
        num_layers: attention blocks.
        num_heads: attention heads.
        hidden_size: width of the feed-forward layer.
        dropout: dropout probability.
    """

    def __init__(
        self, width: int, length: int, num_layers: int, num_heads: int, hidden_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.positions = embedding_table(length, width, "positions", std=0.02)
        self.blocks = nn.CellList(
            [AttentionBlock(width, num_heads, hidden_size, dropout) for _ in range(num_layers)]
        )
        self.final_norm = LayerNorm(width)
        self.dropout = NoisyDropout(dropout)
        self.causal = causal_mask(length)
        self.noise_layers = 1 + NOISE_PER_BLOCK * num_layers if dropout > 0 else 0

    def states(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """(S, L, d), mask (S, L), noise (layers, S, L, d) or None -> states (S, L, d)."""
        x = items + self.positions
        layers = () if noise is None else ops.unstack(noise, axis=0)  # slices take seven times as long on CPU
        if layers:
            x = self.dropout(x, layers[0])
        padding = (1.0 - ops.expand_dims(ops.expand_dims(mask, 1), 1)) * NEGATIVE  # (S, 1, 1, L)
        additive_mask = self.causal + padding
        for number, block in enumerate(self.blocks):
            first = 1 + NOISE_PER_BLOCK * number
            x = block(x, additive_mask, layers[first : first + NOISE_PER_BLOCK])
        return x

    def output(self, states: Tensor) -> Tensor:
        """States (N, d) -> query vectors (N, d), through the last layer norm."""
        return self.final_norm(states)


def build(options: SASRecOptions, width: int, length: int) -> SASRecEncoder:
    """The encoder of item vectors of a width and histories of a length."""
    return SASRecEncoder(
        width, length, options.num_layers, options.num_heads, options.hidden_size, options.dropout
    )
