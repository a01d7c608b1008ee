"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from sparcode.config.schema import TrainConfig

FLOOR = 0.01
"""Share of the peak rate that linear and cosine decay end at."""


def learning_rate_at(config: TrainConfig, step: int, total_steps: int) -> float:
    """Learning rate of a 0-based step: linear warm-up, then constant, linear or cosine decay."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    span = max(total_steps - config.warmup_steps, 1)
    left = 1.0 - (step - config.warmup_steps) / span
    factor = left if config.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
    return config.learning_rate * max(factor, FLOOR)
