"""An index with random lists, some of them empty."""

import numpy as np
import pytest

from sparcode.index import InvertedIndex


def random_index(seed: int, num_terms: int = 40, num_items: int = 60, max_length: int = 25) -> InvertedIndex:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, max_length, num_terms) * (rng.random(num_terms) < 0.8)
    items = [np.sort(rng.choice(num_items, length, replace=False)) + 1 for length in lengths]
    return InvertedIndex.from_postings(
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate(items),
        rng.random(lengths.sum()).astype(np.float32) + np.float32(0.1),
        num_items=num_items,
        metadata={"model": "sparcode", "ks": [10, 50], "note": "Größe"},
    )


@pytest.fixture
def index() -> InvertedIndex:
    return random_index(seed=1)


@pytest.fixture
def other() -> InvertedIndex:
    return random_index(seed=2)
