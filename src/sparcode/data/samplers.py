"""Candidates of the softmax loss: which items stand against the positive, and how often they are expected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.config.schema import LossConfig

EXCLUDED = 1e9
"""log_expected of a candidate that must not count (padding of an uneven batch)."""


class CandidateSampler:
    """Draws the candidates of a step, shared by all queries of the batch.

    With ``logq_correction`` the returned log of the expected number of draws turns the sum over candidates
    into an unbiased estimate of the sum over the whole catalogue (importance sampling).

    Attributes:
        own_queries_only: whether in-batch candidates are the positives of one worker's share of the batch,
            not of the whole batch.

    Args:
        config: kind and number of negatives.
        item_counts: (I + 1,) interactions of each item in the training data, entry 0 = padding.
    """

    def __init__(self, config: LossConfig, item_counts: NDArray[np.int64]) -> None:
        self._kind = config.negatives
        self._number = config.num_negatives
        self._correct = config.logq_correction
        self.own_queries_only = not config.gather_in_batch
        self.num_items = len(item_counts) - 1
        counts = item_counts[1:].astype(np.float64)
        total = counts.sum()
        self._frequency = np.zeros(self.num_items + 1)
        if total > 0:
            self._frequency[1:] = counts / total
        weights = self._sampling_weights(config, counts)
        self._probability = np.zeros(self.num_items + 1)
        self._probability[1:] = weights / weights.sum()
        self._cumulative = np.cumsum(self._probability[1:])

    @staticmethod
    def _sampling_weights(config: LossConfig, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        if config.negatives in ("popularity", "mixed"):
            # an item that never occurs still gets the weight of one interaction: it must be pushed down too
            return np.asarray(np.maximum(counts, 1.0) ** config.popularity_exponent)
        return np.ones_like(counts)

    def candidates_per_step(self, num_queries: int) -> int:
        """Number C of candidates that ``draw`` returns for a batch of num_queries queries."""
        sizes = {
            "uniform": self._number,
            "popularity": self._number,
            "in_batch": num_queries,
            "mixed": num_queries + self._number,
            "full": self.num_items,
        }
        return sizes[self._kind]

    def draw(
        self, rng: np.random.Generator, positives: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return candidates (C,) int32 and log_expected (C,) float32.

        Args:
            rng: source of randomness of this step.
            positives: (Q,) item ids of the batch, 0 where the query is padding.
            weights: (Q,) 1 for real queries.
        """
        if self._kind == "full":
            everything = np.arange(1, self.num_items + 1, dtype=np.int32)
            return everything, np.zeros(self.num_items, np.float32)
        sampled = self._sample(rng) if self._kind != "in_batch" else np.zeros(0, np.int32)
        in_batch = positives if self._kind in ("in_batch", "mixed") else np.zeros(0, np.int32)
        candidates = np.concatenate([in_batch, sampled]).astype(np.int32)
        log_expected = np.zeros(len(candidates), np.float32)
        if self._correct:
            others = max(float((weights > 0).sum()) - 1.0, 1.0) if len(in_batch) else 0.0
            expected = others * self._frequency[candidates] + len(sampled) * self._probability[candidates]
            log_expected = np.log(np.maximum(expected, 1e-20)).astype(np.float32)
        log_expected[candidates == 0] = EXCLUDED
        return candidates, log_expected

    def _sample(self, rng: np.random.Generator) -> NDArray[np.int32]:
        if self._kind == "uniform":
            return rng.integers(1, self.num_items + 1, self._number, dtype=np.int32)
        places = np.searchsorted(self._cumulative, rng.random(self._number), side="right")
        return (np.minimum(places, self.num_items - 1) + 1).astype(np.int32)


def log_weights(
    candidates: NDArray[np.int32], log_expected: NDArray[np.float32], positives: NDArray[np.int32]
) -> NDArray[np.float32]:
    """What is added to the score of each candidate of each query.

    A candidate that is the query's own positive, an accidental hit, is masked: it counts as the positive.

    Args:
        candidates: (C,) item ids, in any order, with repetitions.
        log_expected: (C,), see ``CandidateSampler.draw``.
        positives: (Q,) item ids.

    Returns:
        (Q, C) float32: -log_expected, and -EXCLUDED for hits.
    """
    weights = np.repeat(-log_expected[None], len(positives), 0)
    weights[candidates[None] == positives[:, None]] = -EXCLUDED
    return weights
