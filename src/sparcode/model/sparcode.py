"""SparCode: all-to-all interaction on quantized tokens (SIGIR 2023), retrievable from an inverted index."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops
from numpy.typing import NDArray

from sparcode.model.all_to_all import AllToAll, ReluScore, SignedScore, Tokens
from sparcode.model.encoders import QueryEncoder
from sparcode.model.features import FeatureStore
from sparcode.model.interaction import InteractionScorer
from sparcode.model.item_tower import ItemTower
from sparcode.model.quantizer import ProductQuantizer


class SparCode(AllToAll):
    """As AllToAll, with x_k the lifted quantized tokens, of which there are S * N ** M in all.

    Args:
        quantizer: code assignment; the others as in AllToAll.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        tower: ItemTower,
        store: FeatureStore,
        tokens: Tokens,
        scorer: InteractionScorer,
        score: ReluScore | SignedScore,
        quantizer: ProductQuantizer,
    ) -> None:
        super().__init__(encoder, tower, store, tokens, scorer, score)
        self.quantizer = quantizer

    def training_parts(
        self, queries: Tensor, quantized_queries: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if quantized_queries is None:
            return super().training_parts(queries, None)
        tokens = self.tokens(queries)  # (Q, K_u, D)
        quantized, codes, error = self.quantizer(tokens, quantized_queries)
        part = self.query_part_of(quantized)
        return part, error, ops.stop_gradient(tokens), codes

    def served_terms(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What an index is asked: P probes for each token.

        Args:
            queries: (Q, d).

        Returns:
            term ids (Q, K_u * P) int32, their weights (Q, K_u * P), tokens before quantization (Q, K_u, D).
        """
        tokens = self.tokens(queries)
        codes, weights = self.quantizer.probe(tokens)
        return self.quantizer.probe_terms(codes), weights.reshape(weights.shape[0], -1), tokens

    def served_scores(self, queries: Tensor, item_parts: Tensor) -> Tensor:
        """Scores (Q, C) of what ``served_terms`` names, each probe counted by its weight."""
        codes, weights = self.quantizer.probe(self.tokens(queries))
        probes = codes.shape[2]
        rows = codes.transpose(0, 2, 1, 3).reshape(-1, codes.shape[1], codes.shape[3])  # (Q * P, K_u, M)
        shares = ops.expand_dims(weights.transpose(0, 2, 1).reshape(rows.shape[0], -1), 2)  # (Q * P, K_u, 1)
        parts = self.scorer.token_part(self.lift(self.quantizer.decode(rows)))  # (Q * P, K_u, P_t)
        if self.adds_tokens:
            added = (parts * shares).sum(1)
            return self.cross(added.reshape(-1, probes, added.shape[-1]).sum(1), item_parts)
        scores = self.scorer.cross(parts.reshape(-1, parts.shape[-1]), item_parts)
        scores = self.score.parts(scores).reshape(rows.shape[0], rows.shape[1], -1)
        return (scores * shares).sum(1).reshape(-1, probes, scores.shape[-1]).sum(1)

    def term_codebooks(self) -> NDArray[np.float32]:
        """What the index needs to know of the tokens, (S, M, N, d): see ``index.codes.tokens_of_terms``."""
        return self.lift.lifted_codebooks(self.quantizer.codebook_array())
