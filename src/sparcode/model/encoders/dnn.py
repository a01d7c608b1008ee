"""DNN encoder: masked mean of the history, then an MLP (the encoder of DSSM and YouTubeDNN)."""

from __future__ import annotations

from typing import Literal

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from pydantic import Field

from sparcode.config.model_schema import EncoderOptions
from sparcode.config.section import Positive
from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.layers import MLP, masked_mean


class DNNOptions(EncoderOptions):
    """Mean of the history and a perceptron."""

    name: Literal["dnn"] = "dnn"
    num_layers: Positive = Field(1, description="hidden layers, recurrent layers or attention blocks")


class DNNEncoder(HistoryEncoder):
    """Mean pooling and an MLP with a residual connection around it.

    Args:
        width: embedding width d.
        length: history length L.
        hidden_size: width of the hidden layers.
        num_layers: number of hidden layers.
    """

    def __init__(self, width: int, length: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.mlp = MLP([width, *[hidden_size] * num_layers, width])
        self.prefix = Tensor(np.tril(np.ones((length, length), np.float32)))
        self.one = Tensor(1.0, ms.float32)

    def states(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """(S, L, d), mask (S, L) -> states (S, L, d): MLP of the mean of each prefix, plus that mean."""
        weights = ops.expand_dims(mask, -1)
        total = ops.matmul(self.prefix, items * weights)  # (S, L, d), sums over prefixes
        count = ops.matmul(self.prefix, weights)  # (S, L, 1)
        pooled = total / ops.maximum(count, self.one)
        return pooled + self.mlp(pooled)

    def last(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """(S, L, d), mask (S, L) -> query vectors (S, d), without the states of shorter prefixes."""
        pooled = masked_mean(items, mask)
        return pooled + self.mlp(pooled)


def build(options: DNNOptions, width: int, length: int) -> DNNEncoder:
    """The encoder of item vectors of a width and histories of a length."""
    return DNNEncoder(width, length, options.hidden_size, options.num_layers)
