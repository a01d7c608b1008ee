"""Tokenizer: one query vector -> K_u tokens."""

from __future__ import annotations

from mindspore import Tensor, nn


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

    def construct(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, D)."""
        tokens = self.project(queries).reshape(-1, self.num_tokens, self.token_size)
        return self.norm(tokens)
