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

    def training_parts(self, queries: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not quantize:
            return super().training_parts(queries, quantize)
        tokens = self.tokens(queries)  # (Q, K_u, D)
        quantized, codes, error = self.quantizer(tokens)
        part = self.query_part_of(quantized)
        return part, error, ops.stop_gradient(tokens), codes

    def codes(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Query vectors (Q, d) -> codes (Q, K_u, M) int32 and tokens before quantization (Q, K_u, D)."""
        tokens = self.tokens(queries)
        return self.quantizer.assign(tokens), tokens

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> query part, from the quantized tokens."""
        codes, _ = self.codes(queries)
        return self.query_part_of(self.quantizer.decode(codes))

    def term_codebooks(self) -> NDArray[np.float32]:
        """What the index needs to know of the tokens, (S, M, N, d): see ``index.codes.tokens_of_terms``."""
        return self.lift.lifted_codebooks(self.quantizer.codebook_array())
