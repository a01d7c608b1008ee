"""Generated catalogues with Zipf popularity, for measurements at sizes that no public data set has.

Items lie in clusters whose sizes follow Zipf's law, as unit vectors around the centre of their cluster, and
have a popularity that follows Zipf's law too. Item ids are dealt at random: neither cluster nor popularity
can be read off an id. A code is a token vector near the centre of a cluster, popular clusters having more
codes; its score of an item is their dot product plus a share of the item's log popularity. A posting list
holds the best items of its code, each less the list's floor, so that the model is

    y(q, i) = sum over the tokens k of q of relu(s(c_k, i) - floor(c_k))

and the lists hold exactly its positive terms. The items of a list are taken from the clusters nearest to the
code.

A query has tokens of as many interests: the clusters are drawn by size, and half of the tokens come from a
cluster next to that of the token before, so that lists of a query overlap as those of a trained model do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcode.index import InvertedIndex

WIDTH = 64
NOISE = 0.6
POPULARITY_WEIGHT = 0.02
NEAR_CLUSTERS = 200
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Shape:
    """Size of a catalogue and its index."""

    num_items: int
    num_terms: int = 16_384
    list_length: int = 1_000
    seed: int = 0

    @property
    def num_clusters(self) -> int:
        """About 500 items in a cluster, at most 5,000 clusters."""
        return max(20, min(5_000, self.num_items // 500))


class Catalogue:
    """A generated catalogue.

    Attributes:
        shape: its size.
        item_vectors: (num_items + 1, WIDTH + 1) float32, the last column 1/10 of the log popularity; row 0 is
            padding and zero.
        tokens: (num_terms, WIDTH) float32 token vectors.
        index: the posting lists, floors subtracted and kept.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        rng = np.random.default_rng(shape.seed)
        self._rng = rng
        sizes = _zipf_shares(shape.num_clusters)
        self._cluster_shares = sizes
        self._centres = _unit(rng.standard_normal((shape.num_clusters, WIDTH), dtype=np.float32))
        # drawn at random: the members of a cluster are scattered over the ids
        self._item_cluster = rng.choice(shape.num_clusters, shape.num_items + 1, p=sizes).astype(np.int32)
        self.item_vectors = self._make_items(rng)
        self._term_cluster = rng.choice(shape.num_clusters, shape.num_terms, p=sizes)
        noise = rng.standard_normal((shape.num_terms, WIDTH), dtype=np.float32)
        self.tokens = _unit(self._centres[self._term_cluster] + 0.3 * NOISE / np.sqrt(WIDTH) * noise)
        self._near = np.argsort(-(self._centres @ self._centres.T), axis=1)[:, :NEAR_CLUSTERS]
        self.index = self._build()

    def _make_items(self, rng: np.random.Generator) -> NDArray[np.float32]:
        vectors = np.zeros((self.shape.num_items + 1, WIDTH + 1), dtype=np.float32)
        for start in range(1, len(vectors), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(vectors)))
            noise = rng.standard_normal((rows.stop - rows.start, WIDTH), dtype=np.float32)
            centres = self._centres[self._item_cluster[rows]]
            vectors[rows, :WIDTH] = _unit(centres + NOISE / np.sqrt(WIDTH) * 2 * noise)
        ranks = rng.permutation(self.shape.num_items) + 1
        vectors[1:, WIDTH] = -0.1 * np.log(ranks / self.shape.num_items)
        return vectors

    def scores(self, terms: NDArray[np.int64], items: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """(T, I) float32 scores of codes and items, before a floor is subtracted."""
        tokens = np.concatenate(
            [self.tokens[terms], np.full((len(terms), 1), 10 * POPULARITY_WEIGHT, np.float32)], axis=1
        )
        return tokens @ self.item_vectors[items].T

    def _build(self) -> InvertedIndex:
        length, members = self.shape.list_length, self._members()
        lists: list[tuple[NDArray, NDArray]] = [None] * self.shape.num_terms  # type: ignore[list-item]
        floors = np.zeros(self.shape.num_terms, dtype=np.float32)
        for cluster in np.unique(self._term_cluster):
            terms = np.flatnonzero(self._term_cluster == cluster)
            items = self._candidates(cluster, members)
            for term, scores in zip(terms, self.scores(terms, items), strict=True):
                kept = min(length + 1, len(items))
                best = np.argpartition(-scores, kept - 1)[:kept]
                floors[term] = scores[best].min()
                best = best[scores[best] > floors[term]]
                best = best[np.argsort(items[best])]
                lists[term] = (items[best], scores[best] - floors[term])
        return InvertedIndex.from_postings(
            np.concatenate([[0], np.cumsum([len(pair[0]) for pair in lists])]),
            np.concatenate([pair[0] for pair in lists]),
            np.concatenate([pair[1] for pair in lists]),
            num_items=self.shape.num_items,
            floors=floors,
        )

    def _members(self) -> list[NDArray[np.int64]]:
        order = np.argsort(self._item_cluster[1:], kind="stable") + 1
        borders = np.searchsorted(self._item_cluster[order], np.arange(self.shape.num_clusters + 1))
        return [order[borders[c] : borders[c + 1]] for c in range(self.shape.num_clusters)]

    def _candidates(self, cluster: int, members: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Items of the nearest clusters, at least five lists long where the catalogue has as many."""
        wanted, found, parts = 5 * self.shape.list_length, 0, []
        for place, near in enumerate(self._near[cluster]):
            parts.append(members[near])
            found += len(members[near])
            if found >= wanted and place >= 3:
                break
        return np.concatenate(parts)

    def queries(self, count: int, num_tokens: int = 4, seed: int = 1) -> NDArray[np.int64]:
        """(count, num_tokens) term ids; the same arguments give the same queries."""
        rng = np.random.default_rng((self.shape.seed, seed))
        by_cluster = np.argsort(self._term_cluster, kind="stable")
        borders = np.searchsorted(
            self._term_cluster[by_cluster], np.arange(self.shape.num_clusters + 1)
        )  # terms of a cluster
        inhabited = np.flatnonzero(np.diff(borders))
        shares = self._cluster_shares[inhabited] / self._cluster_shares[inhabited].sum()
        clusters = rng.choice(inhabited, (count, num_tokens), p=shares)
        for place in range(1, num_tokens, 2):
            near = self._near[clusters[:, place - 1], rng.integers(0, 4, count)]
            clusters[:, place] = np.where(np.isin(near, inhabited), near, clusters[:, place - 1])
        low, high = borders[clusters], borders[clusters + 1]
        return by_cluster[low + (rng.random(low.shape) * (high - low)).astype(np.int64)]


def _zipf_shares(count: int, exponent: float = 0.7) -> NDArray[np.float64]:
    shares = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return shares / shares.sum()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
