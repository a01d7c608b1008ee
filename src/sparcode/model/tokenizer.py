"""Tokenizer: one query vector -> K_u tokens, and back into the space of the items."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from sparcode.model.layers import noisy_copies, product, subspace


def _holds_all(width: int, num_tokens: int, token_size: int, shared: bool) -> bool:
    """Whether the tokens together hold the whole query vector."""
    return not shared and num_tokens * token_size >= width


class Tokenizer(nn.Cell):
    """A linear map to K_u tokens of width D. SparCode, sec. 3.2 (query tokenization).

    With codebooks of their own, tokens are consecutive pieces of the rotated query vector. When they hold all
    of it (``K_u * D >= d``) the rotation stays as it is, since the encoder before it can turn the query as
    well; training it too made training slower (docs/decisions/0005-slots.md). Otherwise it is trained. With
    shared codebooks every token starts near the same D-dimensional view of the query, is trained, and is
    layer-normalised, which keeps all tokens on one scale.

    Args:
        width: query vector width d.
        num_tokens: K_u.
        token_size: D.
        shared: whether all tokens share their codebooks.
    """

    def __init__(self, width: int, num_tokens: int, token_size: int, shared: bool) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.token_size = token_size
        self.shared = shared
        start = subspace(width, num_tokens * token_size)
        if shared:
            self.norm = nn.LayerNorm((token_size,), epsilon=1e-6)
            start = noisy_copies(subspace(width, token_size), num_tokens)
        trained = not _holds_all(width, num_tokens, token_size, shared)
        self.project = Parameter(Tensor(start.T.copy()), name="project", requires_grad=trained)

    def construct(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, D)."""
        tokens = product(queries, self.project).reshape(-1, self.num_tokens, self.token_size)
        return self.norm(tokens) if self.shared else tokens


class TokenLift(nn.Cell):
    """Linear map of (quantized) tokens into the item space: z_k W_k, one for each slot k.

    It starts as the transpose of the tokenizer, and is trained when that is: without quantization, the lifted
    tokens of a query first add up to its projection on what the tokens hold, which is the query vector itself
    when they hold all of it.

    State:
        weight: (S, D, d) float32; S = K_u slots, or 1 when all tokens share their codebooks.

    Args:
        width: d.
        num_tokens: K_u.
        token_size: D.
        shared: whether all tokens share one map.
    """

    def __init__(self, width: int, num_tokens: int, token_size: int, shared: bool) -> None:
        super().__init__()
        self.num_slots = 1 if shared else num_tokens
        held = subspace(width, self.num_slots * token_size)  # (S * D, d)
        self.weight = Parameter(
            Tensor(held.reshape(self.num_slots, token_size, width)),
            name="weight",
            requires_grad=not _holds_all(width, num_tokens, token_size, shared),
        )

    def construct(self, tokens: Tensor) -> Tensor:
        """(Q, K_u, D) -> (Q, K_u, d)."""
        queries, count, size = tokens.shape
        if self.num_slots == 1:
            return product(tokens.reshape(-1, size), self.weight[0]).reshape(queries, count, -1)
        return ops.bmm(tokens.transpose(1, 0, 2), self.weight).transpose(1, 0, 2)

    def total(self, tokens: Tensor) -> Tensor:
        """(Q, K_u, D) -> (Q, d), the sum of the lifted tokens in one product."""
        if self.num_slots == 1:
            return product(tokens.sum(1), self.weight[0])
        queries, count, size = tokens.shape
        return product(tokens.reshape(queries, count * size), self.weight.reshape(count * size, -1))

    def lifted_codebooks(self, codebooks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Codebooks (S, M, N, D/M) -> the share of every codeword in its lifted token, (S, M, N, d) float32.

        A lifted token is the sum of the shares of its M codewords.
        """
        slots, books, _, sub_size = codebooks.shape
        weight = self.weight.asnumpy().reshape(slots, books, sub_size, -1)
        return np.einsum("smnp,smpd->smnd", codebooks, weight).astype(np.float32)
