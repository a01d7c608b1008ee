"""Settings shared by all tests: one thread per library, repeatable hypothesis examples."""

from __future__ import annotations

import os

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
