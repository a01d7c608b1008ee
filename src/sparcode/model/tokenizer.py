"""Tokenizer: one query vector -> K_u tokens."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore.common.initializer import Normal, initializer

from sparcode.model.layers import shared_subspace

TOKEN_NOISE = 0.5
"""Spread of a token's projection around the shared one, relative to the size of its entries."""


class Tokenizer(nn.Cell):
    """A linear map to K_u tokens of width D, each layer-normalised.

    Layer norm keeps the tokens of all users on one scale, which a shared codebook needs.
    SparCode, sec. 3.2 (query tokenization).

    Args:
        width: query vector width d.
        num_tokens: K_u.
        token_size: D.
    """

    def __init__(self, width: int, num_tokens: int, token_size: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.token_size = token_size
        self.project = nn.Dense(width, num_tokens * token_size)
        self.norm = nn.LayerNorm((token_size,), epsilon=1e-6)
        self._start_aligned(width)

    def _start_aligned(self, width: int) -> None:
        """Every token starts near the shared subspace of the query; noise sets the tokens apart."""
        shared = np.tile(shared_subspace(width, self.token_size), (self.num_tokens, 1))
        noise = initializer(Normal(TOKEN_NOISE * width**-0.5), shared.shape, ms.float32).init_data().asnumpy()
        self.project.weight.set_data(Tensor(shared + noise))

    def construct(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, D)."""
        tokens = self.project(queries).reshape(-1, self.num_tokens, self.token_size)
        return self.norm(tokens)
