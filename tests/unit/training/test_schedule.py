"""Learning rates by hand."""

from __future__ import annotations

import pytest

from sparcode.config.schema import TrainConfig
from sparcode.training.schedule import learning_rate_at


def rates(steps: range, total: int, **values: object) -> list[float]:
    config = TrainConfig(learning_rate=0.1, **values)  # type: ignore[arg-type]
    return [learning_rate_at(config, step, total) for step in steps]


def test_constant() -> None:
    assert rates(range(3), 3, schedule="constant") == [0.1, 0.1, 0.1]


def test_linear_starts_at_the_peak_and_falls_evenly() -> None:
    assert rates(range(4), 4, schedule="linear") == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_linear_ends_at_one_percent_of_the_peak() -> None:
    assert rates(range(199, 203), 200, schedule="linear") == pytest.approx([0.001] * 4)


def test_cosine_is_half_way_in_the_middle() -> None:
    assert rates(range(0, 4, 2), 4, schedule="cosine") == pytest.approx([0.1, 0.05])
    assert rates(range(1, 2), 4, schedule="cosine") == pytest.approx([0.05 * (1 + 0.5**0.5)])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_climbs_to_the_peak_and_the_decay_starts_there(schedule: str) -> None:
    assert rates(range(5), 104, schedule=schedule, warmup_steps=4) == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1], rel=1e-3
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decay_never_rises_and_stays_positive(schedule: str) -> None:
    values = rates(range(3, 50), 50, schedule=schedule, warmup_steps=3)
    assert all(one >= other > 0 for one, other in zip(values, values[1:], strict=False))


def test_a_warm_up_longer_than_the_run_is_finite() -> None:
    assert rates(range(2), 2, warmup_steps=10) == pytest.approx([0.01, 0.02])
