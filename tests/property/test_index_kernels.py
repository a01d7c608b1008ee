"""Every kernel equals the plain oracle bit for bit, on indexes made to hold ties, gaps and repeats."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcode.index import KERNELS, InvertedIndex, decode_terms, encode_terms, tokens_of_terms

# Few distinct scores make ties; powers of ten that no float32 holds exactly make sums depend on their order.
SCORES = st.sampled_from([0.1, 0.25, 0.3, 1.0, 1e-7, 3e7])
WEIGHTS = st.sampled_from([0.0, 0.1, 0.7, 1.0, 1e-38])


@st.composite
def indexes(draw: st.DrawFn) -> InvertedIndex:
    num_items = draw(st.integers(1, 30))
    lists = draw(
        st.lists(st.dictionaries(st.integers(0, num_items), SCORES, max_size=20), min_size=1, max_size=6)
    )
    ordered = [sorted(postings.items()) for postings in lists]
    flat = [pair for postings in ordered for pair in postings]
    return InvertedIndex.from_postings(
        np.cumsum([0, *map(len, ordered)]),
        np.array([item for item, _ in flat], dtype=np.int64),
        np.array([score for _, score in flat], dtype=np.float32),
        num_items=num_items,
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


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_kernel_equals_oracle(data: st.DataObject) -> None:
    index = data.draw(indexes())
    num_queries, num_tokens = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 5))
    shape = (num_queries, num_tokens)
    count = num_queries * num_tokens
    draw_list = lambda values: data.draw(st.lists(values, min_size=count, max_size=count))  # noqa: E731
    term_ids = np.array(draw_list(st.integers(-1, index.num_terms - 1)), dtype=np.int64).reshape(shape)
    weights = None
    if data.draw(st.booleans()):
        weights = np.array(draw_list(WEIGHTS), dtype=np.float32).reshape(shape)
    options = {
        "k": data.draw(st.integers(1, 40)),
        "weights": weights,
        "exclude": data.draw(id_filters(num_queries, index.num_items)),
        "allow": data.draw(id_filters(num_queries, index.num_items)),
        "mask": data.draw(masks(num_queries, index.num_items)),
        "fill": data.draw(st.booleans()),
    }
    expected = index.search(term_ids, kernel="oracle", **options)
    for kernel, num_threads in itertools.product(KERNELS, (1, 3)):
        result = index.search(term_ids, kernel=kernel, num_threads=num_threads, **options)
        np.testing.assert_array_equal(result.item_ids, expected.item_ids)
        np.testing.assert_array_equal(result.scores, expected.scores)


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
