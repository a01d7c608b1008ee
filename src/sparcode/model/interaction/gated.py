"""Dot product plus a gated MLP."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from sparcode.model.interaction.base import InteractionScorer, relu_sum
from sparcode.model.layers import shared_subspace


class GatedScorer(InteractionScorer):
    """E(z, i) = <P z, Q v> + sum_h g_h(z) w_h(z) MLP_h(z, v), with a gate g(z) = sigmoid(G z) in (0, 1)^H.

    The dot product carries the bulk of the match, as in a two-tower model; the gated MLP adds what a dot
    product cannot express, and each token decides with its gate g and its output weights w how much of it.

    Args:
        token_size: D.
        item_size: width of all item tokens together, K_i * d.
        dot_size: width of the dot product.
        hidden_size: width H of the MLP.
        num_layers: hidden layers of the MLP.
    """

    def __init__(
        self, token_size: int, item_size: int, dot_size: int, hidden_size: int, num_layers: int
    ) -> None:
        super().__init__()
        self.item_size = item_size
        self.dot_size = dot_size
        self.hidden_size = hidden_size
        self.token_dot = nn.Dense(token_size, dot_size)
        self.item_dot = nn.Dense(item_size, dot_size)
        self.from_token = nn.Dense(token_size, hidden_size)
        self.from_item = nn.Dense(item_size, hidden_size, has_bias=False)
        self.gate = nn.Dense(token_size, hidden_size)
        self.output = nn.Dense(hidden_size, hidden_size)
        self.deeper = nn.CellList([nn.Dense(hidden_size, hidden_size) for _ in range(num_layers - 1)])
        self._start_aligned(token_size)

    def _start_aligned(self, token_size: int) -> None:
        """Start the dot product as that of a two-tower model; see ``shared_subspace``."""
        copies, rest = divmod(self.item_size, self.dot_size)
        if rest:
            return
        identity = np.tile(np.eye(self.dot_size, dtype=np.float32), (1, copies))
        self.item_dot.weight.set_data(Tensor(identity))
        self.item_dot.bias.set_data(Tensor(np.zeros(self.dot_size, np.float32)))
        lift = shared_subspace(self.dot_size, token_size).T
        self.token_dot.weight.set_data(Tensor(np.ascontiguousarray(lift)))

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., dot_size + 2 H): projected token, first layer, gated output weights."""
        hidden = self.from_token(tokens)
        weights = ops.sigmoid(self.gate(tokens)) * self.output(ops.relu(hidden))
        return ops.concat((self.token_dot(tokens), hidden, weights), -1)

    def item_part(self, item_tokens: Tensor) -> Tensor:
        """(C, K_i, d) -> (C, dot_size + H): projected item, first layer."""
        flat = item_tokens.reshape(-1, self.item_size)
        return ops.concat((self.item_dot(flat), self.from_item(flat)), -1)

    def _interaction(self, hidden: Tensor, weights: Tensor) -> Tensor:
        hidden = ops.relu(hidden)
        for layer in self.deeper:
            hidden = ops.relu(layer(hidden))
        return (hidden * weights).sum(-1)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        d, h = self.dot_size, self.hidden_size
        token_dot, token_hidden, weights = ops.split(token_parts, [d, h, h], -1)
        item_dot, item_hidden = ops.split(item_parts, [d, h], -1)
        dot = (token_dot * item_dot).sum(-1)
        return dot + self._interaction(token_hidden + item_hidden, weights)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        d, h = self.dot_size, self.hidden_size
        token_dot, token_hidden, weights = ops.split(token_parts, [d, h, h], -1)
        item_dot, item_hidden = ops.split(item_parts, [d, h], -1)
        dot = ops.matmul(token_dot, item_dot.transpose(1, 0))  # (T, C)
        if len(self.deeper) == 0:
            return dot + relu_sum(token_hidden, item_hidden, weights)
        hidden = ops.expand_dims(token_hidden, 1) + ops.expand_dims(item_hidden, 0)  # (T, C, H)
        return dot + self._interaction(hidden, ops.expand_dims(weights, 1))
