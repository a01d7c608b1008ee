"""A live index equals a full rebuild, bit for bit, after any interleaving of updates."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_cases import CODEBOOKS, NUM_TERMS, Catalogue, random_mask, start
from sparcode.index import KERNELS, LiveIndex

UPDATES = ("add", "add", "remove", "rescore", "rescore", "compact", "save")


def update(live: LiveIndex, catalogue: Catalogue, kind: str, directory: str) -> LiveIndex:
    """Do the same to both; the live index that goes on."""
    if kind == "compact":
        live.compact()
    elif kind == "save":
        live.save(directory)
        return LiveIndex.load(directory, CODEBOOKS)
    else:
        items = catalogue.draw(live=kind != "add")
        if kind == "remove":
            catalogue.remove(items)
            live.remove(items)
        else:
            scorer = catalogue.put(items)
            (live.add if kind == "add" else live.rescore)(items, scorer)
    return live


def some_ids(rng: np.random.Generator, num_queries: int, num_items: int):
    """A filter argument of one of its forms."""
    rows = [rng.integers(-1, num_items + 1, rng.integers(0, 30)) for _ in range(num_queries)]
    forms = [None, rows[0], rows, [None, *rows[1:]], np.array([row[:1].sum() for row in rows])[:, None]]
    return forms[rng.integers(len(forms))]


def compare(live: LiveIndex, catalogue: Catalogue, rng: np.random.Generator) -> None:
    rebuilt, num_queries = catalogue.rebuilt(), 3
    term_ids = rng.integers(-1, NUM_TERMS, (num_queries, 4))
    mask = None
    if rng.random() < 0.5:
        mask = random_mask(rng, num_queries, catalogue.capacity)
        mask = mask[0] if rng.random() < 0.5 else mask
    options = {
        "k": int(rng.choice([1, 4, 200])),
        "weights": rng.choice(np.array([0, 0.3, 1], np.float32), term_ids.shape),
        "exclude": some_ids(rng, num_queries, catalogue.capacity),
        "allow": some_ids(rng, num_queries, catalogue.capacity),
        "fill": bool(rng.random() < 0.5),
    }
    alive = catalogue.live_bits()
    expected = rebuilt.search(
        term_ids, mask=alive if mask is None else mask & alive, kernel="oracle", **options
    )
    kernel = KERNELS[rng.integers(len(KERNELS))]
    threads = int(rng.integers(1, 3))
    found = live.search(term_ids, mask=mask, kernel=kernel, num_threads=threads, **options)
    np.testing.assert_array_equal(found.item_ids, expected.item_ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.sampled_from(UPDATES), max_size=14), st.booleans())
def test_any_interleaving_equals_a_full_rebuild(seed: int, kinds: list[str], packed: bool) -> None:
    catalogue, live = start(seed, packed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as directory:
        for kind in kinds:
            live = update(live, catalogue, kind, directory)
            compare(live, catalogue, rng)
        assert live.snapshot().segments[0].index.encoding == ("float32" if packed else "plain")
        assert live.num_items == catalogue.capacity
        assert live.num_live == len(catalogue.scores)
        every = np.arange(catalogue.capacity + 100)
        np.testing.assert_array_equal(live.contains(every), np.isin(every, list(catalogue.scores)))


@pytest.mark.parametrize("seed", range(20))
def test_compacting_gives_the_arrays_of_a_full_rebuild(seed: int) -> None:
    catalogue, live = start(seed)
    for kind in catalogue.rng.choice(UPDATES[:-2], 12):
        update(live, catalogue, kind, "")
    live.compact()
    (whole,) = live.snapshot().segments
    rebuilt = catalogue.rebuilt()
    for name in ("indptr", "item_ids", "scores"):
        np.testing.assert_array_equal(
            getattr(whole.index.postings, name), getattr(rebuilt.postings, name), strict=True
        )
    np.testing.assert_array_equal(whole.index.floors, rebuilt.floors)
