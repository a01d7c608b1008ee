"""Scores of queries by what their codes hold for every item: an index whose lists are complete."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sparcode.index import Posterior, tokens_of_terms
from sparcode.model.block_scorer import ExhaustiveScorer, NetworkBlockScorer, padded_tensors
from sparcode.model.inference import CodeEncoder
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork

WHOLE_ROWS = 1 << 25
"""Scores of codes that are held at once, 128 MB."""


class CodeScorer:
    """score(q, i) = sum over the terms of q of weight * T[term, i], for every item.

    T is what ``build_index`` cuts into posting lists. This is the model that an index is compared with.

    Args:
        network: sparcode model.
        num_items: catalogue size I.
        batch_size: queries encoded at once; fewer are padded to as many, but for a single one.
        posterior: correction of T by counts; None = the network alone.
    """

    def __init__(
        self, network: SparCode, num_items: int, batch_size: int, posterior: Posterior | None = None
    ) -> None:
        self.num_items = num_items
        self._network, self._batch_size, self._posterior = network, batch_size, posterior
        self._encoder = CodeEncoder(network)
        self._blocks = NetworkBlockScorer(network, num_items)
        self._codebooks = network.term_codebooks()

    def refresh(self) -> None:
        """Read the present weights of the network."""
        self._encoder.refresh()
        self._blocks.refresh()
        self._codebooks = self._network.term_codebooks()

    def table(self, term_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """T of terms (T,), for the items 1 .. I: (T, I)."""
        tokens = tokens_of_terms(self._codebooks, term_ids)
        scores = self._blocks.score_block(tokens, 1, self.num_items + 1)
        if self._posterior is not None:
            self._posterior.correct(term_ids, scores)
        return scores if self._network.score.signed else np.maximum(scores, 0, out=scores)

    def scores(self, history: NDArray[np.int32], user_rows: Sequence[NDArray]) -> NDArray[np.float32]:
        """Histories (B, L) and user feature rows (B, ...) -> scores (B, I + 1); column 0 is -inf."""
        result = np.full((len(history), self.num_items + 1), -np.inf, np.float32)
        for start in range(0, len(history), self._batch_size):
            rows = slice(start, start + self._batch_size)
            count = len(history[rows])
            size = 1 if count == 1 else self._batch_size  # two shapes, so two graphs
            outputs = self._encoder(*padded_tensors([history, *user_rows], rows, size))
            terms, weights = (output.asnumpy()[:count] for output in outputs[:2])
            step = max(WHOLE_ROWS // (self.num_items * terms.shape[1]), 1)
            for first in range(0, count, step):
                part = slice(first, min(first + step, count))
                result[start + part.start : start + part.stop, 1:] = self._sums(terms[part], weights[part])
        return result

    def _sums(self, terms: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Term ids (b, T) and weights (b, T) -> (b, I)."""
        distinct, places = np.unique(terms, return_inverse=True)
        borders = np.arange(0, terms.size + 1, terms.shape[1])
        shape = (len(terms), len(distinct))
        counted = csr_matrix((weights.reshape(-1), places.reshape(-1), borders), shape)
        sums: NDArray[np.float32] = counted @ self.table(distinct.astype(np.int64))
        return sums


def exhaustive_scorer(
    network: MatchingNetwork,
    num_items: int,
    batch_size: int,
    quantize: bool = True,
    posterior: Posterior | None = None,
) -> ExhaustiveScorer | CodeScorer:
    """What scores every item: codes of a sparcode model, unless it is asked for without quantization."""
    if quantize and isinstance(network, SparCode):
        return CodeScorer(network, num_items, batch_size, posterior)
    return ExhaustiveScorer(network, num_items, batch_size)
