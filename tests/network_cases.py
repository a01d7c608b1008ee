"""Cells and scores of networks that several tests look at."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn


class TokenEncoder(nn.Cell):
    """history (B, L) int32 and user feature rows -> tokens (B, K_u, D) as the quantizer sees them."""

    def __init__(self, network: Any) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, history: Tensor, *user_rows: Tensor) -> Tensor:
        return self.network.tokens(self.network.query_vectors(history, user_rows))
