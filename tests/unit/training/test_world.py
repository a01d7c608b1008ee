"""The world of size 1, and how work is divided; real workers are in tests/distributed."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from sparcode.training.world import World


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [0, 1, 7, 8, 100])
def test_shares_follow_each_other_and_differ_by_at_most_one(total: int, size: int) -> None:
    shares = [World(rank, size).share(total) for rank in range(size)]
    assert [number for share in shares for number in range(total)[share]] == list(range(total))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_a_single_process_is_a_world_that_does_not_communicate() -> None:
    world = World()
    assert world.first
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(world.gather(rows), rows)
    np.testing.assert_array_equal(world.sum(rows), rows)
    assert world.mean({"recall": 0.25}, 4) == {"recall": 0.25}
    parameter = Parameter(Tensor(rows), name="rows")
    world.copy_from_first([parameter])
    np.testing.assert_array_equal(parameter.asnumpy(), rows)
    assert world.agree([parameter])
    world.wait()
    world.leave()


def test_means_are_weighted_by_what_each_worker_has(monkeypatch: pytest.MonkeyPatch) -> None:
    other = np.array([1.0, 1.0 * 0.5, 1.0 * 0.1])  # one query there
    world = World(0, 2)
    monkeypatch.setattr(world, "sum", lambda values: values + other)
    assert world.mean({"recall": 0.2, "ndcg": 0.4}, 3) == pytest.approx({"recall": 0.275, "ndcg": 0.325})
