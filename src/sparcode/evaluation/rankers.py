"""Everything that can answer a query set with ranked items: index, exhaustive network, ANN, popularity."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset
from sparcode.evaluation.ann import VectorSearch, top_k_of_scores
from sparcode.evaluation.queries import QuerySet, encode_queries
from sparcode.index import InvertedIndex
from sparcode.model.block_scorer import ExhaustiveScorer, ItemPartTable
from sparcode.model.inference import CodeEncoder, VectorEncoder
from sparcode.model.matching import MatchingNetwork
from sparcode.model.sparcode import SparCode
from sparcode.model.two_tower import TwoTower
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
        """Milliseconds of single queries by stage (``encode``, ``search``), one value per query."""
        ...


class ExhaustiveRanker:
    """Scores every item with the network itself.

    Args:
        network: of any model.
        num_items: catalogue size.
        quantize: False ranks a sparcode model by its unquantized tokens.
    """

    name = "exact"

    def __init__(self, network: MatchingNetwork, num_items: int, quantize: bool = True) -> None:
        self._scorer = ExhaustiveScorer(network, num_items, SCORE_BATCH, quantize)

    def refresh(self) -> None:
        """Take over the present weights of the network."""
        self._scorer.refresh()

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        def block(rows: slice) -> NDArray[np.float32]:
            return self._scorer.scores(queries.history[rows], [part[rows] for part in queries.user_rows])

        return _rank_blocks(block, queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        return {"search": _time_each(lambda one: self.rank(one, k, exclude_seen), queries)}


class IndexRanker:
    """Encodes queries to term ids and merges posting lists.

    Args:
        network: trained sparcode model (its encoder runs, its scorer does not).
        index: inverted index built from it.
        batch_size: queries encoded at once.
        threads: search threads.
    """

    name = "index"

    def __init__(self, network: SparCode, index: InvertedIndex, batch_size: int, threads: int) -> None:
        self.index = index
        self._encoder = CodeEncoder(network)
        self._batch_size, self._threads = batch_size, threads

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        terms = encode_queries(self._encoder, queries.history, queries.user_rows, self._batch_size)[:2]
        return self._search(terms, queries, k, exclude_seen)

    def _search(
        self, terms: tuple[NDArray, ...], queries: QuerySet, k: int, exclude_seen: bool
    ) -> SearchResult:
        exclude = queries.seen if exclude_seen else None
        return self.index.search(terms[0], k, terms[1], exclude=exclude, num_threads=self._threads)

    def redirected_share(self, queries: QuerySet) -> float:
        """Share of the queries' terms that have no list of their own, so that another one answers."""
        redirects = self.index.terms.redirects
        if redirects is None:
            return 0.0
        term_ids, _ = encode_queries(self._encoder, queries.history, queries.user_rows, self._batch_size)
        return float((redirects[term_ids] != term_ids).mean())

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        encoded: list[tuple[NDArray, ...]] = []

        def encode(one: QuerySet) -> None:
            encoded.append(encode_queries(self._encoder, one.history, one.user_rows, 1)[:2])

        encode_ms = _time_each(encode, queries)
        terms = iter(encoded[1:])  # the first call is the warm-up
        search_ms = _time_each(
            lambda one: self._search(next(terms), one, k, exclude_seen), queries, warm_up=False
        )
        return {"encode": encode_ms, "search": search_ms}


class VectorRanker:
    """Two-tower retrieval through a vector search (exact or ANN).

    Args:
        network: trained two-tower model.
        search: built over ``item_vectors`` of the network.
        name: retriever name for reports.
        batch_size: queries encoded at once.
    """

    def __init__(self, network: TwoTower, search: VectorSearch, name: str, batch_size: int) -> None:
        self.name = name
        self._encoder = VectorEncoder(network)
        self._search, self._batch_size = search, batch_size

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        (vectors,) = encode_queries(self._encoder, queries.history, queries.user_rows, self._batch_size)
        return self._search.search(vectors, k, exclude=queries.seen if exclude_seen else None)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        vectors: list[NDArray] = []

        def encode(one: QuerySet) -> None:
            vectors.append(encode_queries(self._encoder, one.history, one.user_rows, 1)[0])

        encode_ms = _time_each(encode, queries)
        encoded = iter(vectors[1:])
        search_ms = _time_each(
            lambda one: self._search.search(next(encoded), k, exclude=one.seen if exclude_seen else None),
            queries,
            warm_up=False,
        )
        return {"encode": encode_ms, "search": search_ms}


class PopularityRanker:
    """The most frequent items of the training data, the same for everyone but for seen items."""

    name = "popularity"

    def __init__(self, dataset: Dataset) -> None:
        self._counts = np.bincount(dataset.train.items, minlength=dataset.num_items + 1).astype(np.float32)
        self._counts[0] = -np.inf

    def rank(self, queries: QuerySet, k: int, exclude_seen: bool) -> SearchResult:
        def block(rows: slice) -> NDArray[np.float32]:
            return np.repeat(self._counts[None], len(queries.seen[rows]), 0)

        return _rank_blocks(block, queries, k, exclude_seen)

    def time_single(self, queries: QuerySet, k: int, exclude_seen: bool) -> dict[str, NDArray[np.float64]]:
        return {"search": _time_each(lambda one: self.rank(one, k, exclude_seen), queries)}


def item_vectors(network: TwoTower, num_items: int) -> NDArray[np.float32]:
    """Item vectors (I + 1, d) of a two-tower model; row 0 is zero."""
    table = ItemPartTable(network, num_items)
    table.refresh()
    vectors = np.concatenate([block.asnumpy() for block in table.blocks])[:num_items]
    return np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])


def _rank_blocks(
    block_scores: Callable[[slice], NDArray[np.float32]], queries: QuerySet, k: int, exclude_seen: bool
) -> SearchResult:
    """Top-k of scores (b, I + 1) that ``block_scores`` gives for blocks of queries; seen items are masked."""
    ids, scores = [], []
    for start in range(0, len(queries), SCORE_BATCH):
        rows = slice(start, start + SCORE_BATCH)
        block = block_scores(rows)
        if exclude_seen:
            for row, seen in zip(block, queries.seen[rows], strict=True):
                row[seen] = -np.inf
        result = top_k_of_scores(block, k)
        ids.append(result.item_ids)
        scores.append(result.scores)
    return SearchResult(np.concatenate(ids), np.concatenate(scores))


def _time_each(call, queries: QuerySet, warm_up: bool = True) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """Milliseconds of ``call`` on each query alone, after one call that is not counted."""
    singles = [_single(queries, place) for place in range(len(queries))]
    if warm_up and singles:
        call(singles[0])
    times = []
    for one in singles:
        started = time.perf_counter()
        call(one)
        times.append(1e3 * (time.perf_counter() - started))
    return np.array(times)


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
