"""The built-in data set: seeded, and with the structure that its documentation promises."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.config.data_schema import DataConfig, SyntheticConfig
from sparcode.data.dataset import preprocess
from sparcode.data.synthetic import MIN_INTERACTIONS, generate_synthetic
from sparcode.errors import ConfigError

SMALL = SyntheticConfig(num_users=200, num_items=600, num_categories=12, num_styles=12, noise=0.0)


def pairs_of(raw) -> np.ndarray:
    category, style = (np.array(feature.values) for feature in raw.item_features[:2])
    return np.char.add(np.char.add(category, "+"), style)


def test_equal_configurations_give_equal_data_and_other_seeds_do_not():
    first, again = generate_synthetic(SMALL), generate_synthetic(SMALL)
    other = generate_synthetic(SMALL.model_copy(update={"seed": 8}))
    np.testing.assert_array_equal(first.items, again.items)
    assert first.user_features == again.user_features
    assert len(first.items) != len(other.items) or (first.items != other.items).any()


def test_without_noise_a_user_stays_within_the_interests():
    raw = generate_synthetic(SMALL)
    pairs = pairs_of(raw)
    for user in range(len(raw.user_ids)):
        followed = set(pairs[raw.items[raw.users == user]])
        assert len(followed) <= SMALL.interests_per_user
        categories, styles = zip(*(pair.split("+") for pair in followed), strict=True)
        assert len(set(categories)) == len(set(styles)) == len(followed)


def test_the_crosses_of_a_user_exist_in_the_catalogue_and_are_not_liked():
    raw = generate_synthetic(SMALL)
    pairs = pairs_of(raw)
    catalogue = set(pairs)
    for user in range(20):
        followed = set(pairs[raw.items[raw.users == user]])
        parts = [pair.split("+") for pair in followed]
        crosses = {f"{c}+{s}" for c, _ in parts for _, s in parts} - followed
        assert crosses
        assert crosses <= catalogue


def test_noise_is_a_share_of_the_interactions():
    config = SyntheticConfig(num_users=600, noise=0.2)
    raw = generate_synthetic(config)
    pairs = pairs_of(raw)
    outside = 0
    for user in range(config.num_users):
        values, counts = np.unique(pairs[raw.items[raw.users == user]], return_counts=True)
        outside += counts.sum() - np.sort(counts)[-config.interests_per_user :].sum()
        assert len(values) >= 1
    assert 0.15 < outside / len(raw.items) < 0.21


def test_sizes_and_order():
    config = SyntheticConfig()
    raw = generate_synthetic(config)
    lengths = np.bincount(raw.users)
    assert lengths.min() >= MIN_INTERACTIONS
    assert abs(lengths.mean() - config.interactions_per_user) < 1.0
    assert len(np.unique(raw.users.astype(np.int64) * config.num_items + raw.items)) == len(raw.items)
    assert raw.timestamps is not None
    assert raw.timestamps[:3].tolist() == [0, 1, 2]
    per_pair = np.unique(pairs_of(raw), return_counts=True)[1]
    assert 15 <= per_pair.min() <= per_pair.max() <= 21
    popularity = np.sort(np.bincount(raw.items, minlength=config.num_items))[::-1]
    assert popularity[:200].sum() > 2 * popularity[-200:].sum()


def test_external_names(tmp_path):
    data = preprocess(DataConfig(synthetic=SMALL, dataset_dir=str(tmp_path / "out")))
    assert data.item_ids[12] == "item_000012"
    assert data.user_ids[42] == "user_00042"
    assert data.item_vocab["category"][1].startswith("category_")
    assert data.counts["test"] == data.num_users == SMALL.num_users


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"interests_per_user": 5, "num_styles": 4}, "interests_per_user"),
        ({"num_items": 10}, "num_items"),
    ],
)
def test_impossible_settings_are_refused(values, key):
    with pytest.raises(ConfigError, match=f"data.synthetic.{key}"):
        generate_synthetic(SyntheticConfig(**values))
