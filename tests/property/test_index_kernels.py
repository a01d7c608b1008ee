"""The kernel equals the plain oracle bit for bit, on indexes made to hold ties, gaps and repeats."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcode.index import InvertedIndex, decode_terms, encode_terms, tokens_of_terms
from sparcode.index.search.kernel import SHARED_TABLE

# Few distinct scores make ties; powers of ten that no float32 holds exactly make sums depend on their order.
SCORES = st.sampled_from([0.1, 0.25, 0.3, 1.0, 1e-7, 3e7])
WEIGHTS = st.sampled_from([0.0, 0.1, 0.7, 1.0, 1e-38])


@st.composite
def indexes(draw: st.DrawFn, spacing: int = 1) -> InvertedIndex:
    """Lists of a few items, each ``spacing`` ids from the next."""
    num_items = draw(st.integers(1, 30))
    lists = draw(
        st.lists(st.dictionaries(st.integers(0, num_items), SCORES, max_size=20), min_size=1, max_size=6)
    )
    ordered = [sorted(postings.items()) for postings in lists]
    flat = [pair for postings in ordered for pair in postings]
    return InvertedIndex.from_postings(
        np.cumsum([0, *map(len, ordered)]),
        np.array([item for item, _ in flat], dtype=np.int64) * spacing,
        np.array([score for _, score in flat], dtype=np.float32),
        num_items=num_items * spacing,
    )


@st.composite
def id_filters(draw: st.DrawFn, num_queries: int, num_items: int):
    ids = st.lists(st.integers(-1, num_items), max_size=12)
    shared = ids.map(lambda row: np.array(row, dtype=np.int64))
    per_query = st.lists(st.none() | ids, min_size=num_queries, max_size=num_queries).map(
        lambda rows: [None if row is None else np.array(row, dtype=np.int32) for row in rows]
    )
    return draw(st.none() | shared | per_query)


@st.composite
def masks(draw: st.DrawFn, num_queries: int, num_items: int):
    shape = (num_items // 64 + 1,) if draw(st.booleans()) else (num_queries, num_items // 64 + 1)
    words = st.lists(st.integers(0, 2**64 - 1), min_size=math.prod(shape), max_size=math.prod(shape))
    return draw(st.none() | words.map(lambda values: np.array(values, dtype=np.uint64).reshape(shape)))


def draw_queries(data: st.DataObject, num_terms: int) -> dict:
    num_queries, num_tokens = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 5))
    shape, count = (num_queries, num_tokens), num_queries * num_tokens
    draw_list = lambda values: data.draw(st.lists(values, min_size=count, max_size=count))  # noqa: E731
    term_ids = np.array(draw_list(st.integers(-1, num_terms - 1)), dtype=np.int64).reshape(shape)
    weights = None
    if data.draw(st.booleans()):
        weights = np.array(draw_list(WEIGHTS), dtype=np.float32).reshape(shape)
    return {
        "term_ids": term_ids,
        "weights": weights,
        "k": data.draw(st.integers(1, 40)),
        "num_threads": data.draw(st.sampled_from([1, 3])),
    }


def assert_equal_to_oracle(index: InvertedIndex, **arguments) -> None:
    expected, result = index.search(kernel="oracle", **arguments), index.search(**arguments)
    np.testing.assert_array_equal(result.item_ids, expected.item_ids)
    np.testing.assert_array_equal(result.scores.view(np.int32), expected.scores.view(np.int32))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_kernel_equals_oracle(data: st.DataObject) -> None:
    index = data.draw(indexes())
    queries = draw_queries(data, index.num_terms)
    num_queries = len(queries["term_ids"])
    filters = {
        "exclude": data.draw(id_filters(num_queries, index.num_items)),
        "allow": data.draw(id_filters(num_queries, index.num_items)),
        "mask": data.draw(masks(num_queries, index.num_items)),
        "fill": data.draw(st.booleans()),
    }
    assert_equal_to_oracle(index, **queries, **filters)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([5_000, SHARED_TABLE]))
def test_kernel_equals_oracle_where_items_share_table_entries(data: st.DataObject, spacing: int) -> None:
    """Few items far apart; a multiple of the table size puts them all into one entry."""
    index = data.draw(indexes(spacing))
    num_items = index.num_items // spacing
    spread = lambda rows: rows if rows is None else [None if r is None else r * spacing for r in rows]  # noqa: E731
    queries = draw_queries(data, index.num_terms)
    num_queries = len(queries["term_ids"])
    words = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 2**63, index.num_items // 64 + 1)
    filters = {
        "exclude": spread(data.draw(id_filters(num_queries, num_items))),
        "allow": spread(data.draw(id_filters(num_queries, num_items))),
        "mask": data.draw(st.sampled_from([None, words.astype(np.uint64)])),
    }
    assert_equal_to_oracle(index, **queries, **filters)


@pytest.mark.parametrize("num_items", [5_000, 40_000, 3_000_000])
@pytest.mark.parametrize("k", [1, 100, 3000])
@pytest.mark.parametrize("num_scores", [2, 1_000_000])
def test_kernel_equals_oracle_on_long_lists(num_items: int, k: int, num_scores: int) -> None:
    """Long lists, dense at small ids as popular items make them, some complete but for an item; many ties."""
    rng = np.random.default_rng(num_items + k)
    lists = [np.unique((num_items * rng.random(size) ** 3).astype(np.int64)) for size in (9_000, 4_000, 3)]
    lists += [np.delete(np.arange(1, 5_001), rng.integers(0, 5_000, 2)), np.arange(40, 3_000)]
    scores = [rng.integers(1, num_scores + 1, len(items)).astype(np.float32) / 7 for items in lists]
    lists.append(np.unique(rng.integers(0, num_items, 9_000)))  # the best are anywhere
    scores.append(rng.integers(1, num_scores + 1, len(lists[-1])).astype(np.float32))
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, lists)]), np.concatenate(lists), np.concatenate(scores), num_items=num_items
    )
    queries = {"term_ids": np.insert(rng.integers(-1, len(lists), (4, 6)), 3, len(lists) - 1, axis=1), "k": k}
    mask = rng.integers(0, 2**63, num_items // 64 + 1).astype(np.uint64)
    assert_equal_to_oracle(index, **queries)
    assert_equal_to_oracle(
        index,
        weights=rng.random((4, 7)).astype(np.float32),
        mask=mask,
        exclude=rng.integers(0, num_items, 300),
        **queries,
    )


@settings(max_examples=100, deadline=None)
@given(indexes(), st.integers(1, 10), st.integers(11, 40))
def test_a_longer_result_begins_with_the_shorter_one(index: InvertedIndex, small: int, large: int) -> None:
    terms = np.arange(index.num_terms)[None]
    short, long = index.search(terms, small), index.search(terms, large)
    np.testing.assert_array_equal(short.item_ids, long.item_ids[:, :small])
    np.testing.assert_array_equal(short.scores, long.scores[:, :small])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 300), st.data())
def test_terms_and_codes_are_inverse(
    num_slots: int, num_codebooks: int, codebook_size: int, data: st.DataObject
) -> None:
    last = num_slots * codebook_size**num_codebooks - 1
    term_ids = np.array(data.draw(st.lists(st.integers(0, last), max_size=10)), dtype=np.int64)
    slots, codes = decode_terms(term_ids, num_codebooks, codebook_size, num_slots)
    np.testing.assert_array_equal(encode_terms(codes, codebook_size, slots), term_ids)
    assert codes.shape == (len(term_ids), num_codebooks)
    assert ((slots >= 0) & (slots < num_slots)).all()


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)), st.data())
def test_the_tokens_of_all_terms_are_the_sums_of_all_codes_in_order(
    shape: tuple[int, int, int, int], data: st.DataObject
) -> None:
    """Nested loops over slots and codes give every term id once, in order. Small integers add up exactly."""
    codebooks = np.random.default_rng(data.draw(st.integers(0, 9))).integers(-9, 10, shape).astype(np.float32)
    num_slots, num_codebooks, codebook_size, width = shape
    expected = np.array(
        [
            sum((codebooks[slot, m, word] for m, word in enumerate(code)), np.zeros(width))
            for slot in range(num_slots)
            for code in itertools.product(range(codebook_size), repeat=num_codebooks)
        ]
    )
    found = tokens_of_terms(codebooks, np.arange(len(expected)))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
