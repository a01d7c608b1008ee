"""A generated world of any size in which relevance is known: ``python benchmarks/scale_world.py --help``.

Topics. ``num_items / 200`` topics lie in about as many areas as an area has topics. The centre of an area is
N(0, 1) in 32 dimensions, that of a topic the area's plus N(0, .3^2).

Items. An item belongs to a topic, popular topics having more items; its vector v is the topic's centre plus
N(0, .3^2). Its popularity follows Zipf's law: ranks are dealt at random over the whole catalogue.

Users. A user has three interests of weight m = .5, .3 and .2. Each is a topic, one of the user's own area
with probability .75 and of any area otherwise, and a point w in it, the topic's centre plus N(0, .3^2).
Shares of areas, and of topics in an area, follow Zipf's law with exponent 1/2.

Interactions. A user draws 10 items and a geometric number of further ones, 50 at most, 20 in the mean. Each
comes from an interest z with probability m_z, and from the softmax of that interest::

    P(i | z) = softmax over i of (-.8 log rank_i - |w_z - v_i|^2)

The softmax runs over the items of the topic of z and of the three topics nearest to it in its area, and over
no others: that is how the world is defined, and what makes ten million draws a matter of a minute. No item is
drawn twice for an interest, and a second draw of it for another interest is dropped.

One fifth of a user's interactions, drawn at random, are held out. An item that nobody drew is given to a user
with an interest in its topic, as a training interaction: so the catalogue has exactly as many items as asked
for, and held-out interactions are draws from P alone. ``World.probabilities`` gives the P of a user, from
which the best ranking that is possible follows.

The files ``train.txt`` and ``test.txt`` are those of ``data.source: user_lines``; the external ids are the
numbers of users and items, from 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 32
"""Dimensions of items and interests."""
TOPIC_ITEMS = 200
NEAR_TOPICS = 3
AREA_SPREAD, TOPIC_SPREAD, OWN_SPREAD = 1.0, 0.3, 0.3
POPULARITY, SHARES = 0.8, 0.5
"""Exponents of Zipf's law: of items, and of areas and topics."""
INTERESTS = np.array([0.5, 0.3, 0.2])
HOME = 0.75
"""Probability that an interest lies in the user's own area."""
SHORTEST, MEAN, LONGEST = 10, 20, 50
HELD_OUT = 0.2
_BLOCK = 1 << 21

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """Size of a world; ``num_interactions`` is what is drawn, of which repeated items are dropped."""

    num_items: int
    num_interactions: int
    seed: int = 0

    @property
    def num_users(self) -> int:
        """Users with ``MEAN`` interactions each."""
        return max(1, self.num_interactions // MEAN)


@dataclass(frozen=True)
class Interactions:
    """Who has what: (n,) int64 users and items, by user, in random order; ``held_out`` (n,) bool."""

    users: Ints
    items: Ints
    held_out: NDArray[np.bool_]


class World:
    """Items and users; equal shapes give equal worlds.

    Attributes:
        shape: its size.
        centres: (T, SIZE) float32 centres of the topics.
        near: (T, up to 1 + NEAR_TOPICS) int64 the topic itself, then those nearest to it in its area.
        item_topics: (I,) int64.
        vectors: (I, SIZE) float32.
        log_popularity: (I,) float32.
        interests: (U, 3) int64 topics.
        points: (U, 3, SIZE) float32 where in its topic each interest lies.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        topics, items, users, self._draws = np.random.SeedSequence(shape.seed).spawn(4)
        rng = np.random.default_rng(topics)
        self._areas = max(2, round((shape.num_items / TOPIC_ITEMS) ** 0.5))
        centres = AREA_SPREAD * _normal(rng, self._areas, 1, SIZE)
        centres = centres + TOPIC_SPREAD * _normal(rng, self._areas, self._areas, SIZE)
        self.near = np.concatenate([_nearest(part) + n * self._areas for n, part in enumerate(centres)])
        self.centres = centres.reshape(-1, SIZE)

        rng = np.random.default_rng(items)
        self.item_topics = _draw_topics(rng, self._areas, (shape.num_items,))
        self.vectors = self._around(rng, self.item_topics)
        ranks = rng.permutation(shape.num_items) + 1
        self.log_popularity = (-POPULARITY * np.log(ranks)).astype(np.float32)
        self._by_topic = np.argsort(self.item_topics, kind="stable")
        self._borders = np.searchsorted(
            self.item_topics, np.arange(len(self.centres) + 1), sorter=self._by_topic
        )

        rng = np.random.default_rng(users)
        size = (shape.num_users, len(INTERESTS))
        self.interests = _draw_topics(rng, self._areas, size)
        home = _zipf_draws(rng, self._areas, (shape.num_users, 1))
        at_home = rng.random(size) < HOME
        self.interests[at_home] = (home * self._areas + self.interests % self._areas)[at_home]
        self.points = self._around(rng, self.interests)

    def _around(self, rng: np.random.Generator, topics: Ints) -> Floats:
        vectors = _normal(rng, *topics.shape, SIZE)
        vectors *= OWN_SPREAD
        vectors += self.centres[topics]
        return vectors

    def items_near(self, topic: int) -> Ints:
        """(M,) items that an interest in a topic may draw."""
        borders = self._borders
        return np.concatenate([self._by_topic[borders[t] : borders[t + 1]] for t in self.near[topic]])

    def scores(self, points: Floats, items: Ints) -> Floats:
        """(B, M) float32, what the softmax of interests at ``points`` (B, SIZE) is taken of."""
        vectors = self.vectors[items]
        scores = 2.0 * (points @ vectors.T)
        scores += self.log_popularity[items] - np.square(vectors).sum(1)
        scores -= np.square(points).sum(1)[:, None]
        return scores

    def probabilities(self, user: int) -> tuple[Ints, NDArray[np.float64]]:
        """Items (n,) that a user may draw, ascending, and their probabilities (n,)."""
        found, shares = [], []
        for topic, point, weight in zip(self.interests[user], self.points[user], INTERESTS, strict=True):
            items = self.items_near(topic)
            scores = self.scores(point[None], items)[0].astype(np.float64)
            share = np.exp(scores - scores.max(initial=-np.inf))
            found.append(items)
            shares.append(weight * share / max(share.sum(), 1e-300))
        items, places = np.unique(np.concatenate(found), return_inverse=True)
        return items, np.bincount(places, np.concatenate(shares), len(items))

    def interactions(self) -> Interactions:
        """Draw all interactions."""
        rng = np.random.default_rng(self._draws)
        size = self.shape.num_items
        pairs = [users * size + items for users, items in self._draw(rng)]
        pairs = np.unique(np.concatenate(pairs))
        users, items = np.divmod(pairs, size)
        users, items = _shuffled(rng, users, items)
        held_out = _first_share(users, self.shape.num_users)
        missing = np.setdiff1d(np.arange(size), items)
        owners = self._owners(rng, missing)
        order = np.argsort(np.concatenate([users, owners]), kind="stable")
        return Interactions(
            np.concatenate([users, owners])[order],
            np.concatenate([items, missing])[order],
            np.concatenate([held_out, np.zeros(len(missing), bool)])[order],
        )

    def _draw(self, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
        """Users and items of one topic after the other."""
        further = rng.geometric(1.0 / (MEAN - SHORTEST + 1), self.shape.num_users) - 1
        lengths = np.minimum(SHORTEST + further, LONGEST)
        counts = rng.multinomial(lengths, INTERESTS).reshape(-1)
        topics = self.interests.reshape(-1)
        order = np.lexsort((counts, topics))  # equal counts together: fewer spare places in a block
        borders = np.searchsorted(topics, np.arange(len(self.centres) + 1), sorter=order)
        points = self.points.reshape(-1, SIZE)
        for topic in range(len(self.centres)):
            items = self.items_near(topic)
            rows = order[borders[topic] : borders[topic + 1]]
            step = max(1, _BLOCK // max(1, len(items)))
            for start in range(0, len(rows) if len(items) else 0, step):
                block = rows[start : start + step]
                places, columns = draw_without_repeats(rng, self.scores(points[block], items), counts[block])
                yield block[places] // len(INTERESTS), items[columns]

    def _owners(self, rng: np.random.Generator, items: Ints) -> Ints:
        """A user (n,) with an interest in the topic of each item; any user where nobody has one."""
        topics = self.interests.reshape(-1)
        order = np.argsort(topics, kind="stable")
        wanted = self.item_topics[items]
        low, high = (np.searchsorted(topics, wanted, side, order) for side in ("left", "right"))
        chosen = low + (rng.random(len(items)) * (high - low)).astype(np.int64)
        owners = order[np.minimum(chosen, len(order) - 1)] // len(INTERESTS)
        return np.where(high > low, owners, rng.integers(0, self.shape.num_users, len(items)))


def draw_without_repeats(rng: np.random.Generator, scores: Floats, counts: Ints) -> tuple[Ints, Ints]:
    """Draw columns of each row from the softmax of its scores, one after the other without repeats.

    The order of ``log(exponential noise) - score`` is that of such draws: an exponential race.

    Args:
        rng: source of randomness.
        scores: (B, M) float32.
        counts: (B,) draws of each row, at most M of which are made.

    Returns:
        rows (n,) and columns (n,).
    """
    most = min(int(counts.max()), scores.shape[1])
    if most == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    arrival = rng.standard_exponential(scores.shape, dtype=np.float32)
    np.maximum(arrival, np.finfo(np.float32).tiny, out=arrival)
    np.log(arrival, out=arrival)
    arrival -= scores
    first = np.argpartition(arrival, most - 1, axis=1)[:, :most]
    first = np.take_along_axis(first, np.argsort(np.take_along_axis(arrival, first, 1), axis=1), 1)
    rows, places = np.nonzero(np.arange(most) < counts[:, None])
    return rows, first[rows, places]


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)


def _zipf_draws(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> Ints:
    shares = np.arange(1, count + 1) ** -SHARES
    return np.searchsorted(np.cumsum(shares), rng.random(shape) * shares.sum(), side="right")


def _draw_topics(rng: np.random.Generator, areas: int, shape: tuple[int, ...]) -> Ints:
    """Topics: an area, and a topic in it."""
    return _zipf_draws(rng, areas, shape) * areas + _zipf_draws(rng, areas, shape)


def _nearest(centres: Floats) -> Ints:
    """(T, SIZE) -> (T, up to 1 + NEAR_TOPICS) rows by distance, each itself first."""
    distances = np.square(centres[:, None] - centres[None]).sum(-1)
    return np.argsort(distances, axis=1, kind="stable")[:, : 1 + NEAR_TOPICS]


def _shuffled(rng: np.random.Generator, users: Ints, items: Ints) -> tuple[Ints, Ints]:
    """Ascending users and their items, in a random order for each user."""
    order = np.lexsort((rng.random(len(users)), users))
    return users[order], items[order]


def _first_share(users: Ints, num_users: int) -> NDArray[np.bool_]:
    """(n,) whether an interaction is among the first ``HELD_OUT`` of its user; ``users`` (n,) ascend."""
    counts = np.bincount(users, minlength=num_users)
    rank = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < np.floor(HELD_OUT * counts + 0.5)[users]


def write_world(world: World, directory: Path) -> dict[str, Any]:
    """Write ``train.txt``, ``test.txt`` and ``world.json`` with the shape; returns what was written.

    Args:
        world: what is drawn from.
        directory: made if it is missing.
    """
    drawn = world.interactions()
    directory.mkdir(parents=True, exist_ok=True)
    names = [str(number) for number in range(max(world.shape.num_items, world.shape.num_users))]
    for file, part in (("train.txt", ~drawn.held_out), ("test.txt", drawn.held_out)):
        _write_lines(directory / file, drawn.users[part], drawn.items[part].tolist(), names)
    facts = {
        **asdict(world.shape),
        "topics": len(world.centres),
        "users": world.shape.num_users,
        "interactions": len(drawn.users),
        "held_out": int(drawn.held_out.sum()),
    }
    (directory / "world.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _write_lines(path: Path, users: Ints, items: list[int], names: list[str]) -> None:
    owners, starts = np.unique(users, return_index=True)
    stops = [*starts[1:].tolist(), len(users)]
    with path.open("w", encoding="utf-8") as stream:
        for user, start, stop in zip(owners.tolist(), starts.tolist(), stops, strict=True):
            words = [names[user], *[names[item] for item in items[start:stop]]]
            stream.write(" ".join(words) + "\n")


def main() -> None:
    """Write a world."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="directory for train.txt and test.txt")
    parser.add_argument("--num_items", type=int, required=True)
    parser.add_argument("--num_interactions", type=int, required=True, help="draws, repeated ones included")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shape = Shape(arguments.num_items, arguments.num_interactions, arguments.seed)
    print(json.dumps(write_world(World(shape), arguments.output)))


if __name__ == "__main__":
    main()
