"""Ranking metrics against held-out targets (relevance) and against exhaustive scoring (fidelity).

NumPy only. Relevance is binary. Item ids of 0 and below are padding: never a hit, never a target.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import DataError, UsageError

RANKING_METRICS = ("precision", "recall", "ndcg", "hit_rate", "mrr")
"""Names that :func:`ranking_metrics` knows."""

_KEY = re.compile(r"([a-z_]+)@([1-9]\d*)")


def parse_metric(key: str) -> tuple[str, int]:
    """Split ``"recall@10"`` into its name and cut-off.

    Raises:
        UsageError: not a known metric with a cut-off of at least 1.
    """
    match = _KEY.fullmatch(key)
    if match is None or match[1] not in RANKING_METRICS:
        raise UsageError(
            "unknown metric", expected=f"{'|'.join(RANKING_METRICS)}@k, for example recall@10", received=key
        )
    return match[1], int(match[2])


def ranking_metrics(
    ranked: ArrayLike,
    target_indptr: ArrayLike,
    target_items: ArrayLike,
    ks: Sequence[int],
    names: Sequence[str] = RANKING_METRICS,
) -> dict[str, float]:
    """Macro average of :func:`per_user_metrics` over the users with at least one target.

    Returns:
        ``{"recall@10": .., ..}``, each in [0, 1].

    Raises:
        DataError: no user has a target.
        UsageError: see :func:`per_user_metrics`.
    """
    values = per_user_metrics(ranked, target_indptr, target_items, ks, names)
    averages = {}
    for key, per_user in values.items():
        counted = per_user[~np.isnan(per_user)]
        if not len(counted):
            raise DataError(
                "no user has a target", remedy="check the split: the metric is an average over users"
            )
        averages[key] = float(counted.mean())
    return averages


def per_user_metrics(
    ranked: ArrayLike,
    target_indptr: ArrayLike,
    target_items: ArrayLike,
    ks: Sequence[int],
    names: Sequence[str] = RANKING_METRICS,
) -> dict[str, NDArray[np.float64]]:
    """Ranking metrics of each user; the usual definitions, as in RecTools and TREC evaluation.

    With ``hits`` the targets among the first k and ``T`` the user's distinct targets: precision = hits / k
    (places that a short list leaves empty are misses), recall = hits / T, hit_rate = whether there is a hit,
    mrr = 1 / rank of the first hit within k, ndcg = sum of 1 / log2(rank + 1) over hits, divided by that sum
    for min(k, T) hits at the top.

    Args:
        ranked: (B, k) int item ids, best first; ids below 1 are padding; no item twice in a row.
        target_indptr: (B + 1,) int; the targets of user u are
            ``target_items[target_indptr[u]:target_indptr[u + 1]]``.
        target_items: (n,) int item ids; repeated ones count once.
        ks: cut-offs of at least 1; one beyond the list length counts the missing places as misses.
        names: which of :data:`RANKING_METRICS`.

    Returns:
        ``{"recall@10": (B,) float64, ..}``; NaN for a user without a target.

    Raises:
        UsageError: shapes that do not belong together, an item ranked twice, an unknown name or cut-off.
    """
    ranked_ids, indptr, items = _check_inputs(ranked, target_indptr, target_items)
    hits, num_targets = _match(ranked_ids, indptr, items)
    values = {}
    for k in ks:
        for name in names:
            parse_metric(f"{name}@{k}")
            with np.errstate(divide="ignore", invalid="ignore"):
                value = _METRICS[name](hits[:, :k], num_targets, int(k))
            values[f"{name}@{k}"] = np.where(num_targets > 0, value, np.nan)
    return values


def index_recall_at_k(
    result_ids: ArrayLike,
    exact_ids: ArrayLike,
    exact_scores: ArrayLike,
    k: int | None = None,
    tolerance: float = 0.0,
) -> float:
    """Share of the exhaustive top-k that a search found: fidelity, not relevance.

    Aware of ties: every item that ``exact_ids`` lists with a score of at least the k-th exact score may take
    a place in the top-k, so which of several tied items was returned does not matter. To let ties beyond
    place k count, pass more than k exact results.

    Args:
        result_ids: (B, >= 1) int item ids as found; negative = empty place; only the first k count.
        exact_ids: (B, K >= k) int item ids by exhaustive scoring, best first; negative = empty place.
        exact_scores: (B, K) scores of ``exact_ids``, descending.
        k: cut-off; None = the width of ``result_ids``.
        tolerance: scores within ``tolerance * max(1, |k-th score|)`` below the k-th count as tied with it,
            for comparing sums of different rounding.

    Returns:
        Average over the queries with at least one exact result, in [0, 1].

    Raises:
        UsageError: shapes that do not belong together.
        DataError: no query has an exact result.
    """
    found, ids, scores = (
        np.asarray(result_ids),
        np.asarray(exact_ids),
        np.asarray(exact_scores, dtype=np.float64),
    )
    k = int(found.shape[-1]) if k is None else int(k)
    if found.ndim != 2 or ids.shape != scores.shape or ids.ndim != 2 or len(ids) != len(found):
        raise UsageError(
            "results and exact results differ in shape",
            expected="(B, k), (B, K), (B, K)",
            received=f"{found.shape}, {ids.shape}, {scores.shape}",
        )
    if not 1 <= k <= ids.shape[1]:
        raise UsageError("k out of range", expected=f"1 to {ids.shape[1]} exact results", received=k)
    valid = ids >= 0
    sizes = valid[:, :k].sum(axis=1)  # (B,) exact results within k
    if not sizes.any():
        raise DataError("no query has an exact result", remedy="check the queries")
    last = scores[np.arange(len(ids)), np.maximum(sizes - 1, 0)]
    slack = tolerance * np.maximum(1.0, np.abs(last, where=sizes > 0, out=np.zeros(len(ids))))
    acceptable = valid & (scores >= (last - slack)[:, None])  # (B, K)
    hits = _rowwise_isin(found[:, :k], np.where(acceptable, ids, -1)).sum(axis=1)
    counted = sizes > 0
    return float((hits[counted] / sizes[counted]).mean())


def _check_inputs(
    ranked: ArrayLike, target_indptr: ArrayLike, target_items: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    arrays = []
    for name, values in (
        ("ranked", ranked),
        ("target_indptr", target_indptr),
        ("target_items", target_items),
    ):
        array = np.asarray(values)
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise UsageError(f"{name} must be integers", expected="an integer array", received=array.dtype)
        arrays.append(array.astype(np.int64))
    ids, indptr, items = arrays
    if ids.ndim != 2 or indptr.ndim != 1 or items.ndim != 1 or len(indptr) != len(ids) + 1:
        raise UsageError(
            "ranked lists and targets differ in the number of users",
            expected="(B, k), (B + 1,), (n,)",
            received=f"{ids.shape}, {indptr.shape}, {items.shape}",
        )
    if indptr[0] != 0 or indptr[-1] != len(items) or (np.diff(indptr) < 0).any():
        raise UsageError("target_indptr must ascend from 0 to the number of target_items")
    in_order = np.sort(ids, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] > 0)
    if twice.any():
        user, place = np.argwhere(twice)[0]
        raise UsageError("an item is ranked twice", where=f"user {user}", received=in_order[user, place])
    return ids, indptr, items


def _match(
    ranked: NDArray[np.int64], indptr: NDArray[np.int64], items: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(B, k) whether each place holds a target, and (B,) numbers of distinct targets."""
    users = np.repeat(np.arange(len(ranked)), np.diff(indptr))
    real = items > 0
    users, items = users[real], items[real]
    width = 1 + max(ranked.max(initial=0), items.max(initial=0))
    targets = np.unique(users * width + items)  # one key per (user, item), ascending
    keys = np.arange(len(ranked))[:, None] * width + np.maximum(ranked, 0)
    hits = _sorted_contains(targets, keys)  # padding has the key of item 0, which is no target
    return hits, np.bincount(targets // width, minlength=len(ranked)).astype(np.int64)


def _rowwise_isin(ids: NDArray, allowed: NDArray) -> NDArray[np.bool_]:
    """(B, k) whether an id, 0 or more, is among the same row's allowed ids; a repeated id counts once."""
    width = 1 + max(int(ids.max(initial=0)), int(allowed.max(initial=0)))
    rows = np.arange(len(ids))[:, None] * width
    keys = np.where(ids >= 0, rows + ids, -1)
    first = np.zeros(keys.size, dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    allowed_keys = np.unique((rows + allowed)[allowed >= 0])
    return _sorted_contains(allowed_keys, keys) & first.reshape(keys.shape)


def _sorted_contains(ascending: NDArray, keys: NDArray) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(keys.shape, dtype=bool)
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return np.asarray(ascending[places] == keys)


def _precision(hits: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return hits.sum(axis=1) / k


def _recall(hits: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return hits.sum(axis=1) / num_targets


def _hit_rate(hits: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return hits.any(axis=1).astype(np.float64)


def _mrr(hits: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return (hits / np.arange(1, hits.shape[1] + 1)).max(axis=1, initial=0.0)


def _ndcg(hits: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate(([0.0], np.cumsum(gains)))[np.minimum(num_targets, k)]
    return hits @ gains[: hits.shape[1]] / ideal


_METRICS: dict[str, Callable[[NDArray[np.bool_], NDArray[np.int64], int], NDArray[np.float64]]] = {
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "hit_rate": _hit_rate,
    "mrr": _mrr,
}
