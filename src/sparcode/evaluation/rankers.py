"""Everything that can answer a query set with ranked items: index, exhaustive network, ANN, popularity."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from sparcode.crosses import CrossTable
from sparcode.data.dataset import Dataset
from sparcode.evaluation.ann import VectorSearch
from sparcode.evaluation.code_scorer import exhaustive_scorer
from sparcode.evaluation.crossed_search import CrossedSearch
from sparcode.evaluation.query_set import QuerySet
from sparcode.index import InvertedIndex, Posterior
from sparcode.index.search.dense import DenseIndex
from sparcode.index.search.rescoring import HistoryLists
from sparcode.index.search.results import top_k_of_scores
from sparcode.model.inference import CodeEncoder, VectorEncoder
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matchers.two_tower import TwoTower
from sparcode.model.matching import MatchingNetwork
from sparcode.training.encoding import encode_queries
from sparcode.types import SearchResult

SCORE_BATCH = 64
"""Queries scored exhaustively at once."""


class Ranker(Protocol):
    """Ranks items for queries."""

    name: str

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """Top-k items of every query."""
        ...

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds of single queries by stage (encode, search, rescore), one value per query."""
        ...


class ExhaustiveRanker:
    """Scores every item with the network itself.

    Args:
        network: of any model.
        num_items: catalogue size.
        quantize: False ranks a sparcode model by its unquantized tokens.
        crosses: added to the network's scores.
        posterior: correction of the scores of codes.
    """

    name = "exact"

    def __init__(
        self,
        network: MatchingNetwork,
        num_items: int,
        quantize: bool = True,
        crosses: CrossTable | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        self._scorer = exhaustive_scorer(network, num_items, SCORE_BATCH, quantize, posterior)
        self._scores = self._scorer.scores if crosses is None else crosses.added_to(self._scorer.scores)

    def refresh(self) -> None:
        """Read the present weights of the network."""
        self._scorer.refresh()

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """Top-k items of every query by the network's scores and the crosses: (B, k)."""

        def block(rows: slice) -> NDArray[np.float32]:
            return self._scores(queries.history[rows], [part[rows] for part in queries.user_rows])

        return _rank_blocks(block, queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds (n,) of single queries: ``search`` is all there is."""
        return {"search": _time_each(lambda one: self.rank(one, k, exclude_seen), queries)}


class StagedRanker(ABC):
    """A ranker that encodes queries and then searches for what came of them."""

    name: str

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes that the search reads."""

    @abstractmethod
    def encode(self, queries: QuerySet) -> tuple[NDArray, ...]:
        """What the search needs of the queries, one row for each."""

    @abstractmethod
    def search(
        self, encoded: tuple[NDArray, ...], queries: QuerySet, k: int, exclude_seen: bool
    ) -> SearchResult:
        """Top-k items of encoded queries."""

    @abstractmethod
    def tokens(self, encoded: tuple[NDArray, ...]) -> NDArray[np.float32]:
        """What encoded queries are rescored by: (B, K_u, d) in the space of the items, not quantized."""

    @abstractmethod
    def history_lists(self, encoded: tuple[NDArray, ...]) -> HistoryLists | None:
        """Lists of ``CrossTable.lists`` that encoded queries add up; None without crosses."""

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """Top-k items of every query: (B, k)."""
        return self.search(self.encode(queries), queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds (n,) of single queries, of ``encode`` and of ``search``."""
        return time_stages(
            {
                "encode": lambda one, _: self.encode(one),
                "search": lambda one, encoded: self.search(encoded, one, k, exclude_seen),
            },
            queries,
        )


class IndexRanker(StagedRanker):
    """Encodes queries to term ids and merges posting lists.

    Args:
        network: trained sparcode model (its encoder runs, its scorer does not).
        index: inverted index built from it.
        batch_size: queries encoded at once.
        threads: search threads.
        crosses: whose lists the index holds beside those of the network's codes.
    """

    name = "index"

    def __init__(
        self,
        network: SparCode,
        index: InvertedIndex,
        batch_size: int,
        threads: int,
        crosses: CrossTable | None = None,
    ) -> None:
        self.index = index
        if crosses is None:
            self._encoder = CodeEncoder(network)
        else:
            self._encoder = CodeEncoder(network, crosses.history_weights(), crosses.encoder_length)
        self._crosses = crosses
        self._batch_size, self._threads = batch_size, threads

    @property
    def size_bytes(self) -> int:
        """Bytes of the index."""
        return self.index.size_bytes

    def encode(self, queries: QuerySet) -> tuple[NDArray, ...]:
        """Term ids and weights (B, T), lifted tokens (B, K_u, d)."""
        return _encode(self._encoder, queries, self._batch_size)

    def postings_read(self, queries: QuerySet) -> NDArray[np.int64]:
        """Lengths (B,) of the lists that each query names, added up."""
        lengths = np.concatenate([self.index.list_lengths(), [0]])  # the last one for no term, -1
        total: NDArray[np.int64] = lengths[self.encode(queries)[0]].sum(1)
        return total

    def search(
        self, encoded: tuple[NDArray, ...], queries: QuerySet, k: int, exclude_seen: bool
    ) -> SearchResult:
        """Top-k items (B, k) of the encoder's term ids and weights."""
        exclude = queries.seen if exclude_seen else None
        return self.index.search(encoded[0], k, encoded[1], exclude=exclude, num_threads=self._threads)

    def tokens(self, encoded: tuple[NDArray, ...]) -> NDArray[np.float32]:
        """As of ``StagedRanker``: lifted tokens (B, K_u, d)."""
        return encoded[2]

    def history_lists(self, encoded: tuple[NDArray, ...]) -> HistoryLists | None:
        """As of ``StagedRanker``: the last L' terms of (B, T)."""
        if self._crosses is None:
            return None
        first = self.index.num_terms - self._crosses.num_items
        places = slice(-self._crosses.history_length, None)
        return HistoryLists(encoded[0][:, places] - first, encoded[1][:, places])


class VectorRanker(StagedRanker):
    """Two-tower retrieval through a vector search (exact or ANN).

    Args:
        network: trained two-tower model.
        search: built over ``item_vectors`` of the network.
        name: retriever name for reports.
        batch_size: queries encoded at once.
        crosses: added to the dot products.
    """

    def __init__(
        self,
        network: TwoTower,
        search: DenseIndex | VectorSearch,
        name: str,
        batch_size: int,
        crosses: CrossTable | None = None,
    ) -> None:
        self.name = name
        self._encoder = VectorEncoder(network)
        self._batch_size, self._crosses = batch_size, crosses
        self._search = search if crosses is None else CrossedSearch(search, crosses)
        vectors = search.item_vectors.nbytes if isinstance(search, DenseIndex) else search.size_bytes
        self._size_bytes = vectors + (0 if crosses is None else crosses.size_bytes)

    @property
    def size_bytes(self) -> int:
        """Bytes of what is searched, and of crosses."""
        return self._size_bytes

    def encode(self, queries: QuerySet) -> tuple[NDArray, ...]:
        """Query vectors (B, d); with crosses histories (B, L') as well."""
        if self._crosses is None:
            return _encode(self._encoder, queries, self._batch_size)
        read = replace(queries, history=queries.history[:, -self._crosses.encoder_length :])
        return *_encode(self._encoder, read, self._batch_size), queries.history

    def search(
        self, encoded: tuple[NDArray, ...], queries: QuerySet, k: int, exclude_seen: bool
    ) -> SearchResult:
        """Top-k items (B, k) of query vectors (B, d), with crosses if there are any."""
        exclude = queries.seen if exclude_seen else None
        if isinstance(self._search, CrossedSearch):
            return self._search.search(encoded[0], encoded[1], k, exclude)
        return self._search.search(encoded[0], k, exclude=exclude)

    def tokens(self, encoded: tuple[NDArray, ...]) -> NDArray[np.float32]:
        """As of ``StagedRanker``: one token (B, 1, d), the query vector."""
        return encoded[0][:, None]

    def history_lists(self, encoded: tuple[NDArray, ...]) -> HistoryLists | None:
        """As of ``StagedRanker``: of histories (B, L')."""
        if self._crosses is None:
            return None
        history = encoded[1]
        weights = np.broadcast_to(self._crosses.history_weights(), history.shape)
        return HistoryLists(history - 1, weights)


class PopularityRanker:
    """The most frequent items of the training data, the same for everyone but for seen items."""

    name = "popularity"

    def __init__(self, dataset: Dataset) -> None:
        self._counts = np.bincount(dataset.train.items, minlength=dataset.num_items + 1).astype(np.float32)
        self._counts[0] = -np.inf

    @property
    def size_bytes(self) -> int:
        """Bytes of the counts."""
        return self._counts.nbytes

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """The k most frequent items, for every query: (B, k)."""

        def block(rows: slice) -> NDArray[np.float32]:
            return np.repeat(self._counts[None], len(queries.seen[rows]), 0)

        return _rank_blocks(block, queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds (n,) of single queries: ``search`` is all there is."""
        return {"search": _time_each(lambda one: self.rank(one, k, exclude_seen), queries)}


class CrossRanker:
    """Ranks by crosses alone: the baseline of what they add to a network.

    Args:
        crosses: table of item-to-item weights.
    """

    name = "crosses"

    def __init__(self, crosses: CrossTable) -> None:
        self._crosses = crosses

    @property
    def size_bytes(self) -> int:
        """Bytes of the table."""
        return self._crosses.size_bytes

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        """Top-k items of every query by the sum of its history's crosses: (B, k)."""

        def block(rows: slice) -> NDArray[np.float32]:
            scores = self._crosses.scores(queries.history[rows])
            scores[:, 0] = -np.inf
            return scores

        return _rank_blocks(block, queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        """Milliseconds (n,) of single queries: ``search`` is all there is."""
        return {"search": _time_each(lambda one: self.rank(one, k, exclude_seen), queries)}


def _rank_blocks(
    block_scores: Callable[[slice], NDArray[np.float32]], queries: QuerySet, k: int, exclude_seen: bool
) -> SearchResult:
    """Top-k of scores (b, I + 1) that ``block_scores`` gives for blocks of queries; seen items are masked."""
    ids, scores = [], []
    for start in range(0, len(queries), SCORE_BATCH):
        rows = slice(start, start + SCORE_BATCH)
        block = block_scores(rows)
        if exclude_seen:
            mask_seen(block, queries.seen[rows])
        result = top_k_of_scores(block, k)
        ids.append(result.item_ids)
        scores.append(result.scores)
    return SearchResult(np.concatenate(ids), np.concatenate(scores))


def mask_seen(scores: NDArray[np.float32], seen: Sequence[NDArray[np.int32]]) -> None:
    """Set the scores (B, I + 1) of seen items to -inf."""
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf


def _encode(cell: nn.Cell, queries: QuerySet, batch_size: int) -> tuple[NDArray, ...]:
    size = min(batch_size, len(queries))  # a single query is not padded to a batch
    return encode_queries(cell, queries.history, queries.user_rows, size)


def time_stages(
    stages: dict[str, Callable[[QuerySet, Any], Any]], queries: QuerySet
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each stage for each query alone, one stage after the other.

    Args:
        stages: by name, in order; each takes a query and what the stage before it made of that query.
        queries: at least one.
    """
    singles = [_single(queries, place) for place in range(len(queries))]
    carried: list[Any] = [None] * len(singles)
    times = {}
    for name, stage in stages.items():
        times[name], carried = _time_stage(stage, singles, carried)
    return times


def _time_stage(
    stage: Callable[[QuerySet, Any], Any], singles: Sequence[QuerySet], carried: Sequence[Any]
) -> tuple[NDArray[np.float64], list[Any]]:
    """Milliseconds of a stage for each query, after one uncounted call, and what it made of each."""
    stage(singles[0], carried[0])
    times, made = [], []
    for one, before in zip(singles, carried, strict=True):
        started = time.perf_counter()
        made.append(stage(one, before))
        times.append(1e3 * (time.perf_counter() - started))
    return np.array(times), made


def _time_each(call: Callable[[QuerySet], Any], queries: QuerySet) -> NDArray[np.float64]:
    """Milliseconds of ``call`` on each query alone, after one call that is not counted."""
    return time_stages({"call": lambda one, _: call(one)}, queries)["call"]


def _single(queries: QuerySet, place: int) -> QuerySet:
    start, stop = queries.target_indptr[place], queries.target_indptr[place + 1]
    return QuerySet(
        queries.users[place : place + 1],
        queries.history[place : place + 1],
        tuple(rows[place : place + 1] for rows in queries.user_rows),
        queries.seen[place : place + 1],
        np.array([0, stop - start]),
        queries.target_items[start:stop],
    )
