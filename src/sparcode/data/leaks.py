"""Targets that a query already holds: in the user's history, or named by the user's features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset
from sparcode.data.interactions import Interactions

TOLERATED_SHARE = 0.01
"""Share of the targets that a feature may name beyond chance: ages and item ids are both small numbers."""


@dataclass(frozen=True)
class Leaks:
    """What was found in one split.

    Attributes:
        targets: held-out (user, item) pairs.
        in_history: of these, items that stand in the user's own history. Excluding seen items makes them
            impossible to find, and ranking seen items makes them trivial.
        in_features: by name of the user feature, pairs whose item the feature names by its external id.
            Only features that do so more often than chance explains.
    """

    targets: int
    in_history: int
    in_features: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """One line, empty if there is nothing to say."""
        found = [f"{self.in_history:,} in the user's own history"] if self.in_history else []
        found += [f"{count:,} in user feature {name!r}" for name, count in self.in_features.items()]
        return f"of {self.targets:,} targets, {', '.join(found)}" if found else ""


def find_leaks(dataset: Dataset, split: str) -> Leaks:
    """Look for the targets of a split in what its queries are made of.

    Args:
        dataset: any data set.
        split: ``valid`` (history: training items) or ``test`` (training and validation items).
    """
    held_out = dataset.valid if split == "valid" else dataset.test
    users, items = _pairs(held_out)
    known = [dataset.train] if split == "valid" else [dataset.train, dataset.valid]
    in_history = 0
    if dataset.query_kind == "history":
        keys = [pairs[0] * (dataset.num_items + 1) + pairs[1] for pairs in map(_pairs, known)]
        targets = users * (dataset.num_items + 1) + items
        in_history = int(np.isin(targets, np.concatenate(keys)).sum())
    numbers = {external: number for number, external in enumerate(dataset.item_ids, start=1)}
    in_features = {}
    for spec in dataset.user_features:
        if spec.kind == "dense":
            continue
        named = np.array([numbers.get(value, 0) for value in dataset.user_vocab.get(spec.name, [])], np.int64)
        count = _suspicious_count(named, np.asarray(dataset.user_arrays[spec.name]), users, items)
        if count:
            in_features[spec.name] = count
    return Leaks(len(items), in_history, in_features)


def _pairs(interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and items (n,) of interactions."""
    counts = interactions.counts()
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts), np.asarray(interactions.items, np.int64)


def _suspicious_count(
    named: NDArray[np.int64], rows: NDArray[Any], users: NDArray[np.int64], items: NDArray[np.int64]
) -> int:
    """Targets that a feature names, or 0 if as many of other users' targets as chance has it are named.

    Args:
        named: (size,) item that each stored value names, 0 = none.
        rows: (U,) or (U, width) stored values.
        users: (n,) of the targets.
        items: (n,) targets.
    """
    if not named.any() or not len(items):
        return 0
    values = named[rows[users]].reshape(len(items), -1)  # (n, width), items named
    own = int((values == items[:, None]).any(1).sum())
    chance = int((values == np.roll(items, len(items) // 2)[:, None]).any(1).sum())
    limit = chance + TOLERATED_SHARE * len(items) + 3 * np.sqrt(chance + 1)
    return own if own > limit else 0
