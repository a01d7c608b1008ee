"""How much crosses count beside a model's own scores: the weight that ranks known queries best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import ConfigError

HALF_OCTAVES = range(-8, 13)
"""Weights that are tried: 0 and 2 ** (n / 2) times the ratio of the spreads of the two scores."""

Metric = Callable[[slice, NDArray[np.float32]], Sequence[float]]
"""(rows of the queries, their scores (b, I + 1)) -> means of the metrics over these queries."""


class Workers(Protocol):
    """Workers that divide the queries; one alone is :class:`Alone`.

    Both methods are collective: every worker calls them, in the same order, and gets the same result.
    """

    def gather(self, rows: NDArray) -> NDArray:
        """The rows (n, ...) of all workers one below the other; n may differ."""
        ...

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        """The sums over the workers of values of one shape."""
        ...


class Alone:
    """The only worker."""

    def gather(self, rows: NDArray) -> NDArray:
        """The rows as they are."""
        return rows

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        """The values as they are."""
        return np.asarray(values, np.float64)


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """Scores of some queries.

    Attributes:
        rows: which of the queries.
        own: (b, I + 1) float32 scores of the model alone; -inf for what is no result.
        added: (b, I + 1) float32 scores of crosses of weight 1.
    """

    rows: slice
    own: NDArray[np.float32]
    added: NDArray[np.float32]


@dataclass(frozen=True)
class WeightChoice:
    """Weights that were tried.

    Attributes:
        weights: W of them.
        values: for each the metrics over the queries of all workers, by name; the first one decides.
        num_queries: of all workers.
    """

    weights: tuple[float, ...]
    values: tuple[dict[str, float], ...]
    num_queries: int

    @property
    def best(self) -> int:
        """Place of the best weight, the first one of equals."""
        name = next(iter(self.values[0]))
        return int(np.argmax([values[name] for values in self.values]))

    @property
    def weight(self) -> float:
        """The best weight."""
        return self.weights[self.best]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics with the best weight."""
        return self.values[self.best]


def choose_weight(
    blocks: Iterable[ScoreBlock],
    metric: Metric,
    names: Sequence[str],
    workers: Workers,
    weights: Sequence[float] | None = None,
) -> WeightChoice:
    """Rank queries by ``own + weight * added`` for several weights.

    The model and the crosses are asked once for each block, whatever the number of weights.

    Args:
        blocks: of this worker's queries; none where it has none.
        metric: of a ranking by scores. It may change the scores.
        names: of what ``metric`` gives; the first one decides.
        workers: that the queries are divided among.
        weights: to try, the same on every worker; None = 0, which is the model alone, and
            :data:`HALF_OCTAVES` around the ratio of the spreads of the two scores.

    Raises:
        ConfigError: no worker has a query.
    """
    every = iter(blocks)
    first = next(every, None)
    tried = _candidates(first, workers) if weights is None else list(weights)
    remaining: Iterator[ScoreBlock] = every if first is None else chain([first], every)
    totals = np.zeros((len(tried), len(names)))
    count = 0
    for block in remaining:
        size = len(block.own)
        count += size
        for place, weight in enumerate(tried):
            scores = block.own + np.float32(weight) * block.added
            totals[place] += size * np.asarray(metric(block.rows, scores))
    sums = workers.sum(np.concatenate([[count], totals.reshape(-1)]))
    if not sums[0]:
        raise _no_queries()
    means = (sums[1:] / sums[0]).reshape(totals.shape)
    values = tuple(dict(zip(names, row, strict=True)) for row in means.tolist())
    return WeightChoice(tuple(tried), values, int(sums[0]))


def _candidates(first: ScoreBlock | None, workers: Workers) -> list[float]:
    """The weights to try: the same on every worker, from the spreads of the first block of the first one."""
    ratios = np.zeros(0)
    if first is not None:
        own, added = first.own[np.isfinite(first.own)], first.added[:, 1:].std()
        ratios = np.array([own.std() / added if added > 0 else 0.0], np.float64)
    every = workers.gather(ratios)
    if not len(every):
        raise _no_queries()
    if not every[0]:  # the crosses say nothing
        return [0.0]
    return [0.0, *(float(every[0]) * 2.0 ** (step / 2) for step in HALF_OCTAVES)]


def _no_queries() -> ConfigError:
    return ConfigError(
        "no user has a validation target, so that the weight of the crosses cannot be chosen",
        where="crosses.weight",
        expected="a weight above 0, or a protocol that leaves validation targets",
        received=0.0,
    )
