"""What the second stage of a reloaded bundle reads and answers, beside what the live model says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from sparcode.crosses import CrossTable
from sparcode.index.postings import Postings
from sparcode.model.inference import CandidateScores, ItemParts
from sparcode.model.matchers.sparcode import SparCode
from sparcode.serving.bundle import Bundle
from sparcode.serving.export.real_queries import RealQueries
from sparcode.serving.export.writer import ExportRequest
from sparcode.serving.retriever import Retriever
from sparcode.serving.session import EncodedQueries

_CHECKED_LISTS = 64

_HALF_STEP = np.float32(2.0**-11)
"""Largest relative error of float16."""

Case: TypeAlias = tuple[str, NDArray[np.float32], NDArray[np.float32]]
"""What is compared, what the bundle has, what it should have."""


def rescoring_cases(
    bundle: Bundle, request: ExportRequest, queries: RealQueries, live: EncodedQueries
) -> Iterator[Case]:
    """Lists of crosses, and the scores that rescored answers come with.

    Which items are candidates follows from the search, which is compared elsewhere. What rounding item parts
    to float16 may do to a score is taken off its difference.

    Args:
        bundle: reloaded.
        request: what it was exported from, with ``eval.rescore`` above 0.
        queries: real ones.
        live: the same, encoded by the network.
    """
    if request.crosses is not None:
        yield from _cross_cases(request.crosses, bundle.crosses)
    section = request.config.eval
    k = min(max(section.ks), bundle.manifest.num_items)
    answers = Retriever(bundle).recommend_detailed(queries.raw, k, exclude_seen=True, rescore=section.rescore)
    numbers = {external: number for number, external in enumerate(bundle.item_ids, start=1)}
    scores = _LiveScores(request, queries, live)
    for row, answer in enumerate(answers):
        if answer.fallback is None and answer.items:
            ids = np.zeros(k, np.int32)  # one shape, one graph
            ids[: len(answer.items)] = [numbers[item] for item, _ in answer.items]
            received = np.array([score for _, score in answer.items], np.float32)
            expected = scores.of(row, ids)[: len(received)]
            if bundle.item_parts is not None:
                slack = scores.rounding(row, ids)[: len(received)]
                received = np.clip(expected, received - slack, received + slack)
            yield "scores of rescored recommendations", received, expected


def _cross_cases(table: CrossTable, lists: Postings | None) -> Iterator[Case]:
    count = 0 if lists is None else lists.num_postings
    missing = np.array([table.rows.count_nonzero() - count], np.float32)
    yield "number of crosses", missing, np.zeros(1, np.float32)
    if lists is None:
        return
    for item in np.unique(np.linspace(1, table.num_items, _CHECKED_LISTS).astype(np.int64)):
        row = np.zeros(table.num_items + 1, np.float32)
        ids, weights = lists.posting_list(item - 1)
        row[ids] = weights
        yield f"crosses of item {item}", row, table.rows[item].toarray()[0]


class _LiveScores:
    """Unquantized scores of the network and its crosses."""

    def __init__(self, request: ExportRequest, queries: RealQueries, live: EncodedQueries) -> None:
        network = request.network
        self._parts = ItemParts(network)
        self._graph = CandidateScores(network) if isinstance(network, SparCode) else None
        self._crosses, self._history = request.crosses, queries.history
        self._tokens = np.asarray(live.tokens if live.vectors is None else live.vectors[:, None])

    def of(self, row: int, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores (n,) of items (n,) for a query."""
        tokens, parts = np.ascontiguousarray(self._tokens[row : row + 1]), self._parts(Tensor(ids))
        scores: NDArray[np.float32]
        if self._graph is None:
            scores = parts.asnumpy() @ tokens[0, 0]
        else:
            scores = self._graph(Tensor(tokens), parts).asnumpy()
        if self._crosses is not None:
            scores = scores + self._crosses.scores(self._history[row : row + 1])[0, ids]
        return scores

    def rounding(self, row: int, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """(n,) what float16 item parts may change these scores by."""
        parts, summed = self._parts(Tensor(ids)).asnumpy(), self._tokens[row].sum(0)
        bounds: NDArray[np.float32] = _HALF_STEP * (np.abs(parts) @ np.abs(summed))
        return bounds
