"""Perceptron on the concatenation of token and item."""

from __future__ import annotations

from typing import Literal

import mindspore as ms
from mindspore import Tensor, nn, ops
from pydantic import Field

from sparcode.config.model_schema import ScorerOptions
from sparcode.config.section import Positive
from sparcode.model.interaction.base import InteractionScorer
from sparcode.model.layers import product
from sparcode.model.pair_kernels import PairKernel


class MLPOptions(ScorerOptions):
    """Perceptron on the concatenation of token and item vector."""

    name: Literal["mlp"] = "mlp"
    hidden_size: Positive = Field(32, description="width of the hidden layers")
    num_layers: Positive = Field(1, description="hidden layers")


class ReluSum(nn.Cell):
    """Every pair of sum_h w_h relu(a_h + c_h), one hidden unit at a time.

    Adding up (T, C) planes keeps the working set in the cache; one (T, C, H) tensor is up to three times
    slower on CPU. The gradient is written by hand: of each plane it needs one masked copy of the incoming
    gradient and its sums over rows and columns, from which the gradient of w follows without another pass:
    sum_tc g relu(a + c) = sum_t a_t (sum_c g 1[a + c > 0]) + sum_c c_c (sum_t g 1[a + c > 0]).
    """

    def construct(self, token_hidden: Tensor, item_hidden: Tensor, weights: Tensor) -> Tensor:
        """Hidden inputs a (H, T), c (H, C), weights w (H,) -> (T, C)."""
        tokens, items = ops.unstack(token_hidden, axis=0), ops.unstack(item_hidden, axis=0)
        scales = ops.unstack(weights, axis=0)
        total = ops.relu(ops.expand_dims(tokens[0], 1) + ops.expand_dims(items[0], 0)) * scales[0]
        for unit in range(1, len(tokens)):
            plane = ops.relu(ops.expand_dims(tokens[unit], 1) + ops.expand_dims(items[unit], 0))
            total = total + plane * scales[unit]
        return total

    def bprop(
        self, token_hidden: Tensor, item_hidden: Tensor, weights: Tensor, out: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the three inputs, given that of the output (T, C)."""
        tokens, items = ops.unstack(token_hidden, axis=0), ops.unstack(item_hidden, axis=0)
        ones = ops.ones((1, gradient.shape[0]), ms.float32)
        column = ops.ones((gradient.shape[1], 1), ms.float32)
        by_token: tuple[Tensor, ...] = ()
        by_item: tuple[Tensor, ...] = ()
        for unit in range(len(tokens)):
            active = ops.expand_dims(tokens[unit], 1) + ops.expand_dims(items[unit], 0) > 0
            masked = gradient * active.astype(ms.float32)
            by_token = (*by_token, product(masked, column).squeeze(1))
            by_item = (*by_item, product(ones, masked).squeeze(0))
        token_sums, item_sums = ops.stack(by_token, 0), ops.stack(by_item, 0)  # (H, T), (H, C)
        of_weights = (token_hidden * token_sums).sum(1) + (item_hidden * item_sums).sum(1)
        scale = ops.expand_dims(weights, 1)
        return token_sums * scale, item_sums * scale, of_weights


class MLPScorer(InteractionScorer):
    """E(x, i) = MLP([x ; v]), with v the item vector: the concatenation of SparCode, sec. 3.4.

    The first layer is a sum of a token part and an item part: W [x ; v] + c = (W_x x + c) + W_v v.

    Args:
        width: width d of a token and of an item vector.
        hidden_size: width H of the hidden layers.
        num_layers: number of hidden layers.
    """

    def __init__(self, width: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.from_token = nn.Dense(width, hidden_size)
        self.from_item = nn.Dense(width, hidden_size, has_bias=False)
        self.deeper = nn.CellList([nn.Dense(hidden_size, hidden_size) for _ in range(num_layers - 1)])
        self.output = nn.Dense(hidden_size, 1)
        self.relu_sum = ReluSum()

    def pair_kernel(self) -> PairKernel | None:
        """The compiled sum over hidden units with the present weights; None with more than one layer."""
        if len(self.deeper):
            return None
        weights = self.output.weight.asnumpy().reshape(-1)
        return PairKernel(0, self.hidden_size, weights, float(self.output.bias.asnumpy()[0]))

    def token_part(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., H): W_x x + c."""
        return self.from_token(tokens)

    def item_part(self, vectors: Tensor, tokens: tuple[Tensor, ...]) -> Tensor:
        """Item vectors (C, d) -> (C, H): W_v v."""
        return self.from_item(vectors)

    def combine(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(..., H), (..., H), broadcast against each other -> scores (...)."""
        hidden = ops.relu(token_parts + item_parts)  # (..., H)
        for layer in self.deeper:
            hidden = ops.relu(layer(hidden))
        return self.output(hidden).squeeze(-1)

    def cross(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(T, H), (C, H) -> (T, C), one hidden unit at a time where there is one hidden layer."""
        if len(self.deeper) == 0:
            weights = self.output.weight.reshape(-1)
            scores = self.relu_sum(token_parts.transpose(1, 0), item_parts.transpose(1, 0), weights)
            return scores + self.output.bias
        return super().cross(token_parts, item_parts)


def build(options: MLPOptions, width: int, num_item_tokens: int) -> MLPScorer:
    """The scorer of vectors of a width."""
    return MLPScorer(width, options.hidden_size, options.num_layers)
