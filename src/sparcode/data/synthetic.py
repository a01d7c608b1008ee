"""Built-in data set with a structure that a feature-wise dot product cannot express.

Items. Every item has a ``category`` and a ``style``. Categories and styles are divided into blocks; inside
a block every (category, style) pair exists in the catalogue, and about 18 items share a pair. Item
popularity is Zipf-like, independent of the pair.

Users. A user belongs to one block and follows ``interests_per_user`` pairs of it with distinct categories
and distinct styles, for example (a, x) and (b, y). The crosses (a, y) and (b, x) exist too and are not
liked: any score that adds a preference for the category to a preference for the style, as the dot product
with a sum of feature embeddings of any width does, ranks them as high as the liked pairs. Item ids would
give the pairs away, so the configurations of this data set do without (``data.use_item_ids: false``), as
one does where most items are new. Interests alternate at random along the history. The user features
``interest_1``, ``interest_2``, ... state the pairs, in random order; ``age_group`` hints at the block in
30 % of the cases and is random otherwise.

Interactions. A user has about ``interactions_per_user`` interactions (Poisson, at least 5), no item twice.
Each is an item of one of the interests, drawn by popularity among its items, or, with probability
``noise``, any item drawn by popularity. Timestamps are positions in the history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import SyntheticConfig
from sparcode.data.raw import RawFeature, RawInteractions
from sparcode.errors import ConfigError

ITEMS_PER_PAIR = 18
POPULARITY_EXPONENT = 0.4
MIN_INTERACTIONS = 5
LIKED_SHARE = 0.75
"""Longest history as a share of the items that the user likes, so that targets are left to be found."""
AGE_HINT = 0.3
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55+")

Generator = np.random.Generator


@dataclass(frozen=True)
class Catalogue:
    """Items of the synthetic data set.

    Attributes:
        categories: (I,) category of each item.
        styles: (I,) style of each item.
        weights: (I,) popularity, positive.
        blocks: per block the (pairs, 2) grid of its (category, style) pairs.
        pair_items: items of each pair.
    """

    categories: NDArray[np.int64]
    styles: NDArray[np.int64]
    weights: NDArray[np.float64]
    blocks: list[NDArray[np.int64]]
    pair_items: dict[tuple[int, int], NDArray[np.int64]]


def generate_synthetic(config: SyntheticConfig) -> RawInteractions:
    """Generate the data set; equal configurations give equal data.

    Raises:
        ConfigError: the catalogue is too small for the interests and interactions asked for.
    """
    rng = np.random.default_rng(config.seed)
    catalogue = make_catalogue(config, rng)
    histories, user_blocks = [], rng.integers(len(catalogue.blocks), size=config.num_users)
    followed = []
    for block in user_blocks:
        interests = _draw_interests(catalogue.blocks[block], config.interests_per_user, rng)
        histories.append(_draw_history(catalogue, interests, config, rng))
        followed.append(interests)
    lengths = np.array([len(history) for history in histories])
    users = np.repeat(np.arange(config.num_users, dtype=np.int32), lengths)
    width_c, width_s = len(str(config.num_categories - 1)), len(str(config.num_styles - 1))
    categories = [f"category_{value:0{width_c}d}" for value in range(config.num_categories)]
    styles = [f"style_{value:0{width_s}d}" for value in range(config.num_styles)]
    stated = tuple(
        RawFeature(
            f"interest_{slot + 1}",
            "categorical",
            [f"{categories[pairs[slot][0]]}+{styles[pairs[slot][1]]}" for pairs in followed],
        )
        for slot in range(config.interests_per_user)
    )
    return RawInteractions(
        users=users,
        items=np.concatenate(histories).astype(np.int32),
        user_ids=[f"user_{user:05d}" for user in range(config.num_users)],
        item_ids=[f"item_{item:06d}" for item in range(config.num_items)],
        ordered=True,
        locate=lambda row: f"synthetic:{row + 1}",
        timestamps=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
        user_features=(*stated, RawFeature("age_group", "categorical", _age_groups(user_blocks, rng))),
        item_features=(
            RawFeature("category", "categorical", [categories[value] for value in catalogue.categories]),
            RawFeature("style", "categorical", [styles[value] for value in catalogue.styles]),
        ),
    )


def make_catalogue(config: SyntheticConfig, rng: Generator) -> Catalogue:
    """Draw the pairs of every block and give each item a pair and a popularity."""
    blocks = _make_blocks(config, rng)
    pairs = np.concatenate(blocks)
    if config.num_items < MIN_INTERACTIONS * len(pairs) and len(blocks) > 1:
        raise ConfigError(
            "too few items for the categories and styles",
            where="data.synthetic.num_items",
            expected=f"at least {MIN_INTERACTIONS * len(pairs)}",
            received=config.num_items,
        )
    # Every pair gets the same number of items, give or take one; which items is random.
    pair_of_item = rng.permutation(np.arange(config.num_items) % len(pairs))
    rank = rng.permutation(config.num_items) + 1
    return Catalogue(
        categories=pairs[pair_of_item, 0],
        styles=pairs[pair_of_item, 1],
        weights=rank.astype(np.float64) ** -POPULARITY_EXPONENT,
        blocks=blocks,
        pair_items={(int(c), int(s)): np.flatnonzero(pair_of_item == p) for p, (c, s) in enumerate(pairs)},
    )


def _make_blocks(config: SyntheticConfig, rng: Generator) -> list[NDArray[np.int64]]:
    """Blocks of side x side pairs: together about ``num_items / ITEMS_PER_PAIR`` pairs."""
    wanted_pairs = max(1.0, config.num_items / ITEMS_PER_PAIR)
    lanes = min(config.num_categories, config.num_styles)
    side = max(config.interests_per_user + 1, round(wanted_pairs / lanes))
    rows, columns = min(side, config.num_categories), min(side, config.num_styles)
    count = min(config.num_categories // rows, config.num_styles // columns)
    count = max(1, min(count, round(wanted_pairs / (rows * columns))))
    if config.interests_per_user > min(rows, columns):
        raise ConfigError(
            "a user cannot follow so many pairs with distinct categories and styles",
            where="data.synthetic.interests_per_user",
            expected=f"at most {min(rows, columns)}",
            received=config.interests_per_user,
            remedy="raise data.synthetic.num_categories and data.synthetic.num_styles",
        )
    categories = rng.permutation(config.num_categories)[: count * rows].reshape(count, rows)
    styles = rng.permutation(config.num_styles)[: count * columns].reshape(count, columns)
    return [
        np.stack(np.meshgrid(c, s, indexing="ij"), axis=-1).reshape(-1, 2)
        for c, s in zip(categories, styles, strict=True)
    ]


def _draw_interests(block: NDArray[np.int64], count: int, rng: Generator) -> list[tuple[int, int]]:
    categories, styles = np.unique(block[:, 0]), np.unique(block[:, 1])
    chosen_c = rng.choice(categories, size=count, replace=False)
    chosen_s = rng.choice(styles, size=count, replace=False)
    return list(zip(chosen_c.tolist(), chosen_s.tolist(), strict=True))


def _draw_history(
    catalogue: Catalogue, interests: list[tuple[int, int]], config: SyntheticConfig, rng: Generator
) -> NDArray[np.int64]:
    queues = [_by_popularity(catalogue, catalogue.pair_items[pair], rng) for pair in interests]
    liked = sum(map(len, queues))
    length = max(
        MIN_INTERACTIONS, min(int(rng.poisson(config.interactions_per_user)), int(LIKED_SHARE * liked))
    )
    if length > liked:
        raise ConfigError(
            "too few items for the interests of a user",
            where="data.synthetic.num_items",
            expected=f"at least {MIN_INTERACTIONS} items in the pairs of a user",
            received=liked,
        )
    noisy = rng.random(length) < config.noise
    noise = iter(
        rng.choice(config.num_items, size=2 * int(noisy.sum()), p=catalogue.weights / catalogue.weights.sum())
    )
    history: dict[int, None] = {}
    while len(history) < length:
        source = None if noisy[len(history)] else queues[int(rng.integers(len(queues)))]
        item = next(noise, None) if source is None else (source.pop() if source else None)
        if item is None:
            item = next(queue.pop() for queue in queues if queue)
        history.setdefault(int(item))
    return np.fromiter(history, dtype=np.int64, count=length)


def _by_popularity(catalogue: Catalogue, items: NDArray[np.int64], rng: Generator) -> list[int]:
    """Items in the order of drawing without replacement by popularity, the first one last (for pop)."""
    waiting = rng.exponential(size=len(items)) / catalogue.weights[items]
    return items[np.argsort(-waiting)].tolist()


def _age_groups(user_blocks: NDArray[np.int64], rng: Generator) -> list[str]:
    hinted = rng.random(len(user_blocks)) < AGE_HINT
    groups = np.where(
        hinted, user_blocks % len(AGE_GROUPS), rng.integers(len(AGE_GROUPS), size=len(user_blocks))
    )
    return [AGE_GROUPS[group] for group in groups]
