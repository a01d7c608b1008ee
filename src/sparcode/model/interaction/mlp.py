"""MLP on the concatenation of token and item."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from sparcode.model.interaction.base import InteractionScorer, relu_sum
from sparcode.model.pair_kernels import PairKernel


class MLPScorer(InteractionScorer):
    """E(z, i) = MLP([z ; item tokens of i]).

    The first layer is a sum of a token part and an item part: W [z ; v] + c = (W_z z + c) + W_v v.

    Args:
        token_size: width of a token, d.
        item_size: width of all item tokens together, K_i * d.
        hidden_size: width H of the hidden layers.
        num_layers: number of hidden layers.
    """

    def __init__(self, token_size: int, item_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.item_size = item_size
        self.hidden_size = hidden_size
        self.from_token = nn.Dense(token_size, hidden_size)
        self.from_item = nn.Dense(item_size, hidden_size, has_bias=False)
        self.deeper = nn.CellList([nn.Dense(hidden_size, hidden_size) for _ in range(num_layers - 1)])
        self.output = nn.Dense(hidden_size, 1)

    def pair_kernel(self) -> PairKernel | None:
        if len(self.deeper):
            return None
        weights = self.output.weight.asnumpy().reshape(-1)
        return PairKernel(0, self.hidden_size, weights, float(self.output.bias.asnumpy()[0]))

    def token_part(self, tokens: Tensor) -> Tensor:
        return self.from_token(tokens)

    def item_part(self, item_tokens: Tensor) -> Tensor:
        return self.from_item(item_tokens.reshape(-1, self.item_size))

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        hidden = ops.relu(token_parts + item_parts)  # (..., H)
        for layer in self.deeper:
            hidden = ops.relu(layer(hidden))
        return self.output(hidden).squeeze(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        if len(self.deeper) == 0:
            return relu_sum(token_parts, item_parts, self.output.weight) + self.output.bias
        return super().cross(token_parts, item_parts)
