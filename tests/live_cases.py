"""A changing catalogue with scores that are known, and the index that a full rebuild would give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.index import InvertedIndex
from sparcode.index.live.live_index import LiveIndex

NUM_TERMS = 7
CODEBOOKS = np.arange(NUM_TERMS, dtype=np.float32).reshape(1, 1, NUM_TERMS, 1)  # the token of term t is (t,)
FLOORS = np.array([0.0, 0.5, -1.0, 0.1, 2.0, 0.0, 0.3], np.float32)
SCORES = np.array([-2, -1, 0, 0.1, 0.25, 0.5, 0.7, 2, 2.1, 3], np.float32)
"""Few distinct scores make ties; some equal a floor."""


class TableScorer:
    """Scores by table: row t is term t, column j is item j + 1 of the scorer."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table

    @property
    def num_items(self) -> int:
        return self.table.shape[1]

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        return self.table[tokens[:, 0].astype(np.int64), start - 1 : stop - 1]


class Catalogue:
    """Live items with their scores for all terms, in plain Python."""

    def __init__(self, rng: np.random.Generator, num_items: int = 12) -> None:
        self.rng = rng
        self.capacity = num_items
        self.scores: dict[int, NDArray[np.float32]] = {}
        self.put(np.arange(1, num_items + 1))

    def put(self, item_ids: NDArray[np.int64]) -> TableScorer:
        """Draw new scores of items; the scorer that gives them."""
        table = self.rng.choice(SCORES, (NUM_TERMS, len(item_ids)))
        self.scores.update(zip(item_ids.tolist(), table.T, strict=True))
        self.capacity = max([self.capacity, *item_ids.tolist()])
        return TableScorer(table)

    def remove(self, item_ids: NDArray[np.int64]) -> None:
        for item in item_ids.tolist():
            del self.scores[item]

    def draw(self, live: bool) -> NDArray[np.int64]:
        """Up to five ascending items, live ones or others, the latter sometimes new."""
        every = np.arange(1, self.capacity + 70)
        pool = every[np.isin(every, list(self.scores)) == live]
        return np.sort(self.rng.choice(pool, min(int(self.rng.integers(0, 6)), len(pool)), replace=False))

    def rebuilt(self) -> InvertedIndex:
        """A full build with the floors of the base: items are in a list where their score exceeds it."""
        lengths, items, scores = [], [], []
        for term in range(NUM_TERMS):
            gains = {item: row[term] - FLOORS[term] for item, row in sorted(self.scores.items())}
            kept = {item: gain for item, gain in gains.items() if gain > 0}
            lengths.append(len(kept))
            items += list(kept)
            scores += list(kept.values())
        return InvertedIndex.from_postings(
            np.cumsum([0, *lengths]),
            np.array(items, np.int64),
            np.array(scores, np.float32),
            num_items=self.capacity,
            floors=FLOORS,
        )

    def live_bits(self) -> NDArray[np.uint64]:
        flags = np.zeros((self.capacity // 64 + 1) * 64, bool)
        flags[list(self.scores)] = True
        return np.packbits(flags, bitorder="little").view(np.uint64)


def start(seed: int, packed: bool = False) -> tuple[Catalogue, LiveIndex]:
    catalogue = Catalogue(np.random.default_rng(seed))
    base = catalogue.rebuilt()
    return catalogue, LiveIndex(base.pack("float32") if packed else base, CODEBOOKS)


def random_mask(rng: np.random.Generator, rows: int, num_items: int) -> NDArray[np.uint64]:
    return rng.integers(0, 2**64, (rows, num_items // 64 + 1), dtype=np.uint64)
