"""The built-in data set: seeded, and drawn as its documentation says; each term can be switched off."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.config.data_schema import DataConfig, SyntheticConfig
from sparcode.data import synthetic
from sparcode.data.dataset import preprocess
from sparcode.data.raw import RawInteractions
from sparcode.data.synthetic import MIN_INTERACTIONS, World, draw_items, draw_users, generate_synthetic
from sparcode.errors import ConfigError

SMALL = SyntheticConfig(num_users=300, num_items=400)


def changed(**values: float) -> SyntheticConfig:
    return SMALL.model_copy(update=values)


def made(config: SyntheticConfig) -> tuple[World, RawInteractions]:
    """The world behind the data of a configuration, and the data."""
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(5)]
    items = draw_items(config.num_items, streams[0])
    users = draw_users(config.num_users, items.centres, streams[1])
    return World(config, items, users), generate_synthetic(config)


def pairs(raw: RawInteractions) -> tuple[np.ndarray, np.ndarray]:
    """Every item with the next one of the same user."""
    same = raw.users[1:] == raw.users[:-1]
    return raw.items[:-1][same], raw.items[1:][same]


def following_share(world: World, raw: RawInteractions) -> float:
    earlier, later = pairs(raw)
    return float((world.items.followers[earlier] == later[:, None]).any(1).mean())


def same_category_share(raw: RawInteractions) -> float:
    category = np.array(raw.item_features[0].values)
    earlier, later = pairs(raw)
    return float((category[earlier] == category[later]).mean())


def test_equal_configurations_give_equal_data_and_other_seeds_do_not() -> None:
    first, again, other = map(generate_synthetic, (SMALL, SMALL, changed(seed=8)))
    np.testing.assert_array_equal(first.items, again.items)
    np.testing.assert_array_equal(first.users, again.users)
    assert first.user_features == again.user_features
    np.testing.assert_array_equal(first.item_features[3].values, again.item_features[3].values)
    assert len(first.items) != len(other.items) or (first.items != other.items).any()


def test_sizes_lengths_and_order() -> None:
    config = SyntheticConfig(num_users=2000, num_items=500)
    raw = generate_synthetic(config)
    lengths = np.bincount(raw.users, minlength=config.num_users)
    assert lengths.min() == MIN_INTERACTIONS
    assert lengths.max() <= config.num_items // 2
    assert abs(lengths.mean() - config.interactions_per_user) < 1.2  # standard error .37
    assert len(np.unique(raw.users.astype(np.int64) * config.num_items + raw.items)) == len(raw.items)
    assert raw.timestamps is not None
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    np.testing.assert_array_equal(raw.timestamps, np.arange(len(raw.users)) - np.repeat(starts, lengths))


def test_features_have_the_documented_names_kinds_and_values() -> None:
    raw = generate_synthetic(SyntheticConfig(num_users=500, num_items=1000))
    assert [(f.name, f.kind) for f in raw.user_features] == [
        ("age_group", "categorical"),
        ("region", "categorical"),
    ]
    assert [f.name for f in raw.item_features] == ["category", "style", "brand", "price"]
    assert [len(set(f.values)) for f in raw.item_features[:3]] == [24, 6, 40]
    price = np.asarray(raw.item_features[3].values)
    assert price.shape == (1000, 1)
    assert price.dtype == np.float32
    assert abs(float(price.mean())) < 1e-5
    assert float(price.std()) == pytest.approx(1.0, abs=1e-5)
    assert [len(set(f.values)) for f in raw.user_features] == [5, 6]


def test_the_first_item_is_drawn_from_the_documented_softmax() -> None:
    """One user many times: shares of first items against the softmax written down from the formula."""
    config = SyntheticConfig(num_users=1, num_items=30)
    world, _ = made(config)
    items, users = world.items, world.users
    expected = np.zeros(30)
    for interest in users.interests[0]:
        score = np.array(
            [
                items.log_popularity[i]
                - 4.0 * np.log(1.0 + ((interest - items.vectors[i]) ** 2).sum())
                + 0.7 * users.brand_scores[users.region[0], items.brand[i]]
                for i in range(30)
            ]
        )
        expected += np.exp(score) / np.exp(score).sum() / len(users.interests[0])
    draws = 20_000
    block = synthetic._draw_block(
        world, np.zeros(draws, np.int64), np.ones(draws, np.int64), np.random.default_rng(0)
    )
    observed = np.bincount(block[:, 0], minlength=30) / draws
    error = np.sqrt(expected * (1.0 - expected) / draws)
    assert (np.abs(observed - expected) < 4.5 * error + 1e-4).all()


def test_followers_of_the_last_three_items_gain_and_the_newest_the_most() -> None:
    world, _ = made(SMALL)
    first, second, third = (int(world.items.followers[place, 0]) for place in (0, 1, 2))
    gains = synthetic._boosts(world, np.array([[0, 1, 2]]))[0]
    for item, least in ((first, 3.0), (second, 1.5), (third, 0.75)):
        assert gains[item] >= least
    assert set(np.flatnonzero(gains)) == set(world.items.followers[:3].ravel()) - {-1}


def test_followers_follow_and_can_be_switched_off() -> None:
    with_term, without = (following_share(*made(changed(followers=weight))) for weight in (3.0, 0.0))
    assert with_term > 2.0 * without


def test_sessions_hold_on_to_an_interest_and_can_be_switched_off() -> None:
    stay, jump = (
        same_category_share(generate_synthetic(changed(session_stay=share, followers=0.0)))
        for share in (0.9, 0.0)
    )
    assert stay > 1.4 * jump


def test_popular_items_are_popular_and_need_not_be() -> None:
    def correlation(weight: float) -> float:
        world, raw = made(changed(popularity=weight))
        counts = np.bincount(raw.items, minlength=SMALL.num_items)
        return float(np.corrcoef(np.log1p(counts), world.items.log_popularity)[0, 1])

    assert correlation(1.0) > 0.3
    assert abs(correlation(0.0)) < 0.2


def test_features_tell_or_do_not_while_the_interactions_stay() -> None:
    world, telling = made(SMALL)
    _, silent = made(changed(telling_features=0.0))
    np.testing.assert_array_equal(telling.items, silent.items)
    true = np.char.add("category_", np.char.zfill(world.items.category.astype(str), 2))
    assert (np.array(telling.item_features[0].values) == true).all()
    assert (np.array(silent.item_features[0].values) == true).mean() < 0.15  # 1 / 24 by chance
    regions = [np.array(raw.user_features[1].values) for raw in (telling, silent)]
    assert (regions[0] == regions[1]).mean() < 0.35  # 1 / 6 by chance
    for shown, feature in zip(silent.item_features[:3], telling.item_features[:3], strict=True):
        assert sorted(shown.values) == sorted(feature.values)  # of another item, not of none


def test_switching_one_term_off_leaves_catalogue_and_users_alone() -> None:
    first, _ = made(SMALL)
    other, _ = made(changed(followers=0.0, popularity=0.0, session_stay=0.0))
    np.testing.assert_array_equal(first.items.vectors, other.items.vectors)
    np.testing.assert_array_equal(first.users.interests, other.users.interests)


def test_external_names(tmp_path) -> None:
    data = preprocess(DataConfig(synthetic=SMALL, dataset_dir=str(tmp_path / "out")))
    assert data.item_ids[0] == "item_000000"
    assert data.user_ids[42] == "user_00042"
    assert data.item_vocab["category"][1].startswith("category_")
    assert data.counts["test"] == data.num_users == SMALL.num_users


@pytest.mark.parametrize(("key", "value"), [("num_items", 10), ("interactions_per_user", 3)])
def test_impossible_sizes_are_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"data.synthetic.{key}"):
        generate_synthetic(changed(**{key: value}))


def test_the_smallest_catalogue_works() -> None:
    raw = generate_synthetic(SyntheticConfig(num_users=20, num_items=2 * MIN_INTERACTIONS))
    assert np.bincount(raw.users).tolist() == [MIN_INTERACTIONS] * 20
