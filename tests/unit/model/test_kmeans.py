"""k-means: nearest centres by brute force, clusters that are means of points, none of them empty in vain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from sparcode.model import kmeans as module
from sparcode.model.kmeans import kmeans, nearest_centres


def normal_points(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(T, N) in double precision."""
    return np.square(points[:, None].astype(np.float64) - centres[None]).sum(-1)


def error(points: np.ndarray, centres: np.ndarray) -> float:
    """Mean squared distance of points to their nearest centres."""
    return float(squared_distances(points, centres).min(1).mean())


def test_the_nearest_centre_of_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points, centres = normal_points(100), normal_points(17, seed=1)
    expected = squared_distances(points, centres).argmin(1)
    np.testing.assert_array_equal(nearest_centres(points, centres), expected)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 17 * 3)  # three points at once
    np.testing.assert_array_equal(nearest_centres(points, centres), expected)
    twice = np.concatenate([centres, centres])
    np.testing.assert_array_equal(nearest_centres(points, twice), expected)  # ties to the smaller place


@pytest.mark.parametrize("seed", range(4))
def test_separated_blobs_have_centres_of_their_own(seed: int) -> None:
    """More centres than blobs: each lies in one of the blobs, and every blob has some."""
    rng = np.random.default_rng(seed)
    corners = 10 * (np.arange(8)[:, None] >> np.arange(3) & 1)
    sizes = np.arange(1, 9) * 20
    points = np.repeat(corners, sizes, 0) + rng.normal(0, 0.1, (sizes.sum(), 3))
    centres, found = kmeans(points.astype(np.float32), 40, rng)
    distances = squared_distances(centres, corners)
    assert distances.min(1).max() < 0.5
    np.testing.assert_array_equal(np.bincount(distances.argmin(1), found, 8), sizes)


def test_centres_are_the_means_of_their_points() -> None:
    points = normal_points(2000)
    centres, sizes = kmeans(points, 50, np.random.default_rng(3))
    assert (centres.dtype, sizes.dtype) == (np.float32, np.float64)
    assert sizes.sum() == 2000
    np.testing.assert_allclose(sizes @ centres / 2000, points.mean(0), atol=1e-5)
    means, own = kmeans(points, 1, np.random.default_rng(3))
    np.testing.assert_allclose(means[0], points.mean(0), atol=1e-5)
    assert own.tolist() == [2000]


def test_clusters_are_as_tight_as_those_of_the_library() -> None:
    points = normal_points(4000, 6)
    by_library, _ = kmeans2(points.astype(np.float64), 100, iter=12, minit="points", seed=2)
    found, _ = kmeans(points, 100, np.random.default_rng(2))
    assert error(points, found) < 1.03 * error(points, by_library)
    first, _ = kmeans(points, 100, np.random.default_rng(2), iterations=1)
    assert error(points, found) < 0.95 * error(points, first)


@pytest.mark.parametrize(("count", "clusters"), [(2000, 256), (600, 512), (512, 512)])
def test_no_cluster_is_empty_where_there_are_as_many_points(count: int, clusters: int) -> None:
    for seed in range(3):
        _, sizes = kmeans(normal_points(count, seed=seed), clusters, np.random.default_rng(seed))
        assert sizes.min() >= 1


class Unlucky:
    """Draws the first point for every centre, and everything else as usual."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def permutation(self, count: int) -> np.ndarray:
        return np.zeros(count, np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)


def test_clusters_that_lose_their_points_are_seeded_anew() -> None:
    """All centres start at one point far away from the others."""
    points = normal_points(1000, 2)
    points[0] = 1000.0
    _, first = kmeans(points, 16, Unlucky(), iterations=1)  # type: ignore[arg-type]
    assert (first == 0).sum() > 8
    centres, sizes = kmeans(points, 16, Unlucky())  # type: ignore[arg-type]
    assert sizes.min() >= 1
    lucky, _ = kmeans(points[1:], 15, np.random.default_rng(0))
    assert error(points[1:], centres) < 2 * error(points[1:], lucky)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 3, 20])
def test_fewer_points_than_centres_are_all_kept(count: int) -> None:
    points = normal_points(count)
    centres, sizes = kmeans(points, 32, np.random.default_rng(0))
    assert np.isfinite(centres).all()
    assert len(np.unique(centres, axis=0)) == 32
    assert sizes.sum() == count
    assert error(points, centres) < 1e-5


def test_the_same_random_numbers_give_the_same_clusters() -> None:
    points = normal_points(300)
    (centres, sizes), (again, same), (other, _) = (
        kmeans(points, 20, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(centres, again)
    np.testing.assert_array_equal(sizes, same)
    assert (centres != other).any()
