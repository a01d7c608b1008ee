"""The workload of a trained run: queries as many as asked for, with the histories that the encoder reads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bundle_cases import LENGTH, Case, make_config, tiny_dataset
from sparcode.pipeline.model_inputs import queries_of

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from run_workload import first_queries


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_queries_is_not_the_length_of_their_histories(count: int) -> None:
    run = SimpleNamespace(config=make_config(Case()), dataset=tiny_dataset())
    found = first_queries(run, count)  # type: ignore[arg-type]
    assert found.history.shape == (count, LENGTH)
    whole = queries_of(run.config, run.dataset, "test", LENGTH)
    np.testing.assert_array_equal(found.history, whole.history[:count])
