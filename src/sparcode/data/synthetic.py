"""Built-in data set: a small world with popularity, tastes, sessions, followers and telling features.

Every interaction is drawn from a softmax over the items that the user has not had yet. For user u at place t,
in the session with interest z and with newest items j_0 (the last), j_1, j_2, the score of item i is::

    s(i) = a_pop * log(1 / rank_i)                      popularity: rank within the item's category
         + a_taste * k(w_uz, v_i)                       taste: k(w, v) = -log(1 + |w - v|^2)
         + a_brand * N[region_u, brand_i]               regional brands
         + a_follow * sum_n 0.5^n [i follows j_n]       followers of the last three items
    P(i) = softmax s(i)

Items. 24 categories lie in 6 departments; an item has a category, one of 6 styles and one of 40 brands, all
uniform. Its vector v_i in 9 dimensions is a department centre (spread 1) + a category centre (.8) + a shift of
the (category, style) pair (.6: a style means something else in every category) + a brand shift (.4) + a part
of its own that no feature tells (.4). The first dimension is the price.

Users. 5 age groups and 6 regions, uniform. A user has four interests. Each is in a department drawn from
softmax(1.5 * (N[age, department] + N[region, department])), in any of its categories, in a style drawn from
softmax(1.5 * N[age, style]); its vector w is the centre of that category and style plus a part of its own (.4);
the region shifts its price (.5). The user features are ``age_group`` and ``region``.

Sessions. The interest z of place t is that of place t - 1 with probability ``session_stay``; otherwise any of
the four.

Followers. Each item has three followers (an accessory, a sequel), drawn at random within its category: a
sparse graph that no short vectors hold.

Lengths. 8 interactions and a geometric number more, ``interactions_per_user`` in the mean, at most half of the
catalogue. Timestamps are places in the history. No user has an item twice.

Terms can be switched off one by one, the rest of the world stays as it is: ``popularity`` 0, ``followers`` 0,
``session_stay`` 0 (the same interests in random order), ``telling_features`` 0 (the same interactions, but the
features of items and users are those of random others). N is a table of independent standard normal numbers.
No term is the form of one model: the taste is no dot product and several interests are no single vector, the
followers have full rank, and ids know what features do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import SyntheticConfig
from sparcode.data.raw import RawFeature, RawInteractions
from sparcode.errors import ConfigError

DEPARTMENTS, CATEGORIES, STYLES, BRANDS = 6, 24, 6, 40
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55+")
REGIONS = ("north", "east", "south", "west", "centre", "islands")
INTERESTS, FOLLOWERS, NEWEST = 4, 3, 3
SIZE = 9
"""Dimensions of items and interests."""
SPREADS = {"department": 1.0, "category": 0.8, "pair": 0.6, "brand": 0.4, "own": 0.4, "price": 0.5}
AFFINITY = 1.5
"""How far age and region decide on departments and styles."""
FOLLOW_DECAY = 0.5
MIN_INTERACTIONS = 8
USERS_AT_ONCE = 500

Generator = np.random.Generator
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """The catalogue.

    Attributes:
        category, style, brand: (I,) attributes.
        vectors: (I, SIZE) places in the space of tastes; the first dimension is the price.
        log_popularity: (I,) log of 1 / rank within the category.
        followers: (I, FOLLOWERS) items that follow each item, -1 = none.
        centres: (CATEGORIES, STYLES, SIZE) centre of each category and style.
    """

    category: Ints
    style: Ints
    brand: Ints
    vectors: Floats
    log_popularity: Floats
    followers: Ints
    centres: Floats


@dataclass(frozen=True)
class Users:
    """The users.

    Attributes:
        age, region: (U,) attributes.
        interests: (U, INTERESTS, SIZE) places in the space of tastes.
        brand_scores: (len(REGIONS), BRANDS) what a region adds to the score of a brand.
    """

    age: Ints
    region: Ints
    interests: Floats
    brand_scores: Floats


def generate_synthetic(config: SyntheticConfig) -> RawInteractions:
    """Generate the data set; equal configurations give equal data.

    Raises:
        ConfigError: the catalogue is too small for a history.
    """
    if config.num_items < 2 * MIN_INTERACTIONS:
        raise ConfigError(
            "too few items for the histories of the built-in data",
            where="data.synthetic.num_items",
            expected=f"at least {2 * MIN_INTERACTIONS}",
            received=config.num_items,
        )
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(4)]
    items = draw_items(config, streams[0])
    users = draw_users(config, items, streams[1])
    owners, places, chosen = draw_histories(config, items, users, streams[2])
    return RawInteractions(
        users=owners.astype(np.int32),
        items=chosen.astype(np.int32),
        user_ids=[f"user_{user:05d}" for user in range(config.num_users)],
        item_ids=[f"item_{item:06d}" for item in range(config.num_items)],
        ordered=True,
        locate=lambda row: f"synthetic:{row + 1}",
        timestamps=places,
        user_features=_user_features(users, config.telling_features, streams[3]),
        item_features=_item_features(items, config.telling_features, streams[3]),
    )


def draw_items(config: SyntheticConfig, rng: Generator) -> Items:
    """Draw the catalogue: attributes, vectors, popularity and followers."""
    count = config.num_items
    category, style, brand = (rng.integers(size, size=count) for size in (CATEGORIES, STYLES, BRANDS))
    department = rng.normal(0.0, SPREADS["department"], (DEPARTMENTS, SIZE))
    centre = rng.normal(0.0, SPREADS["category"], (CATEGORIES, SIZE))
    centre += department[np.arange(CATEGORIES) % DEPARTMENTS]
    centres = centre[:, None] + rng.normal(0.0, SPREADS["pair"], (CATEGORIES, STYLES, SIZE))
    brands = rng.normal(0.0, SPREADS["brand"], (BRANDS, SIZE))
    own = rng.normal(0.0, SPREADS["own"], (count, SIZE))
    log_popularity = np.zeros(count)
    followers = np.full((count, FOLLOWERS), -1)
    for value in range(CATEGORIES):
        members = rng.permutation(np.flatnonzero(category == value))
        log_popularity[members] = -np.log(np.arange(1, len(members) + 1))
        for place, item in enumerate(members):
            others = np.delete(members, place)
            found = rng.permutation(others)[:FOLLOWERS]
            followers[item, : len(found)] = found
    return Items(
        category,
        style,
        brand,
        centres[category, style] + brands[brand] + own,
        log_popularity,
        followers,
        centres,
    )


def draw_users(config: SyntheticConfig, items: Items, rng: Generator) -> Users:
    """Draw the users: attributes and the interests that these make likely."""
    count = config.num_users
    age, region = rng.integers(len(AGE_GROUPS), size=count), rng.integers(len(REGIONS), size=count)
    by_age = rng.normal(size=(len(AGE_GROUPS), DEPARTMENTS))
    by_region = rng.normal(size=(len(REGIONS), DEPARTMENTS))
    styles = rng.normal(size=(len(AGE_GROUPS), STYLES))
    price = rng.normal(0.0, SPREADS["price"], len(REGIONS))
    department = _draw(AFFINITY * (by_age[age] + by_region[region]), INTERESTS, rng)
    category = department + DEPARTMENTS * rng.integers(CATEGORIES // DEPARTMENTS, size=(count, INTERESTS))
    style = _draw(AFFINITY * styles[age], INTERESTS, rng)
    interests = items.centres[category, style]
    interests = interests + rng.normal(0.0, SPREADS["own"], interests.shape)
    interests[:, :, 0] += price[region][:, None]
    return Users(age, region, interests, rng.normal(size=(len(REGIONS), BRANDS)))


def _draw(scores: Floats, count: int, rng: Generator) -> Ints:
    """(U, V) scores -> (U, count) values from their softmax, drawn independently."""
    noise = rng.gumbel(size=(len(scores), count, scores.shape[1]))
    return (scores[:, None] + noise).argmax(2)


def draw_histories(
    config: SyntheticConfig, items: Items, users: Users, rng: Generator
) -> tuple[Ints, Ints, Ints]:
    """Draw all interactions: users, places in the history and items, each (n,), by user and place."""
    mean = max(config.interactions_per_user - MIN_INTERACTIONS, 0)
    more = rng.geometric(1.0 / (mean + 1.0), config.num_users) - 1
    lengths = np.minimum(MIN_INTERACTIONS + more, config.num_items // 2)
    histories = np.full((config.num_users, int(lengths.max())), -1)
    for start in range(0, config.num_users, USERS_AT_ONCE):
        rows = slice(start, start + USERS_AT_ONCE)
        order = start + np.argsort(-lengths[rows], kind="stable")  # those still drawing stay in front
        histories[order] = _draw_block(config, items, users, order, lengths[order], histories.shape[1], rng)
    owners, places = np.nonzero(np.arange(histories.shape[1]) < lengths[:, None])
    return owners, places, histories[owners, places]


def _draw_block(
    config: SyntheticConfig,
    items: Items,
    users: Users,
    who: Ints,
    lengths: Ints,
    width: int,
    rng: Generator,
) -> Ints:
    """Histories (B, width) of some users, padded with -1; the longest first."""
    weights = _interest_weights(config, items, users, who)
    histories = np.full((len(who), width), -1)
    session = rng.integers(INTERESTS, size=len(who))
    for place in range(int(lengths.max())):
        drawing = int((lengths > place).sum())
        rows = np.arange(drawing)
        moves = rng.random(drawing) >= config.session_stay
        session[:drawing][moves] = rng.integers(INTERESTS, size=int(moves.sum()))
        now = weights[rows, session[:drawing]]
        boosts = np.zeros_like(now)
        for age in range(min(NEWEST, place)):
            next_items = items.followers[histories[:drawing, place - 1 - age]]
            owner, slot = np.nonzero(next_items >= 0)
            boosts[owner, next_items[owner, slot]] += config.followers * FOLLOW_DECAY**age
        sums = np.cumsum(now * np.exp(boosts), axis=1)
        chosen = (sums > (rng.random(drawing) * sums[:, -1])[:, None]).argmax(1)
        histories[:drawing, place] = chosen
        weights[rows, :, chosen] = 0.0
    return histories


def _interest_weights(config: SyntheticConfig, items: Items, users: Users, who: Ints) -> Floats:
    """exp of all scores but the followers': (B, INTERESTS, I)."""
    vectors, interests = items.vectors, users.interests[who]
    squares = (interests**2).sum(-1)[:, :, None] + (vectors**2).sum(-1)
    distances = np.maximum(squares - 2.0 * interests @ vectors.T, 0.0)
    scores = config.taste * -np.log1p(distances) + config.popularity * items.log_popularity
    brands = config.regional_brands * users.brand_scores[:, items.brand]  # (regions, I)
    return np.exp(scores + brands[users.region[who]][:, None])


def _told(count: int, share: float, rng: Generator) -> Ints:
    """(count,) whose attributes each row shows: its own, or for a share of 1 - ``share`` those of another."""
    shown = np.arange(count)
    hidden = np.flatnonzero(rng.random(count) >= share)
    shown[hidden] = rng.permutation(hidden)
    return shown


def _user_features(users: Users, share: float, rng: Generator) -> tuple[RawFeature, ...]:
    shown = _told(len(users.age), share, rng)
    return (
        RawFeature("age_group", "categorical", [AGE_GROUPS[value] for value in users.age[shown]]),
        RawFeature("region", "categorical", [REGIONS[value] for value in users.region[shown]]),
    )


def _item_features(items: Items, share: float, rng: Generator) -> tuple[RawFeature, ...]:
    shown = _told(len(items.category), share, rng)
    price = items.vectors[shown, :1].astype(np.float32)
    return (
        RawFeature("category", "categorical", [f"category_{value:02d}" for value in items.category[shown]]),
        RawFeature("style", "categorical", [f"style_{value}" for value in items.style[shown]]),
        RawFeature("brand", "categorical", [f"brand_{value:02d}" for value in items.brand[shown]]),
        RawFeature("price", "dense", (price - price.mean()) / max(float(price.std()), 1e-6)),
    )
