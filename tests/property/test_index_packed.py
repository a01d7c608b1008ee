"""Packed lists: coding keeps to its bound, ids come back, and searches equal those of the decoded lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparcode.index import KERNELS, InvertedIndex
from sparcode.index.packed.checks import check_packed_contents, check_packed_structure
from sparcode.index.packed.coding import ENCODINGS, Encoding, encode_scores, error_bound, make_steps
from sparcode.index.packed.gather import gather_lists
from sparcode.index.packed.packed_lists import pack_postings
from sparcode.index.postings import MAX_ITEM_ID, make_postings
from sparcode.index.search.kernel import SMALL_CATALOGUE, search_rows

ENCODING = st.sampled_from(ENCODINGS)
FLOAT32 = st.floats(
    np.finfo(np.float32).smallest_subnormal, float(np.finfo(np.float32).max), width=32, allow_subnormal=True
)


@st.composite
def indexes(draw: st.DrawFn) -> InvertedIndex:
    """Lists of every kind: empty, with gaps, nearly complete, complete with and without item 0."""
    num_items = draw(st.sampled_from([1, 5, 40, 200, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = draw(st.lists(st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]), min_size=1, max_size=6))
    lists = [np.flatnonzero(rng.random(num_items + 1) < share) for share in shares]
    lists = [items[items > 0] if draw(st.booleans()) else items for items in lists]
    count = sum(map(len, lists))
    values = draw(st.sampled_from(["few", "exponential", "wide"]))
    scores = {
        "few": rng.choice([0.1, 0.25, 0.3, 1.0], count),
        "exponential": rng.exponential(1.0, count) + 1e-9,
        "wide": 10.0 ** rng.uniform(-44, 37, count),
    }[values].astype(np.float32)
    return InvertedIndex.from_postings(
        np.cumsum([0, *map(len, lists)]), np.concatenate(lists), scores, num_items=num_items
    )


@settings(max_examples=200, deadline=None)
@given(indexes(), ENCODING, st.data())
def test_every_kernel_gives_what_the_oracle_gives_on_the_decoded_lists(
    index: InvertedIndex, encoding: Encoding, data: st.DataObject
) -> None:
    packed = index.pack(encoding)
    plain = InvertedIndex(packed.postings)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (data.draw(st.integers(0, 7)), data.draw(st.integers(0, 5)))
    term_ids = rng.integers(-1, index.num_terms, shape)
    k = data.draw(st.sampled_from([1, 3, 50]))
    options = {
        "weights": data.draw(st.sampled_from([None, rng.choice([0.0, 0.7, 1.0, 1e-38], shape)])),
        "exclude": data.draw(st.sampled_from([None, np.arange(0, index.num_items, 3)])),
        "allow": data.draw(st.sampled_from([None, np.arange(1, index.num_items, 2)])),
        "mask": data.draw(st.sampled_from([None, draw_masks(rng, shape[0], index.num_items)])),
        "fill": data.draw(st.booleans()),
    }
    assert_equal_search(packed, plain, term_ids, k, **options)


def draw_masks(rng: np.random.Generator, num_queries: int, num_items: int) -> NDArray[np.uint64]:
    return rng.integers(0, 2**64 - 1, (num_queries, num_items // 64 + 1), dtype=np.uint64)


def assert_equal_search(
    packed: InvertedIndex,
    plain: InvertedIndex,
    term_ids: NDArray,
    k: int,
    **options,
) -> None:
    """Every kernel on packed lists gives what the oracle gives on the decoded ones, bit for bit."""
    expected = plain.search(term_ids, k, kernel="oracle", **options)
    for kernel in KERNELS:
        for num_threads in (1, 3):
            result = packed.search(term_ids, k, kernel=kernel, num_threads=num_threads, **options)
            np.testing.assert_array_equal(result.item_ids, expected.item_ids, err_msg=kernel)
            np.testing.assert_array_equal(
                result.scores.view(np.int32), expected.scores.view(np.int32), err_msg=kernel
            )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("num_items", [3_260, SMALL_CATALOGUE - 1, SMALL_CATALOGUE])
def test_dense_and_sparse_lists_together(encoding: Encoding, num_items: int) -> None:
    """Complete lists, one without its worst item, lists with gaps, a sparse, a short and an empty one."""
    rng = np.random.default_rng(num_items)
    shares = [1.0, 1.0, 0.97, 0.5, 0.02, 3 / num_items, 0.0]
    lists = [np.flatnonzero(rng.random(num_items + 1) < share) for share in shares]
    lists[1] = np.delete(lists[1], num_items // 2)
    scores = rng.gamma(2.0, 1.0, sum(map(len, lists))).astype(np.float32) + np.float32(1e-3)
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, lists)]), np.concatenate(lists), scores, num_items=num_items
    )
    packed = index.pack(encoding)
    term_ids = np.vstack([[0, 4, 1, 2, 3, 5], [5, 4, 6, -1, 4, 4], rng.integers(-1, 7, (4, 6))])
    plain = InvertedIndex(packed.postings)
    for k in (1, 3_000):
        assert_equal_search(packed, plain, term_ids, k)
    options = {
        "weights": rng.random(term_ids.shape).astype(np.float32),
        "exclude": rng.integers(0, num_items, 300),
        "mask": draw_masks(rng, len(term_ids), num_items),
    }
    assert_equal_search(packed, plain, term_ids, 100, **options)


@settings(max_examples=150, deadline=None)
@given(indexes(), ENCODING)
def test_packing_keeps_every_posting_and_the_error_bound(index: InvertedIndex, encoding: Encoding) -> None:
    lists = pack_postings(index.postings, encoding)
    check_packed_structure(lists)
    check_packed_contents(lists)
    decoded = lists.part(0, lists.num_terms)
    np.testing.assert_array_equal(decoded.indptr, index.postings.indptr)
    np.testing.assert_array_equal(decoded.item_ids, index.postings.item_ids)
    make_postings(decoded.indptr, decoded.item_ids, decoded.scores, index.num_items)
    for term in range(index.num_terms):
        items, scores = lists.posting_list(term)
        _, exact = index.posting_list(term)
        start, stop = decoded.indptr[term : term + 2]
        np.testing.assert_array_equal(items, decoded.item_ids[start:stop])
        np.testing.assert_array_equal(scores, decoded.scores[start:stop])
        assert_within_bound(exact, scores, encoding)


def assert_within_bound(exact: NDArray, scores: NDArray, encoding: Encoding) -> None:
    if not len(exact):
        return
    largest = float(exact.max())
    difference = np.abs(exact.astype(np.float64) - scores.astype(np.float64))
    assert (difference <= error_bound(exact, largest, encoding)).all()
    assert (difference <= error_bound(scores, largest, encoding)).all()
    assert (np.isfinite(scores) & (scores > 0)).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(FLOAT32, min_size=1, max_size=20), ENCODING)
def test_any_scores_keep_the_error_bound(values: list[float], encoding: Encoding) -> None:
    """From the smallest to the largest float32 in one list."""
    exact = np.array(values, dtype=np.float32)
    steps = np.repeat(make_steps(exact.max(keepdims=True), encoding), len(exact))
    codes = encode_scores(exact, steps, encoding)
    assert (codes > 0).all()
    assert_within_bound(exact, (steps * codes.astype(np.float32)).astype(np.float32), encoding)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, MAX_ITEM_ID), max_size=150), st.integers(0, 40))
def test_any_item_ids_come_back(chosen: set[int], run: int) -> None:
    """Wide gaps, and runs without any, up to the largest id."""
    items = np.unique([*chosen, *range(MAX_ITEM_ID - run, MAX_ITEM_ID)]).astype(np.int64)
    scores = np.ones(len(items), dtype=np.float32)
    # Two equal lists: the second begins with a word of its own, behind the zero bits of the first.
    postings = make_postings(
        [0, len(items), 2 * len(items)], np.tile(items, 2), np.tile(scores, 2), MAX_ITEM_ID
    )
    lists = pack_postings(postings, "uint8")
    check_packed_contents(lists)
    for term in (0, 1):
        np.testing.assert_array_equal(lists.posting_list(term)[0], items)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_complete_list_takes_five_bits_for_the_ids_of_32_postings(encoding: Encoding) -> None:
    complete = InvertedIndex.from_postings([0, 960], np.arange(1, 961), np.ones(960), num_items=960)
    lists = pack_postings(complete.postings, encoding)
    assert lists.ids.nbytes == 8 * (-(-(32 + 30 * 5) // 64) + 2)  # ids begin at 1: a gap in the first block
    assert lists.codes.nbytes == 960 * {"float32": 4, "float16": 2, "uint8": 1}[encoding]


@pytest.mark.parametrize("num_terms", [1, 5])
def test_a_part_of_the_lists(num_terms: int) -> None:
    rng = np.random.default_rng(num_terms)
    rows = [np.flatnonzero(rng.random(301) < 0.2) for _ in range(8)]
    scores = rng.random(sum(map(len, rows))).astype(np.float32) + np.float32(0.1)
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, rows)]), np.concatenate(rows), scores, num_items=300
    )
    for kind in (index, index.pack("uint8")):
        part = kind.part(2, 2 + num_terms)
        for term in range(num_terms):
            for mine, theirs in zip(part.posting_list(term), kind.posting_list(2 + term), strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_search_compiles_the_decoder(encoding: Encoding, tmp_path: Path) -> None:
    """Made in memory or opened from files, by the time an index exists its decoder is compiled, and what
    searches plain lists searches these: kernels are not compiled once more for each encoding."""
    kernels = (gather_lists, search_rows)
    index = InvertedIndex.from_postings([0, 2, 3], [1, 3, 2], [0.5, 1.5, 2.0], num_items=3)
    index.pack(encoding).save(tmp_path)
    opened = InvertedIndex.load(tmp_path)
    compiled = [len(kernel.signatures) for kernel in kernels]
    for packed in (opened, index.pack(encoding)):
        packed.search([[0, 1]], 2)
        packed.search(np.array([[0, 1], [1, -1]], dtype=np.int32), 2, num_threads=2)
        packed.posting_list(1)
    assert [len(kernel.signatures) for kernel in kernels] == compiled
