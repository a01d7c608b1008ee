"""SparCode: all-to-all interaction on quantized tokens (SIGIR 2023), retrievable from an inverted index."""

from __future__ import annotations

from typing import Literal

import numpy as np
from mindspore import Tensor, ops
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from sparcode.config.model_schema import MAX_NUM_TERMS, InteractionOptions, QuantizerConfig
from sparcode.model.layers import dot_products
from sparcode.model.matchers.all_to_all import AllToAll, Interaction, make_interaction
from sparcode.model.matching import MatchingNetwork, Towers
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions


class SparCodeOptions(InteractionOptions):
    """SparCode: tokens are quantized, and every code has a posting list."""

    name: Literal["sparcode"] = "sparcode"
    quantizer: QuantizerConfig = Field(default_factory=QuantizerConfig, description="code assignment")

    @property
    def codes_per_token(self) -> int:
        """N ** M."""
        return self.quantizer.num_codes

    @model_validator(mode="after")
    def _check_quantizer(self) -> Self:
        if self.token_size % self.quantizer.num_codebooks:
            raise ValueError(
                f"model.token_size ({self.token_size}) must be divisible by "
                f"model.quantizer.num_codebooks ({self.quantizer.num_codebooks})"
            )
        slots = 1 if self.quantizer.shared else self.num_query_tokens
        terms = slots * self.quantizer.num_codes
        if terms > MAX_NUM_TERMS:
            raise ValueError(
                f"model.quantizer.codebook_size ** model.quantizer.num_codebooks, for each of {slots} sets "
                f"of codebooks, is {terms}, more than {MAX_NUM_TERMS} posting lists"
            )
        return self


class WarmStart(MatchingNetwork):
    """score(q, i) = <sum_k x_k, v>, the dot product of the towers of a SparCode, with its weights.

    What the phase without quantization trains when the scorer is no dot product: encoder, tokens and items
    learn there what the cheap score can teach them, and E starts with the quantization.

    Args:
        towers, tokenizer, lift: those of the SparCode.
    """

    def __init__(self, towers: Towers, interaction: Interaction) -> None:
        super().__init__(towers, owner=False)
        self.tokenizer = interaction.tokenizer
        self.lift = interaction.lift

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> sums of lifted unquantized tokens (Q, d)."""
        return self.lift.total(self.tokenizer(queries))

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, d), (C, d) -> (Q, C)."""
        return dot_products(query_parts, item_parts)

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(Q, d), (Q, d) -> (Q,)."""
        return (query_parts * item_parts).sum(-1)


class SparCode(AllToAll):
    """As AllToAll, with x_k the lifted quantized tokens, of which there are S * N ** M in all.

    Args:
        towers, interaction: as in AllToAll.
        quantizer: code assignment.
        commitment_weight: weight of the squared quantization error in the loss.
    """

    def __init__(
        self, towers: Towers, interaction: Interaction, quantizer: ProductQuantizer, commitment_weight: float
    ) -> None:
        super().__init__(towers, interaction)
        self.quantizer = quantizer
        self.commitment_weight = commitment_weight
        self.shares_codes = not interaction.scorer.bilinear
        # in a tuple: a cell among the attributes would be one more owner of the weights
        self._warm = (WarmStart(towers, interaction),) if self.shares_codes else ()

    def warm_start(self) -> MatchingNetwork:
        """What the phase without quantization trains: dot products, or this network if its scorer is one."""
        return self._warm[0] if self._warm else self

    def code_terms(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d) -> term ids (Q, K_u) int32 of their tokens."""
        return self.quantizer.term_ids(self.quantizer.assign(self.tokens(queries)))

    def shared_cross(self, parts: Tensor, item_parts: Tensor, rows: Tensor, sizes: Tensor) -> Tensor:
        """As ``cross``, with the scorer evaluated once for each of the U distinct codes of the batch.

        Tokens of one code are equal, and so are their parts; their mean is used for all of them. So the
        scorer sends the gradient of a code to its tokens in equal shares: each gets the mean of what the
        queries with that code ask for, and all together get the sum, as without sharing.

        Args:
            parts: token parts (Q, K_u, P_t) of quantized tokens.
            item_parts: (C, P_i).
            rows: (Q * K_u,) int32, the distinct code of each token, 0..U-1; -1 for those not scored.
            sizes: (U,) float32, how many tokens have each code; ones beyond the codes that there are.

        Returns:
            (Q, C); tokens that are not scored add what the first code would.
        """
        sums = ops.unsorted_segment_sum(parts.reshape(-1, parts.shape[-1]), rows, sizes.shape[0])
        scores = self.score.parts(self.scorer.cross(sums / ops.expand_dims(sizes, 1), item_parts))  # (U, C)
        scores = ops.gather(scores, ops.maximum(rows, ops.zeros_like(rows)), 0)  # (Q * K_u, C)
        if self.num_tokens == 1:
            return scores
        return scores.reshape(-1, self.num_tokens, scores.shape[1]).sum(1)

    def training_parts(
        self, queries: Tensor, quantized_queries: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As in ``MatchingNetwork``, with tokens (Q, K_u, D) and codes (Q, K_u, M) of the quantizer."""
        if quantized_queries is None:
            return super().training_parts(queries, None)
        tokens = self.tokens(queries)  # (Q, K_u, D)
        quantized, codes, error = self.quantizer(tokens, quantized_queries)
        part = self.query_part_of(quantized)
        return part, error, ops.stop_gradient(tokens), codes

    def served_terms(self, queries: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What an index is asked: P probes for each token.

        Args:
            queries: (Q, d).
            table: ``distance_table`` of the quantizer.

        Returns:
            term ids (Q, K_u * P) int32, their weights (Q, K_u * P), tokens before quantization (Q, K_u, D).
        """
        tokens = self.tokens(queries)
        codes, weights = self.quantizer.probe(tokens, table)
        return self.quantizer.probe_terms(codes), weights.reshape(weights.shape[0], -1), tokens

    def term_codebooks(self) -> NDArray[np.float32]:
        """What the index needs to know of the tokens, (S, M, N, d): see ``index.codes.tokens_of_terms``."""
        return self.lift.lifted_codebooks(self.quantizer.codebook_array())


def build(options: SparCodeOptions, towers: Towers) -> SparCode:
    """The untrained network."""
    q, tokens = options.quantizer, options.num_query_tokens
    quantizer = ProductQuantizer(
        QuantizerOptions(
            num_codebooks=q.num_codebooks,
            codebook_size=q.codebook_size,
            token_size=options.token_size,
            num_tokens=tokens,
            num_slots=1 if q.shared else tokens,
            decay=q.decay,
            epsilon=q.epsilon,
            restart_threshold=q.restart_threshold,
        )
    )
    interaction = make_interaction(options, towers, q.shared)
    return SparCode(towers, interaction, quantizer, q.commitment_weight)
