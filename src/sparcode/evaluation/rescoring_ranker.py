"""Rescoring: the best candidates of a first search, scored by the network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import StagedRanker, time_stages
from sparcode.index.search.rescoring import rescore
from sparcode.model.block_scorer import ItemPartTable
from sparcode.model.inference import CandidateScores
from sparcode.model.matchers.sparcode import SparCode
from sparcode.types import SearchResult


class CandidateScorer(Protocol):
    """Scores items that a search has found."""

    def scores(self, encoded: tuple[NDArray, ...], row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (n,) of the items (n,) for one of the encoded queries."""
        ...


class TokenCandidates:
    """Scores by unquantized tokens: what ``ExhaustiveRanker`` with ``quantize=False`` gives.

    Args:
        network: trained sparcode model.
        num_items: catalogue size.
        depth: most candidates of a query; fewer are padded to as many, so that one graph serves all.
    """

    def __init__(self, network: SparCode, num_items: int, depth: int) -> None:
        table = ItemPartTable(network, num_items)
        table.refresh()
        self._parts = np.concatenate([block.asnumpy() for block in table.blocks])  # row 0 is item 1
        self._cell, self._depth = CandidateScores(network), depth

    def scores(self, encoded: tuple[NDArray, ...], row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (n,) of items (n,), at most ``depth``, for the unquantized tokens of a query."""
        parts = np.zeros((self._depth, self._parts.shape[1]), np.float32)
        np.take(self._parts, ids - 1, axis=0, out=parts[: len(ids)])
        tokens = np.ascontiguousarray(encoded[2][row : row + 1])
        scores: NDArray[np.float32] = self._cell(Tensor(tokens), Tensor(parts)).asnumpy()[: len(ids)]
        return scores


class VectorCandidates:
    """Scores by dot products of query vector and item vectors.

    Args:
        vectors: (I + 1, d) float32 item vectors.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def scores(self, encoded: tuple[NDArray, ...], row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Dot products (n,) of the vectors of items (n,) and of a query."""
        scores: NDArray[np.float32] = self._vectors[ids] @ encoded[0][row]
        return scores


class RescoringRanker:
    """Orders the best candidates of another ranker by the scores of the network.

    Args:
        first: finds the candidates.
        scorer: scores them.
        depth: R, candidates of a query, at least as many as results are asked for.
    """

    def __init__(self, first: StagedRanker, scorer: CandidateScorer, depth: int) -> None:
        self.name = first.name
        self.first, self._scorer, self._depth = first, scorer, depth

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """Top-k items of every query, of the candidates of the first search: (B, k)."""
        encoded = self.first.encode(queries)
        return self._rescore(encoded, self.first.search(encoded, queries, self._depth, exclude_seen), k)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds (n,) of single queries, of ``encode``, ``search`` and ``rescore``."""
        return time_stages(
            {
                "encode": lambda one, _: self.first.encode(one),
                "search": lambda one, encoded: (
                    encoded,
                    self.first.search(encoded, one, self._depth, exclude_seen),
                ),
                "rescore": lambda _, carried: self._rescore(carried[0], carried[1], k),
            },
            queries,
        )

    def _rescore(self, encoded: tuple[NDArray, ...], found: SearchResult, k: int) -> SearchResult:
        kept = self.first.kept_scores(encoded, found.item_ids)
        return rescore(found, lambda row, ids: self._scorer.scores(encoded, row, ids), k, kept)
