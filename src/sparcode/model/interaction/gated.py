"""Dot product plus a gated MLP."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from sparcode.model.interaction.base import InteractionScorer, relu_sum
from sparcode.model.layers import added_tokens, dot_products
from sparcode.model.pair_kernels import PairKernel


class GatedScorer(InteractionScorer):
    """E(z, i) = <z, v> + sum_h g_h(z) w_h(z) MLP_h(z, i), with a gate g(z) = sigmoid(G z) in (0, 1)^H.

    The dot product with the item vector v carries the bulk of the match, as in a two-tower model; the gated
    MLP adds what a dot product cannot express, and each token decides with its gate g and its output
    weights w how much of it.

    Args:
        width: width d of a token and of an item token.
        num_item_tokens: K_i.
        hidden_size: width H of the MLP.
        num_layers: hidden layers of the MLP.
    """

    def __init__(self, width: int, num_item_tokens: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.width = self.dot_width = width
        self.item_size = num_item_tokens * width
        self.hidden_size = hidden_size
        self.from_token = nn.Dense(width, hidden_size)
        self.from_item = nn.Dense(self.item_size, hidden_size, has_bias=False)
        self.gate = nn.Dense(width, hidden_size)
        # zero at the start: training begins with the dot product alone
        self.output = nn.Dense(width, hidden_size, weight_init="zeros", bias_init="zeros")
        self.deeper = nn.CellList([nn.Dense(hidden_size, hidden_size) for _ in range(num_layers - 1)])

    def pair_kernel(self) -> PairKernel | None:
        return None if len(self.deeper) else PairKernel(self.width, self.hidden_size)

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., d + 2 H): token, first layer, gated output weights."""
        weights = ops.sigmoid(self.gate(tokens)) * self.output(tokens)
        return ops.concat((tokens, self.from_token(tokens), weights), -1)

    def item_part(self, item_tokens: Tensor) -> Tensor:
        """(C, K_i, d) -> (C, d + H): item vector, first layer."""
        flat = item_tokens.reshape(-1, self.item_size)
        return ops.concat((added_tokens(item_tokens), self.from_item(flat)), -1)

    def _interaction(self, hidden: Tensor, weights: Tensor) -> Tensor:
        hidden = ops.relu(hidden)
        for layer in self.deeper:
            hidden = ops.relu(layer(hidden))
        return (hidden * weights).sum(-1)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        d, h = self.width, self.hidden_size
        token_dot, token_hidden, weights = ops.split(token_parts, [d, h, h], -1)
        item_dot, item_hidden = ops.split(item_parts, [d, h], -1)
        dot = (token_dot * item_dot).sum(-1)
        return dot + self._interaction(token_hidden + item_hidden, weights)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        d, h = self.width, self.hidden_size
        token_dot, token_hidden, weights = ops.split(token_parts, [d, h, h], -1)
        item_dot, item_hidden = ops.split(item_parts, [d, h], -1)
        dot = dot_products(token_dot, item_dot)  # (T, C)
        if len(self.deeper) == 0:
            return dot + relu_sum(token_hidden, item_hidden, weights)
        hidden = ops.expand_dims(token_hidden, 1) + ops.expand_dims(item_hidden, 0)  # (T, C, H)
        return dot + self._interaction(hidden, ops.expand_dims(weights, 1))
