"""What accuracy leaves out: coverage, novelty and popularity of what is recommended, cold users, tail items.

NumPy only; definitions in docs/evaluation_protocol.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sparcode.evaluation.metrics import ranking_metrics
from sparcode.evaluation.query_set import QuerySet

HEAD_SHARE = 0.8
"""Share of the training interactions that the head of the catalogue holds; the other items are its tail."""

COLD_SHARE = 0.25
"""Queries up to this quantile of the length of history are those of cold users."""

GROUP_METRICS = ("recall", "ndcg")
"""Metrics of cold users and of tail items."""


def beyond_accuracy(
    ranked: NDArray[np.int64], queries: QuerySet, item_counts: NDArray[np.int64], ks: Sequence[int]
) -> dict[str, Any]:
    """The part ``beyond_accuracy`` of an evaluation report.

    Args:
        ranked: (B, >= max(ks)) item ids, best first; ids below 1 are empty places.
        queries: that were ranked for, B > 0.
        item_counts: (I + 1,) training interactions of each item, that of the padding item is 0.
        ks: cut-offs.

    Returns:
        ``coverage@k`` in [0, 1], ``novelty@k`` in bits and ``popularity_percentile@k`` in [0, 100], both None
        where nothing is recommended; ``cold_users`` and ``tail_items``, see :func:`cold_users` and
        :func:`tail_items`.
    """
    counts = item_counts[1:]
    information = np.log2(max(counts.sum(), 1)) - np.log2(np.maximum(counts, 1))
    percentile = 100 * rankdata(counts, "average") / len(counts)
    report: dict[str, Any] = {}
    for k in ks:
        items = ranked[:, :k][ranked[:, :k] > 0] - 1
        places = np.bincount(items, minlength=len(counts))
        total = max(len(items), 1)
        report[f"coverage@{k}"] = float((places > 0).mean())
        report[f"novelty@{k}"] = float(places @ information / total) if len(items) else None
        report[f"popularity_percentile@{k}"] = float(places @ percentile / total) if len(items) else None
    return {
        **report,
        "cold_users": cold_users(ranked, queries, ks),
        "tail_items": tail_items(ranked, queries, item_counts, ks),
    }


def cold_users(
    ranked: NDArray[np.int64], queries: QuerySet, ks: Sequence[int]
) -> dict[str, float | int] | None:
    """Accuracy on the queries with the shortest histories: up to the quartile of their length.

    Returns:
        ``history_at_most`` (items), ``num_queries`` and :data:`GROUP_METRICS`; None where the quartile is the
        longest history as well.
    """
    lengths = np.array([len(items) for items in queries.seen])
    most = int(np.quantile(lengths, COLD_SHARE, method="lower"))
    rows = lengths <= most
    if rows.all():
        return None
    sizes = np.diff(queries.target_indptr)
    indptr = np.concatenate([[0], np.cumsum(sizes[rows])])
    targets = queries.target_items[np.repeat(rows, sizes)]
    metrics = ranking_metrics(ranked[rows], indptr, targets, ks, GROUP_METRICS)
    return {"history_at_most": most, "num_queries": int(rows.sum()), **metrics}


def tail_items(
    ranked: NDArray[np.int64], queries: QuerySet, item_counts: NDArray[np.int64], ks: Sequence[int]
) -> dict[str, float | int] | None:
    """Accuracy where only items of the tail are targets; queries without such a target are left out.

    Returns:
        ``num_items`` of the tail, ``num_queries`` and :data:`GROUP_METRICS`; None where no target is in the
        tail.
    """
    tail = tail_of(item_counts)
    sizes = np.diff(queries.target_indptr)
    kept = tail[queries.target_items]
    kept_sizes = np.bincount(np.repeat(np.arange(len(sizes)), sizes)[kept], minlength=len(sizes))
    if not kept.any():
        return None
    indptr = np.concatenate([[0], np.cumsum(kept_sizes)])
    metrics = ranking_metrics(ranked, indptr, queries.target_items[kept], ks, GROUP_METRICS)
    return {"num_items": int(tail.sum()), "num_queries": int((kept_sizes > 0).sum()), **metrics}


def tail_of(item_counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each item is outside of the head.

    The head is the fewest items that hold :data:`HEAD_SHARE` of the training interactions, the most popular
    ones, of equal count those with smaller ids.

    Args:
        item_counts: (I + 1,) training interactions of each item, that of the padding item is 0.

    Returns:
        (I + 1,) bool, False for the padding item.
    """
    counts = item_counts[1:]
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    tail = np.zeros(len(item_counts), dtype=bool)
    tail[1 + order] = before >= HEAD_SHARE * counts.sum()
    return tail
