"""Settings shared by all tests: one thread per library, repeatable examples and random numbers."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Before NumPy, Numba or MindSpore start their thread pools.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def repeatable_weights() -> None:
    """Every test draws the same random numbers, alone or among others: a failure can be repeated."""
    mindspore = sys.modules.get("mindspore")  # many tests never load it
    if mindspore is not None:
        mindspore.set_seed(5)  # that of NumPy's global generator as well
