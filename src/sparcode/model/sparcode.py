"""SparCode: all-to-all interaction on quantized tokens (SIGIR 2023), retrievable from an inverted index."""

from __future__ import annotations

from mindspore import Tensor, ops

from sparcode.model.all_to_all import AllToAll, ScoreBias
from sparcode.model.encoders import QueryEncoder
from sparcode.model.features import FeatureStore
from sparcode.model.interaction import InteractionScorer
from sparcode.model.item_tower import ItemTower
from sparcode.model.quantizer import ProductQuantizer
from sparcode.model.tokenizer import Tokenizer


class SparCode(AllToAll):
    """score(q, i) = sum_k relu(E(z_q^k, i) + b), with z_q^k the quantized tokens.

    Args:
        quantizer: code assignment; the others as in AllToAll.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        tower: ItemTower,
        store: FeatureStore,
        tokenizer: Tokenizer,
        scorer: InteractionScorer,
        bias: ScoreBias,
        quantizer: ProductQuantizer,
    ) -> None:
        super().__init__(encoder, tower, store, tokenizer, scorer, bias)
        self.quantizer = quantizer

    def training_parts(self, queries: Tensor, quantize: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not quantize:
            return super().training_parts(queries, quantize)
        tokens = self.tokens(queries)  # (Q, K_u, D)
        flat = tokens.reshape(-1, tokens.shape[-1])  # (T, D) with T = Q * K_u
        quantized, codes, error = self.quantizer(flat)
        part = self.scorer.token_part(quantized.reshape(tokens.shape))
        return part, error.reshape(-1, self.num_tokens).mean(1), ops.stop_gradient(flat), codes

    def codes(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Query vectors (Q, d) -> codes (Q, K_u, M) int32 and tokens before quantization (Q, K_u, D)."""
        tokens = self.tokens(queries)
        codes = self.quantizer.assign(tokens.reshape(-1, tokens.shape[-1]))
        return codes.reshape(-1, self.num_tokens, self.quantizer.num_codebooks), tokens

    def query_part(self, queries: Tensor) -> Tensor:
        """(Q, d) -> (Q, K_u, P_t), from the quantized tokens."""
        codes, tokens = self.codes(queries)
        quantized = self.quantizer.decode(codes.reshape(-1, self.quantizer.num_codebooks))
        return self.scorer.token_part(quantized.reshape(tokens.shape))
