"""Evaluation of one ranker, and the report in the form of ``eval.py --json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.evaluation.metrics import index_recall_at_k, ranking_metrics
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import Ranker
from sparcode.training.world import World
from sparcode.types import SearchResult

TIE_TOLERANCE = 1e-5
"""Relative score difference below which index and network count as tied: their sums round differently."""


def relevance(
    ranker: Ranker, queries: QuerySet, ks: Sequence[int], exclude_seen: bool, world: World
) -> dict[str, float]:
    """Full-ranking metrics at every cut-off, macro average over the queries, which the workers divide."""
    ranked = ranked_items(ranker, queries, max(ks), exclude_seen, world)
    return ranking_metrics(ranked, queries.target_indptr, queries.target_items, ks)


def ranked_items(
    ranker: Ranker, queries: QuerySet, k: int, exclude_seen: bool, world: World
) -> NDArray[np.int64]:
    """Top-k items (B, k) of all queries, which the workers divide, on every worker."""
    own = world.share(len(queries))
    count = own.stop - own.start
    part = queries.part(own) if count else queries.take(1)  # a worker without a query ranks one as well
    ranked: NDArray[np.int64] = world.gather(ranker.rank(part, k, exclude_seen).item_ids[:count])
    return ranked


def fidelity(
    index: Ranker,
    exact: Ranker,
    queries: QuerySet,
    k: int,
    exclude_seen: bool,
    signed: bool = False,
) -> dict[str, float]:
    """How well the index reproduces exhaustive scoring by the same model, whose scores may be ``signed``.

    A rescored index is compared with exhaustive scoring without quantization.

    ``max_score_error`` compares the scores of items that both found. Signed lists hold scores above floors,
    whose sum is a constant of each query that no ranking depends on: it is taken out, as the median of the
    query's differences. With nothing pruned only rounding is left. ``recall_change`` and ``ndcg_change`` are
    what the index gains (or loses, below 0) against exhaustive scoring on held-out items: the price of
    pruning. ``index_ndcg`` is that of the index itself.
    """
    found = index.rank(queries, k, exclude_seen)
    wide = exact.rank(queries, 2 * k, exclude_seen)
    # where scores are sums of positive ones, that of an item without any positive (code, item) pair is zero:
    # it ties with all others like it and no retriever can tell them apart
    least = -np.inf if signed else 0.0
    positive = SearchResult(np.where(wide.scores > least, wide.item_ids, -1), wide.scores)
    by_index, by_network = (
        ranking_metrics(ids, queries.target_indptr, queries.target_items, (k,))
        for ids in (found.item_ids, wide.item_ids[:, :k])
    )
    return {
        f"index_recall@{k}": index_recall_at_k(
            found.item_ids, positive.item_ids, positive.scores, k, TIE_TOLERANCE
        ),
        "max_score_error": _max_score_error(found, wide, signed),
        f"recall_change@{k}": by_index[f"recall@{k}"] - by_network[f"recall@{k}"],
        f"ndcg_change@{k}": by_index[f"ndcg@{k}"] - by_network[f"ndcg@{k}"],
        f"index_ndcg@{k}": by_index[f"ndcg@{k}"],
    }


def _max_score_error(found: SearchResult, exact: SearchResult, signed: bool) -> float:
    """Largest difference of the scores of an item; of ``signed`` ones above the constant of its query."""
    worst = 0.0
    for ids, scores, exact_ids, exact_scores in zip(
        found.item_ids, found.scores, exact.item_ids, exact.scores, strict=True
    ):
        common, mine, other = np.intersect1d(ids, exact_ids, return_indices=True)
        real = common > 0
        if real.any():
            differences = scores[mine[real]].astype(np.float64) - exact_scores[other[real]]
            if signed:
                differences -= np.median(differences)
            worst = max(worst, float(np.abs(differences).max()))
    return worst


def latency(ranker: Ranker, queries: QuerySet, k: int, exclude_seen: bool, threads: int) -> dict[str, Any]:
    """Median and 99th percentile of single queries in milliseconds."""
    times = ranker.time_single(queries, k, exclude_seen)
    summary: dict[str, Any] = {}
    if "encode" in times:
        summary["encode_p50"] = round(float(np.median(times["encode"])), 4)
    for stage in ("search", "rescore"):
        if stage in times:
            summary[f"{stage}_p50"] = round(float(np.median(times[stage])), 4)
            summary[f"{stage}_p99"] = round(float(np.percentile(times[stage], 99)), 4)
    return {**summary, "threads": threads, "batch": 1}
