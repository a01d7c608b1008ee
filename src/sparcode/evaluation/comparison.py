"""Comparison of evaluations on the same users: differences with confidence intervals by paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
"""Of the resamples: the same users give the same intervals."""

_BLOCK_DRAWS = 1 << 22
_ROUNDING = 1e-12  # of means that are added up in another order


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        value: estimate.
        low: lower bound of the interval of :data:`CONFIDENCE`.
        high: upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A difference of two means.

    Attributes:
        p: two-sided p-value of the hypothesis that there is none.
    """

    p: float


class PairedBootstrap:
    """Means of several systems over resamples of the same users.

    All systems and metrics see the same resamples, which pairs them: what is hard about a user is hard for
    all.

    Args:
        values: (M, S, B) M metrics of S systems for B > 0 users.
        num_resamples: R, resamples of B users with replacement.
        seed: of the resamples.
    """

    def __init__(
        self, values: NDArray[np.float64], num_resamples: int = NUM_RESAMPLES, seed: int = SEED
    ) -> None:
        self._means = values.mean(-1)
        flat = values.reshape(-1, values.shape[-1])
        self._resampled = _resampled_means(flat, num_resamples, seed).reshape(*values.shape[:2], -1)

    def mean(self, metric: int, system: int) -> Interval:
        """Mean of a metric over the users of a system."""
        return Interval(float(self._means[metric, system]), *_bounds(self._resampled[metric, system]))

    def difference(self, metric: int, system: int, baseline: int) -> Difference:
        """Mean of a system less that of another one.

        p is twice the share of resamples on the rarer side of zero, zero included; one more counts for each
        side. It is below 1 - CONFIDENCE where the interval leaves out zero, and 1 for systems that agree on
        every user.
        """
        observed = float(self._means[metric, system] - self._means[metric, baseline])
        resampled = self._resampled[metric, system] - self._resampled[metric, baseline]
        rarer = min((resampled <= _ROUNDING).sum(), (resampled >= -_ROUNDING).sum())
        p = min(2 * (1 + int(rarer)) / (1 + len(resampled)), 1.0)
        return Difference(observed, *_bounds(resampled), p)


def _resampled_means(values: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Means (n, R) over resamples of the columns of values (n, B)."""
    count = values.shape[1]
    rng = np.random.default_rng(seed)
    means = np.empty((len(values), num_resamples))
    step = max(_BLOCK_DRAWS // count, 1)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=size * count).reshape(size, count)
        means[:, start : start + size] = values @ times.T.astype(np.float64) / count
    return means


def _bounds(resampled: NDArray[np.float64]) -> tuple[float, float]:
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (rest, 1 - rest))
    return float(low), float(high)
