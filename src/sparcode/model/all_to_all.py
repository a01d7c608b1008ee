"""All-to-all interaction: every token of the query against every item, without quantization.

The upper bound of SparCode: accurate, and too slow to serve, since every item has to be scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
from mindspore import Parameter, Tensor, ops

from sparcode.model.encoders import QueryEncoder
from sparcode.model.features import FeatureStore
from sparcode.model.interaction import InteractionScorer
from sparcode.model.item_tower import ItemTower
from sparcode.model.matching import MatchingNetwork
from sparcode.model.tokenizer import Tokenizer


@dataclass(frozen=True)
class ScoreBias:
    """How sparse scores start and learn.

    Attributes:
        start: start value of the learned bias b.
        relu_leak: gradient of the ReLU below zero.
    """

    start: float
    relu_leak: float


def leaky_gradient_relu(x: Tensor, leak: float) -> Tensor:
    """max(x, 0) whose gradient below zero is ``leak`` instead of 0.

    For positives only: a positive that the ReLU has silenced can recover. For negatives the leak would push
    silent scores down for ever.
    """
    below = ops.minimum(x, ops.zeros_like(x)) * leak
    return ops.relu(x) + (below - ops.stop_gradient(below))


class AllToAll(MatchingNetwork):
    """score(q, i) = sum_k relu(E(z_k, i) + b) over the K_u tokens z_k of the query.

    Args:
        encoder, tower, store: as in MatchingNetwork.
        tokenizer: query vector -> tokens.
        scorer: interaction network E.
        bias: start value of the learned bias b, and the leak of the gradient of the ReLU.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        tower: ItemTower,
        store: FeatureStore,
        tokenizer: Tokenizer,
        scorer: InteractionScorer,
        bias: ScoreBias,
    ) -> None:
        super().__init__(encoder, tower, store)
        self.tokenizer = tokenizer
        self.scorer = scorer
        self.score_bias = Parameter(Tensor([bias.start], ms.float32), name="score_bias")
        self.relu_leak = bias.relu_leak
        self.num_tokens = tokenizer.num_tokens

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        return self.scorer.item_part(self.tower(ids, feature_rows))

    def tokens(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> tokens (Q, K_u, D) before any quantization."""
        return self.tokenizer(queries)

    def training_parts(self, queries: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tokens = self.tokens(queries)
        error = ops.zeros_like(tokens[:, 0, 0])
        part = self.scorer.token_part(tokens)
        return part, error, ops.zeros((1, 1), ms.float32), ops.zeros((1, 1), ms.int32)

    def query_part(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, P_t)."""
        return self.scorer.token_part(self.tokens(queries))

    def token_scores(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """E + b before the ReLU: token parts (T, P_t), item parts (C, P_i) -> (T, C)."""
        return self.scorer.cross(token_parts, item_parts) + self.score_bias

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        width = query_parts.shape[-1]
        scores = self.token_scores(query_parts.reshape(-1, width), item_parts)  # (Q * K_u, C)
        return ops.relu(scores).reshape(-1, self.num_tokens, item_parts.shape[0]).sum(1)

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        scores = self.scorer.aligned(query_parts, item_parts) + self.score_bias
        return leaky_gradient_relu(scores, self.relu_leak).sum(1)
