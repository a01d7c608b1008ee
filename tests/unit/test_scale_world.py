"""The generated world of the benchmark of sizes: seeded, popular by Zipf's law, drawn from what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sparcode.config.data_schema import DataConfig
from sparcode.data.dataset import Dataset, preprocess

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scale_world import (
    HELD_OUT,
    HOME,
    INTERESTS,
    LONGEST,
    OWN_SPREAD,
    SIZE,
    Interactions,
    Shape,
    World,
    draw_without_repeats,
    write_world,
)

SHAPE = Shape(num_items=2000, num_interactions=60_000, seed=3)


@pytest.fixture(scope="module")
def world() -> World:
    return World(SHAPE)


@pytest.fixture(scope="module")
def drawn(world: World) -> Interactions:
    return world.interactions()


@pytest.fixture(scope="module")
def dataset(world: World, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    place = tmp_path_factory.mktemp("scale")
    write_world(world, place / "world")
    section = {"source": "user_lines", "path": str(place / "world"), "protocol": "pre_split"}
    return preprocess(DataConfig.model_validate({**section, "dataset_dir": str(place / "dataset")}))


def test_the_seed_decides_everything(drawn: Interactions) -> None:
    again, other = World(SHAPE).interactions(), World(Shape(2000, 60_000, seed=4)).interactions()
    for name in ("users", "items", "held_out"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(again, name))
    assert len(other.items) != len(drawn.items) or (other.items != drawn.items).any()


def test_every_item_occurs_and_no_user_has_one_twice(drawn: Interactions) -> None:
    assert set(drawn.items) == set(range(SHAPE.num_items))
    assert set(drawn.users) == set(range(SHAPE.num_users))
    pairs = drawn.users * SHAPE.num_items + drawn.items
    assert len(np.unique(pairs)) == len(pairs)
    assert 0.85 * SHAPE.num_interactions < len(pairs) < 1.05 * SHAPE.num_interactions


def test_a_fifth_of_every_user_is_held_out(drawn: Interactions) -> None:
    counts, held_out = np.bincount(drawn.users), np.bincount(drawn.users, drawn.held_out)
    assert counts.max() <= LONGEST + 5  # items that nobody drew come on top
    assert held_out.min() >= 1
    assert held_out.sum() == pytest.approx(HELD_OUT * len(drawn.users), rel=0.05)


def test_popularity_follows_zipf(world: World, drawn: Interactions) -> None:
    counts = np.sort(np.bincount(drawn.items))[::-1]
    ranks = np.arange(10, 1000)
    slope = np.polyfit(np.log(ranks), np.log(counts[ranks - 1]), 1)[0]
    assert -1.2 < slope < -0.4
    assert counts[:200].sum() > 0.35 * counts.sum()  # a tenth of the items
    by_item = np.log(np.bincount(drawn.items))
    assert np.corrcoef(by_item, world.log_popularity)[0, 1] > 0.6


def test_items_of_a_user_come_from_the_interests(world: World, drawn: Interactions) -> None:
    topics = world.item_topics[drawn.items]
    reachable = world.near[world.interests[drawn.users]].reshape(len(topics), -1)
    inside = (reachable == topics[:, None]).any(1)
    assert inside[drawn.held_out].all()
    assert inside.all()  # in a world of this size somebody is interested in every topic
    first = world.near[world.interests[drawn.users, 0]]
    assert (first == topics[:, None]).any(1).mean() > INTERESTS[0]


def test_interests_gather_in_an_area(world: World) -> None:
    areas = world.interests // round(len(world.centres) ** 0.5)
    together = (areas[:, 0] == areas[:, 1]).mean()
    assert together > HOME**2
    away = np.linalg.norm(world.points - world.centres[world.interests], axis=-1)
    assert away.mean() == pytest.approx(OWN_SPREAD * SIZE**0.5, rel=0.05)


def test_draws_follow_the_softmax_without_repeats() -> None:
    rng = np.random.default_rng(0)
    scores = np.log(np.array([1.0, 2.0, 3.0, 4.0], np.float32))
    rows, columns = draw_without_repeats(rng, np.repeat(scores[None], 40_000, 0), np.full(40_000, 2))
    pairs = columns.reshape(-1, 2)
    np.testing.assert_array_equal(rows, np.repeat(np.arange(40_000), 2))
    np.testing.assert_allclose(np.bincount(pairs[:, 0]) / 40_000, [0.1, 0.2, 0.3, 0.4], atol=0.01)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    after_last = pairs[pairs[:, 0] == 3, 1]  # the softmax of what is left
    np.testing.assert_allclose(np.bincount(after_last) / len(after_last), np.array([1, 2, 3]) / 6, atol=0.015)


def test_rows_draw_as_often_as_they_are_asked_for() -> None:
    counts = np.array([0, 3, 1, 9])
    rows, columns = draw_without_repeats(np.random.default_rng(0), np.zeros((4, 5), np.float32), counts)
    np.testing.assert_array_equal(np.bincount(rows, minlength=4), [0, 3, 1, 5])
    assert sorted(columns[rows == 3]) == [0, 1, 2, 3, 4]
    none = draw_without_repeats(np.random.default_rng(0), np.zeros((4, 5), np.float32), np.zeros(4, int))
    assert [len(part) for part in none] == [0, 0]


def test_probabilities_are_those_of_the_draws(world: World, drawn: Interactions) -> None:
    items, shares = world.probabilities(0)
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(items) > 0).all()
    likely, chance = [], []
    for user in range(300):
        items, shares = world.probabilities(user)
        own = drawn.items[(drawn.users == user) & drawn.held_out]
        likely.extend(shares[np.searchsorted(items, own)])
        chance.append((shares**2).sum())  # what a draw from the shares has on average
    assert np.mean(likely) == pytest.approx(np.mean(chance), rel=0.5)  # drawn without repeats: somewhat less
    assert np.mean(likely) > 5 / SHAPE.num_items


def test_the_files_are_read_as_written(world: World, drawn: Interactions, dataset: Dataset) -> None:
    assert (dataset.num_items, dataset.num_users) == (SHAPE.num_items, SHAPE.num_users)
    assert not dataset.ordered
    assert dataset.item_ids == [str(number) for number in range(SHAPE.num_items)]
    assert dataset.counts["test"] == int(drawn.held_out.sum())
    for user in (0, 7, SHAPE.num_users - 1):
        own = drawn.users == user
        assert sorted(dataset.test.of(user) - 1) == sorted(drawn.items[own & drawn.held_out])
        known = [*dataset.train.of(user), *dataset.valid.of(user)]
        assert sorted(np.array(known) - 1) == sorted(drawn.items[own & ~drawn.held_out])
