"""Ranking metrics of random lists against a second implementation that shares nothing with the first.

The second one follows the definitions of docs/evaluation_protocol.md with sets, loops and exact fractions;
its NDCG sorts gains instead of counting hits, as implementations for graded relevance do.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcode.evaluation.metrics import per_user_metrics, ranking_metrics

ITEMS = 40


def slow_metrics(ranked: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """All metrics of one user with at least one relevant item."""
    places = [item if item > 0 else None for item in ranked[:k]]
    found = {item for item in places if item in relevant}
    first = next((place for place, item in enumerate(places, start=1) if item in relevant), None)
    gains = [1.0 if item in relevant else 0.0 for item in places] + [0.0] * (k - len(places))
    best = sorted([1.0] * len(relevant) + [0.0] * ITEMS, reverse=True)[:k]

    def discounted(values: list[float]) -> float:
        return math.fsum(value / math.log(place + 1, 2) for place, value in enumerate(values, start=1))

    return {
        "precision": float(Fraction(len(found), k)),
        "recall": float(Fraction(len(found), len(relevant))),
        "hit_rate": 1.0 if found else 0.0,
        "mrr": float(Fraction(1, first)) if first else 0.0,
        "ndcg": discounted(gains) / discounted(best),
    }


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists of one length, some short and padded, and none to fifteen targets each, some named twice."""
    users = draw(st.integers(1, 6))
    width = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ranked = np.stack([rng.permutation(np.arange(1, ITEMS + 1))[:width] for _ in range(users)])
    for row in ranked:
        row[width - rng.integers(0, width // 2 + 1) :] = -1
    targets = [rng.integers(1, ITEMS + 1, rng.integers(0, 16)) for _ in range(users)]
    targets[0] = np.append(targets[0], rng.integers(1, ITEMS + 1))  # somebody wants something
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in targets])])
    return ranked, indptr, np.concatenate(targets)


@settings(max_examples=300, deadline=None)
@given(rankings(), st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True))
def test_metrics_equal_the_second_implementation(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], ks: list[int]
) -> None:
    ranked, indptr, items = case
    values = per_user_metrics(ranked, indptr, items, ks)
    sums: dict[str, list[float]] = {key: [] for key in values}
    for user, row in enumerate(ranked.tolist()):
        relevant = set(items[indptr[user] : indptr[user + 1]].tolist())
        for k in ks:
            if not relevant:
                assert all(math.isnan(values[f"{name}@{k}"][user]) for name in ("recall", "ndcg", "mrr"))
                continue
            for name, expected in slow_metrics(row, relevant, k).items():
                assert values[f"{name}@{k}"][user] == pytest.approx(expected, rel=1e-12, abs=0), name
                sums[f"{name}@{k}"].append(expected)
    averages = ranking_metrics(ranked, indptr, items, ks)
    for key, expected_values in sums.items():
        mean = math.fsum(expected_values) / len(expected_values)
        assert averages[key] == pytest.approx(mean, rel=1e-9, abs=0)


def test_the_second_implementation_by_hand() -> None:
    """Self-test: hits at ranks 2 and 4 of three wanted items."""
    found = slow_metrics([5, 3, 9, 1], {3, 1, 8}, 4)
    assert (found["precision"], found["recall"], found["mrr"], found["hit_rate"]) == (
        1 / 2,
        2 / 3,
        1 / 2,
        1.0,
    )
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
