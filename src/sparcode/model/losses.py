"""Softmax loss over the positive and a set of candidates shared by the batch.

One loss serves every choice of negatives. The candidates may be uniform or popularity samples, the
positives of the batch, a mix, or the whole catalogue; ``log_weights`` corrects for how often a candidate was
expected to be drawn, and masks those that are the query's own positive. For the whole catalogue this is the
plain full softmax.

Sources: logQ correction, Bengio and Senecal 2003; in-batch negatives with correction, Yi et al., RecSys
2019; the positive itself is not corrected, because it is always present and never sampled (Khrylchenko
et al., RecSys 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

from mindspore import Tensor, nn, ops

from sparcode.model.matching import MatchingNetwork


class SampledSoftmaxLoss(nn.Cell):
    """-log softmax of the positive's score among itself and the candidates.

    Computed as softplus(log sum of the candidates - positive): where the positive is far above the candidates
    its small gradient is not lost to rounding.

    Args:
        temperature: scores are divided by it.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.scale = 1.0 / temperature

    def construct(self, positive_scores: Tensor, candidate_scores: Tensor, log_weights: Tensor) -> Tensor:
        """Loss per query.

        Args:
            positive_scores: (Q,) float32.
            candidate_scores: (Q, C) float32.
            log_weights: (Q, C) float32, added to the scores of the candidates; -1e9 removes one.

        Returns:
            (Q,) float32.
        """
        positive, scores = positive_scores, candidate_scores
        if self.scale != 1.0:
            positive, scores = positive * self.scale, scores * self.scale
        scores = scores + log_weights
        # ops.amax takes four times as long on CPU as ops.max, which finds the places as well
        largest = ops.stop_gradient(ops.max(scores, 1)[0])  # (Q,)
        total = ops.exp(scores - ops.expand_dims(largest, 1)).sum(1)
        return ops.softplus(ops.log(total) + largest - positive)


@dataclass(frozen=True)
class LossWeights:
    """Parts of the training loss.

    Attributes:
        temperature: scores are divided by it in the softmax.
        commitment: beta, weight of the squared quantization error.
    """

    temperature: float
    commitment: float


class TrainingLoss(nn.Cell):
    """Network, softmax loss and commitment loss of one training step.

    Args:
        network: of any model.
        weights: of the parts of the loss.
        quantize: whether tokens are quantized in this phase of the training.
        every_position: whether queries stand at given positions of the histories (ordered data).
        use_noise: whether the noise input drives dropout.
        mixed: whether queries without quantized tokens occur in that phase. A network that shares codes
            scores them as in its warm start.
    """

    def __init__(
        self,
        network: MatchingNetwork,
        weights: LossWeights,
        quantize: bool,
        every_position: bool,
        use_noise: bool,
        mixed: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.softmax = SampledSoftmaxLoss(weights.temperature)
        self.commitment_weight = weights.commitment
        self.quantize = quantize
        self.shares_codes = quantize and network.shares_codes
        self.warm = network.warm_start() if self.shares_codes and mixed else None
        self.every_position = every_position
        self.use_noise = use_noise

    def construct(
        self,
        history: Tensor,
        query_index: Tensor,
        positives: Tensor,
        weights: Tensor,
        candidates: Tensor,
        log_weights: Tensor,
        quantized_queries: Tensor,
        code_rows: Tensor,
        code_sizes: Tensor,
        noise: Tensor,
        *user_rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Loss of one batch.

        Args:
            history: (S, L) int32, right-aligned, 0 = padding.
            query_index: (Q,) int32, places in the (S, L) history; unused when Q = S rows are queries.
            positives: (Q,) int32 item ids.
            weights: (Q,) float32, 1 = real query, 0 = padding.
            candidates: (C,) int32 item ids, 0 = padding.
            log_weights: (Q, C) float32, see ``SampledSoftmaxLoss``.
            quantized_queries: (Q,) float32, 1 = trained with quantized tokens, 0 = without; unused in a phase
                without quantization.
            code_rows: see ``rows`` of ``SparCode.shared_cross``; unused in networks that share nothing.
            code_sizes: see ``sizes`` there.
            noise: uint8 dropout noise (layers, S, L, d), or any value without dropout.
            user_rows: one tensor per user feature, (S, ...).

        Returns:
            total loss, softmax loss, commitment loss (scalars), tokens (Q, K_u, D), codes (Q, K_u, M).
        """
        queries = self.network.training_queries(
            history,
            user_rows,
            noise if self.use_noise else None,
            query_index if self.every_position else None,
        )
        part, error, tokens, codes = self.network.training_parts(
            queries, quantized_queries if self.quantize else None
        )
        positive_scores = self.network.aligned(part, self.network.stored_item_part(positives))
        items = self.network.stored_item_part(candidates)
        candidate_scores = self._candidate_scores(part, items, code_rows, code_sizes)
        positive_scores, candidate_scores = self._mixed(
            (positive_scores, candidate_scores), queries, positives, candidates, quantized_queries
        )
        per_query = self.softmax(positive_scores, candidate_scores, log_weights)
        count = ops.maximum(weights.sum(), ops.ones_like(weights.sum()))
        softmax_loss = (per_query * weights).sum() / count
        commitment = (error * weights).sum() / count
        total = softmax_loss + self.commitment_weight * commitment
        return total, softmax_loss, commitment, tokens, codes

    def _candidate_scores(self, part: Tensor, items: Tensor, rows: Tensor, sizes: Tensor) -> Tensor:
        """(Q, C), by the distinct codes of the batch where the network shares them."""
        if self.shares_codes:
            return self.network.shared_cross(part, items, rows, sizes)
        return self.network.cross(part, items)

    def _mixed(
        self,
        scores: tuple[Tensor, Tensor],
        queries: Tensor,
        positives: Tensor,
        candidates: Tensor,
        chosen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Scores (Q,) and (Q, C): as given for the chosen queries, of the warm start for any others."""
        if self.warm is None:
            return scores
        part = self.warm.query_part(queries)
        own = self.warm.aligned(part, self.warm.stored_item_part(positives))
        every = self.warm.cross(part, self.warm.stored_item_part(candidates))
        rows = ops.expand_dims(chosen, 1)
        return scores[0] * chosen + own * (1.0 - chosen), scores[1] * rows + every * (1.0 - rows)
