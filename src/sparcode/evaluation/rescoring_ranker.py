"""Rescoring: the best candidates of a first search, ordered by the scores of the network itself."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from sparcode.crosses import CrossTable
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import StagedRanker, time_stages
from sparcode.index.postings import make_postings
from sparcode.index.search.rescoring import CandidateParts, CandidateRanking, half_parts, score_each
from sparcode.model.block_scorer import ItemPartTable
from sparcode.model.inference import CandidateScores
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.sparcode import SparCode
from sparcode.types import SearchResult


class CandidateScorer(Protocol):
    """Scores items that a search has found."""

    @property
    def size_bytes(self) -> int:
        """Bytes that it reads."""
        ...

    def scores(self, tokens: NDArray[np.float32], item_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (B, R) of the items (B, R), below 1 = none, for unquantized tokens (B, K_u, d)."""
        ...


class TokenCandidates:
    """Scores by the graph of the network: what ``ExhaustiveRanker`` with ``quantize=False`` gives.

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

    @property
    def size_bytes(self) -> int:
        """Bytes of the item parts."""
        return self._parts.nbytes

    def scores(self, tokens: NDArray[np.float32], item_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of ``CandidateScorer``, one query after the other; R is at most ``depth``."""
        return score_each(item_ids, lambda row, ids: self._scores(tokens[row : row + 1], ids))

    def _scores(self, tokens: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = np.zeros((self._depth, self._parts.shape[1]), np.float32)
        np.take(self._parts, ids - 1, axis=0, out=parts[: len(ids)])
        graph_inputs = Tensor(np.ascontiguousarray(tokens)), Tensor(parts)
        scores: NDArray[np.float32] = self._cell(*graph_inputs).asnumpy()[: len(ids)]
        return scores


class VectorCandidates:
    """Scores by dot products of the sum of the tokens and item vectors, compiled.

    Args:
        vectors: (I + 1, d) float32 or float16 item vectors.
    """

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        self._parts = CandidateParts(vectors)

    @property
    def size_bytes(self) -> int:
        """Bytes of the vectors."""
        return self._parts.size_bytes

    def scores(self, tokens: NDArray[np.float32], item_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of ``CandidateScorer``."""
        return self._parts.scores(tokens.sum(axis=1), item_ids)


def network_candidates(network: SparCode, num_items: int, depth: int) -> CandidateScorer:
    """What scores ``depth`` candidates for a network: item vectors as a bundle holds them, or its graph."""
    if network.adds_tokens:
        return VectorCandidates(half_parts(item_vectors(network)))
    return TokenCandidates(network, num_items, depth)


class RescoringRanker:
    """Orders the best candidates of another ranker by the scores of the network, and all of its crosses.

    Args:
        first: finds the candidates.
        scorer: scores them.
        depth: R, candidates of a query, at least as many as results are asked for.
        crosses: those of the first ranker, of which an index may hold a part.
    """

    def __init__(
        self, first: StagedRanker, scorer: CandidateScorer, depth: int, crosses: CrossTable | None = None
    ) -> None:
        self.name = first.name
        self.first, self._scorer, self._depth = first, scorer, depth
        lists = None if crosses is None else make_postings(*crosses.lists(), crosses.num_items)
        self._lists_bytes = 0 if lists is None else lists.size_bytes
        self._ranking = CandidateRanking(lists)

    @property
    def size_bytes(self) -> int:
        """Bytes of the first search, the scorer and the crosses."""
        return self.first.size_bytes + self._scorer.size_bytes + self._lists_bytes

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
        scores = self._scorer.scores(self.first.tokens(encoded), found.item_ids)
        return self._ranking.best(found.item_ids, scores, k, self.first.history_lists(encoded))
