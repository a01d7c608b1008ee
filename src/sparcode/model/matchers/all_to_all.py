"""All-to-all interaction: every token of the query against every item, without quantization.

The upper bound of SparCode: accurate, and too slow to serve, since every item has to be scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from sparcode.config.model_schema import InteractionOptions
from sparcode.model.building import build as build_part
from sparcode.model.interaction import InteractionScorer
from sparcode.model.matching import MatchingNetwork, Towers
from sparcode.model.tokenizer import Tokenizer, TokenLift


class AllToAllOptions(InteractionOptions):
    """All-to-all interaction without quantization."""

    name: Literal["all_to_all"] = "all_to_all"


def leaky_gradient_relu(x: Tensor, leak: float) -> Tensor:
    """max(x, 0) whose gradient below zero is ``leak`` instead of 0.

    For positives only: a positive that the ReLU has silenced can recover. For negatives the leak would push
    silent scores down without end.
    """
    below = ops.minimum(x, ops.zeros_like(x)) * leak
    return ops.relu(x) + (below - ops.stop_gradient(below))


class ReluScore(nn.Cell):
    """Sparse score of the paper: a query's score is sum_k relu(E_k + b), with a learned bias b.

    Args:
        bias: start value of b.
        leak: gradient of the ReLU below zero, for positives.
    """

    signed = False

    def __init__(self, bias: float, leak: float) -> None:
        super().__init__()
        self.bias = Parameter(Tensor([bias], ms.float32), name="bias")
        self.leak = leak

    def construct(self, token_scores: Tensor) -> Tensor:
        """What a posting list holds: E (...) -> E + b before the ReLU."""
        return token_scores + self.bias

    def parts(self, token_scores: Tensor) -> Tensor:
        """E (...) -> what each token adds to the score of the query."""
        return ops.relu(token_scores + self.bias)

    def total(self, token_scores: Tensor) -> Tensor:
        """E (Q, K_u, ...) -> query scores (Q, ...)."""
        return self.parts(token_scores).sum(1)

    def positive_total(self, token_scores: Tensor) -> Tensor:
        """As ``total``, for the positives of a batch."""
        return leaky_gradient_relu(token_scores + self.bias, self.leak).sum(1)


class SignedScore(nn.Cell):
    """Plain sum_k E_k: posting lists hold scores above a floor of their own instead of above zero."""

    signed = True

    def construct(self, token_scores: Tensor) -> Tensor:
        """What a posting list holds: E (...), as it is."""
        return token_scores

    def parts(self, token_scores: Tensor) -> Tensor:
        """E (...) -> what each token adds to the score of the query: E."""
        return token_scores

    def total(self, token_scores: Tensor) -> Tensor:
        """E (Q, K_u, ...) -> query scores (Q, ...)."""
        return token_scores.sum(1)

    def positive_total(self, token_scores: Tensor) -> Tensor:
        """As ``total``."""
        return token_scores.sum(1)


@dataclass(frozen=True)
class Interaction:
    """How queries become tokens, and tokens scores.

    Attributes:
        tokenizer: query vector -> tokens.
        lift: (quantized) tokens -> tokens in the item space.
        scorer: interaction network E.
        score: how the scores of the tokens make the score of the query.
    """

    tokenizer: Tokenizer
    lift: TokenLift
    scorer: InteractionScorer
    score: ReluScore | SignedScore


def make_interaction(options: InteractionOptions, towers: Towers, shared: bool) -> Interaction:
    """The untrained parts that the options ask for; ``shared``: all tokens have the same codebooks."""
    width = options.embedding_size
    sizes = (width, options.num_query_tokens, options.token_size, shared)
    scorer = build_part(options.scorer, width, towers.items.num_item_tokens)
    score = SignedScore() if options.signed_scores else ReluScore(options.score_bias, options.relu_leak)
    return Interaction(Tokenizer(*sizes), TokenLift(*sizes), scorer, score)


class AllToAll(MatchingNetwork):
    """score(q, i) = sum_k E(x_k, i) or sum_k relu(E(x_k, i) + b), x_k the K_u lifted tokens of the query.

    Args:
        towers: as in MatchingNetwork.
        interaction: tokens and scorer.
    """

    def __init__(self, towers: Towers, interaction: Interaction) -> None:
        super().__init__(towers)
        self.tokenizer = interaction.tokenizer
        self.lift = interaction.lift
        self.scorer = interaction.scorer
        self.score = interaction.score
        self.num_tokens = interaction.tokenizer.num_tokens
        # token scores that are linear in the token parts may be added up before they are multiplied out
        self.adds_tokens = self.score.signed and self.scorer.bilinear

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """Item ids (C,) and their feature rows (C, ...) -> the scorer's item parts (C, P_i)."""
        tokens = self.tower.tokens(ids, feature_rows)
        return self.scorer.item_part(self.tower.combined(tokens), tokens)

    def tokens(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> tokens (Q, K_u, D) before any quantization."""
        return self.tokenizer(queries)

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> (Q, K_u, P_t), or (Q, P_t) of summed tokens; see ``query_part_of``."""
        return self.query_part_of(self.tokens(queries))

    def query_part_of(self, tokens: Tensor) -> Tensor:
        """Tokens (Q, K_u, D), quantized or not -> (Q, K_u, P_t), or their sum (Q, P_t) where that will do."""
        if self.adds_tokens:
            return self.lift.total(tokens)
        return self.lifted_part(self.lift(tokens))

    def lifted_part(self, lifted: Tensor) -> Tensor:
        """As ``query_part_of``, from tokens in the item space (Q, K_u, d)."""
        parts = self.scorer.token_part(lifted)
        return parts.sum(1) if self.adds_tokens else parts

    def token_scores(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """What a posting list holds, before the ReLU: token parts (T, P_t), item parts (C, P_i) -> (T, C)."""
        return self.score(self.scorer.cross(token_parts, item_parts))

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u, P_t) or, of summed tokens, (Q, P_t); (C, P_i) -> scores (Q, C)."""
        if self.adds_tokens:
            return self.scorer.cross(query_parts, item_parts)
        width = query_parts.shape[-1]
        scores = self.scorer.cross(query_parts.reshape(-1, width), item_parts)  # (Q * K_u, C)
        return self.score.total(scores.reshape(-1, self.num_tokens, item_parts.shape[0]))

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, K_u, P_t) or, of summed tokens, (Q, P_t); (Q, P_i) -> scores (Q,)."""
        if self.adds_tokens:
            return self.scorer.combine(query_parts, item_parts)
        return self.score.positive_total(self.scorer.aligned(query_parts, item_parts))


def build(options: AllToAllOptions, towers: Towers) -> AllToAll:
    """The untrained network."""
    return AllToAll(towers, make_interaction(options, towers, shared=False))
