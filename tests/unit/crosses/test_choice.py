"""The weight of crosses is the one that ranks best, however the queries are cut and divided."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sparcode.crosses.choice import Alone, ScoreBlock, choose_weight
from sparcode.errors import ConfigError

NUM_QUERIES, NUM_ITEMS = 12, 30
RNG = np.random.default_rng(3)
OWN = RNG.normal(size=(NUM_QUERIES, NUM_ITEMS + 1)).astype(np.float32)
ADDED = RNG.normal(size=(NUM_QUERIES, NUM_ITEMS + 1)).astype(np.float32)
OWN[:, 0], ADDED[:, 0] = -np.inf, 0
TARGETS = (OWN + 0.7 * ADDED).argsort(1)[:, -3]
NAMES = ("reciprocal", "found")


def blocks(queries: range, size: int) -> Iterator[ScoreBlock]:
    for start in range(queries.start, queries.stop, size):
        rows = slice(start, min(start + size, queries.stop))
        yield ScoreBlock(rows, OWN[rows].copy(), ADDED[rows].copy())


def metric(rows: slice, scores: NDArray[np.float32]) -> tuple[float, float]:
    ranks = (-scores).argsort(1).argsort(1)[np.arange(len(scores)), TARGETS[rows]] + 1
    return float((1 / ranks).mean()), float((ranks <= 3).mean())


def test_each_weight_is_worth_what_ranking_by_it_is() -> None:
    choice = choose_weight(blocks(range(NUM_QUERIES), 5), metric, NAMES, Alone())
    ratio = OWN[:5, 1:].std() / ADDED[:5, 1:].std()
    assert len(choice.weights) == 22
    assert choice.weights[0] == 0
    np.testing.assert_allclose(choice.weights[9], ratio, rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.log2(choice.weights[1:])), 0.5)
    for weight, values in zip(choice.weights, choice.values, strict=True):
        expected = metric(slice(0, NUM_QUERIES), OWN + np.float32(weight) * ADDED)
        assert tuple(values.values()) == pytest.approx(expected)
    assert choice.metrics["reciprocal"] == max(values["reciprocal"] for values in choice.values)
    assert choice.weight > 0
    assert choice.num_queries == NUM_QUERIES


def test_weights_can_be_given() -> None:
    choice = choose_weight(blocks(range(4), 4), metric, NAMES, Alone(), [0.0, 0.7])
    assert choice.weights == (0.0, 0.7)


class Together(Alone):
    """The second of two workers; what the first one says is known."""

    def __init__(self, rows: NDArray, sums: NDArray) -> None:
        self._rows, self._sums = rows, sums

    def gather(self, rows: NDArray) -> NDArray:
        return np.concatenate([self._rows, rows])

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        return self._sums + values


class Recording(Alone):
    """Keeps what it was told."""

    def gather(self, rows: NDArray) -> NDArray:
        self.rows = rows
        return rows

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        self.sums = values
        return values


@pytest.mark.parametrize("split", [7, NUM_QUERIES])
def test_workers_choose_as_one_does(split: int) -> None:
    """Also where the second worker has no query at all."""
    first = Recording()
    choose_weight(blocks(range(split), 5), metric, NAMES, first)
    both = Together(first.rows, first.sums)
    together = choose_weight(blocks(range(split, NUM_QUERIES), 5), metric, NAMES, both)
    alone = choose_weight(blocks(range(NUM_QUERIES), 5), metric, NAMES, Alone())
    assert together.weights == alone.weights
    assert together.num_queries == NUM_QUERIES
    for mine, wanted in zip(together.values, alone.values, strict=True):
        assert mine == pytest.approx(wanted)


@pytest.mark.parametrize("weights", [None, [0.0, 1.0]])
def test_without_a_query_nothing_can_be_chosen(weights: list[float] | None) -> None:
    with pytest.raises(ConfigError, match=r"crosses\.weight: no user has a validation target"):
        choose_weight([], metric, NAMES, Alone(), weights)


def test_crosses_that_say_nothing_have_no_weight() -> None:
    nothing = [ScoreBlock(slice(0, 4), OWN[:4], np.zeros_like(OWN[:4]))]
    choice = choose_weight(nothing, metric, NAMES, Alone())
    assert choice.weights == (0.0,)
    assert choice.weight == 0
