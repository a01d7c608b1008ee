"""Built-in data set: a small world with popularity, tastes, sessions, followers and telling features.

Every interaction is drawn from a softmax over the items that the user has not had yet. For user u at place
t, in a session with interest z and with newest items j_0 (the last one), j_1, j_2, the score of item i is::

    s(i) = popularity * log(1 / rank_i)                  rank of the item's popularity within its category
         + 4 * k(w_uz, v_i)                              taste: k(w, v) = -log(1 + |w - v|^2)
         + 0.7 * N[region_u, brand_i]                    what a region thinks of a brand
         + followers * sum_n 0.5^n [i follows j_n]       items that follow the last three
    P(i) = softmax s(i)

where ``popularity`` and ``followers`` are keys of the configuration, and N stands for tables of independent
standard normal numbers.

Items. 24 categories lie in 6 departments. An item has a category, one of 6 styles and one of 40 brands, all
uniform. Its vector v_i in 9 dimensions is the sum of a department's centre (standard deviation 1), a
category's (.8), a shift by category and style (.6: a style means something else in every category), a shift
by brand (.4) and a part of its own that no feature tells (.4). The first dimension is the price. The
features are ``category``, ``style``, ``brand`` and ``price`` (dense, standardised).

Users. One of 5 age groups and of 6 regions, uniform: the features ``age_group`` and ``region``. A user has
four interests. Each lies in a department drawn from softmax(1.5 * (N[age, department] + N[region,
department])), in any category of it, and in a style drawn from softmax(1.5 * N[age, style]). Its vector w
is the centre of that category and style plus a part of its own (.4); the user's region shifts its price
(.5).

Sessions. The interest z of a place is that of the place before with probability ``session_stay``; otherwise
it is any of the four.

Followers. Up to three items follow an item, such as an accessory or a sequel, drawn at random in its
category.

Lengths. 8 interactions and a geometric number of further ones, ``interactions_per_user`` in the mean, at
most half of the catalogue. Timestamps are places in the history.

A key switches a term off and leaves the rest of the world as it is: ``popularity`` 0, ``followers`` 0,
``session_stay`` 0 (the same interests, in random order), ``telling_features`` 0 (the same interactions, but
items and users show the features of others). No term has the form of one model: the taste is no dot
product, several interests are no single vector, the table of followers has full rank, and ids know what
features do not. What each term is worth to whom is measured in docs/decisions/0003-built-in-data.md.
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
"""Weight of age and region in the choice of departments and styles."""
TASTE, REGIONAL_BRANDS = 4.0, 0.7
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


@dataclass(frozen=True)
class World:
    """Everything that interactions are drawn from.

    Attributes:
        config: sizes and weights.
        items, users: who meets.
    """

    config: SyntheticConfig
    items: Items
    users: Users


def generate_synthetic(config: SyntheticConfig) -> RawInteractions:
    """Generate the data set; equal configurations give equal data.

    Raises:
        ConfigError: the catalogue is too small for the histories, or these are asked to be too short.
    """
    _check(config)
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(5)]
    items = draw_items(config.num_items, streams[0])
    users = draw_users(config.num_users, items.centres, streams[1])
    owners, places, chosen = draw_histories(World(config, items, users), streams[2])
    return RawInteractions(
        users=owners.astype(np.int32),
        items=chosen.astype(np.int32),
        user_ids=[f"user_{user:05d}" for user in range(config.num_users)],
        item_ids=[f"item_{item:06d}" for item in range(config.num_items)],
        ordered=True,
        locate=lambda row: f"synthetic:{row + 1}",
        timestamps=places,
        user_features=_user_features(users, config.telling_features, streams[3]),
        item_features=_item_features(items, config.telling_features, streams[4]),
    )


def _check(config: SyntheticConfig) -> None:
    for name, least in (("num_items", 2 * MIN_INTERACTIONS), ("interactions_per_user", MIN_INTERACTIONS)):
        if getattr(config, name) < least:
            raise ConfigError(
                "too few for the histories of the built-in data",
                where=f"data.synthetic.{name}",
                expected=f"at least {least}",
                received=getattr(config, name),
            )


def draw_items(count: int, rng: Generator) -> Items:
    """Draw the catalogue: attributes, vectors, popularity and followers."""
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
            found = rng.permutation(np.delete(members, place))[:FOLLOWERS]
            followers[item, : len(found)] = found
    vectors = centres[category, style] + brands[brand] + own
    return Items(category, style, brand, vectors, log_popularity, followers, centres)


def draw_users(count: int, centres: Floats, rng: Generator) -> Users:
    """Draw users: attributes, and interests that these make likely, near ``centres`` (C, S, SIZE)."""
    age, region = rng.integers(len(AGE_GROUPS), size=count), rng.integers(len(REGIONS), size=count)
    by_age = rng.normal(size=(len(AGE_GROUPS), DEPARTMENTS))
    by_region = rng.normal(size=(len(REGIONS), DEPARTMENTS))
    styles = rng.normal(size=(len(AGE_GROUPS), STYLES))
    prices = rng.normal(0.0, SPREADS["price"], len(REGIONS))
    brand_scores = rng.normal(size=(len(REGIONS), BRANDS))
    department = _draw(AFFINITY * (by_age[age] + by_region[region]), INTERESTS, rng)
    category = department + DEPARTMENTS * rng.integers(CATEGORIES // DEPARTMENTS, size=(count, INTERESTS))
    style = _draw(AFFINITY * styles[age], INTERESTS, rng)
    interests = centres[category, style]
    interests = interests + rng.normal(0.0, SPREADS["own"], interests.shape)
    interests[:, :, 0] += prices[region][:, None]
    return Users(age, region, interests, brand_scores)


def _draw(scores: Floats, count: int, rng: Generator) -> Ints:
    """(U, V) scores -> (U, count) values from their softmax, drawn independently."""
    noise = rng.gumbel(size=(len(scores), count, scores.shape[1]))
    return (scores[:, None] + noise).argmax(2)


def draw_histories(world: World, rng: Generator) -> tuple[Ints, Ints, Ints]:
    """Draw all interactions: users, places in the history and items, each (n,), by user and place."""
    config = world.config
    more = rng.geometric(1.0 / (config.interactions_per_user - MIN_INTERACTIONS + 1.0), config.num_users) - 1
    lengths = np.minimum(MIN_INTERACTIONS + more, config.num_items // 2)
    histories = np.full((config.num_users, int(lengths.max())), -1)
    for start in range(0, config.num_users, USERS_AT_ONCE):
        # the longest first: those who still draw stay in front
        who = start + np.argsort(-lengths[start : start + USERS_AT_ONCE], kind="stable")
        block = _draw_block(world, who, lengths[who], rng)
        histories[who, : block.shape[1]] = block
    owners, places = np.nonzero(np.arange(histories.shape[1]) < lengths[:, None])
    return owners, places, histories[owners, places]


def _draw_block(world: World, who: Ints, lengths: Ints, rng: Generator) -> Ints:
    """Histories (B, longest) of the users ``who``, padded with -1, by descending ``lengths``."""
    weights = _interest_weights(world, who)
    histories = np.full((len(who), int(lengths[0])), -1)
    interest = rng.integers(INTERESTS, size=len(who))
    for place in range(histories.shape[1]):
        count = int((lengths > place).sum())
        rows = np.arange(count)
        stays = rng.random(count) < world.config.session_stay
        interest[:count] = np.where(stays, interest[:count], rng.integers(INTERESTS, size=count))
        newest = histories[:count, max(place - NEWEST, 0) : place][:, ::-1]
        sums = np.cumsum(weights[rows, interest[:count]] * np.exp(_boosts(world, newest)), axis=1)
        chosen = (sums > (rng.random(count) * sums[:, -1])[:, None]).argmax(1)
        histories[:count, place] = chosen
        weights[rows, :, chosen] = 0.0
    return histories


def _interest_weights(world: World, who: Ints) -> Floats:
    """Exponentials of the scores without followers: (B, INTERESTS, I)."""
    items, users = world.items, world.users
    interests, vectors = users.interests[who], items.vectors
    squares = (interests**2).sum(-1)[:, :, None] + (vectors**2).sum(-1)
    distances = np.maximum(squares - 2.0 * interests @ vectors.T, 0.0)
    scores = world.config.popularity * items.log_popularity - TASTE * np.log1p(distances)
    brands = REGIONAL_BRANDS * users.brand_scores[:, items.brand]  # (regions, I)
    return np.exp(scores + brands[users.region[who]][:, None])


def _boosts(world: World, newest: Ints) -> Floats:
    """Newest items (B, n), the last one first -> what their followers gain, (B, I)."""
    gains = np.zeros((len(newest), world.config.num_items))
    for age, last in enumerate(newest.T):
        followers = world.items.followers[last]
        owner, slot = np.nonzero(followers >= 0)
        gains[owner, followers[owner, slot]] += world.config.followers * FOLLOW_DECAY**age
    return gains


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
