"""Searches small enough to be worked out on paper, by every kernel."""

import numpy as np
import pytest

from sparcode.index import KERNELS, InvertedIndex
from sparcode.index.search.kernel import SHARED_TABLE

INF = float("inf")


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def index() -> InvertedIndex:
    # term 0: 1 -> 1.0, 3 -> 2.0      term 1: nothing      term 2: 1 -> 1.0, 2 -> 2.0, 4 -> 0.5
    return InvertedIndex.from_postings([0, 2, 2, 5], [1, 3, 1, 2, 4], [1.0, 2.0, 1.0, 2.0, 0.5], num_items=5)


def test_lists_are_summed_and_ties_go_to_the_smaller_id(index: InvertedIndex, kernel: str) -> None:
    result = index.search([[0, 2]], 4, kernel=kernel)
    assert result.item_ids.tolist() == [[1, 2, 3, 4]]  # 1 + 1, 2, 2, 0.5
    assert result.scores.tolist() == [[2.0, 2.0, 2.0, 0.5]]
    assert (result.item_ids.dtype, result.scores.dtype) == (np.int64, np.float32)


def test_short_rows_are_padded_and_unposted_items_are_no_results(index: InvertedIndex, kernel: str) -> None:
    result = index.search([[0, 1], [1, 1]], 7, kernel=kernel)
    assert result.item_ids.tolist() == [[3, 1, -1, -1, -1, -1, -1], [-1] * 7]
    assert result.scores.tolist() == [[2.0, 1.0, -INF, -INF, -INF, -INF, -INF], [-INF] * 7]


def test_a_repeated_term_counts_each_time_and_a_negative_one_not_at_all(
    index: InvertedIndex, kernel: str
) -> None:
    result = index.search([[0, 0, -1, 2]], 3, kernel=kernel)
    assert result.item_ids.tolist() == [[3, 1, 2]]
    assert result.scores.tolist() == [[4.0, 3.0, 2.0]]


def test_weights_multiply_and_zero_skips(index: InvertedIndex, kernel: str) -> None:
    result = index.search([[0, 2], [0, 2]], 3, weights=[[0.5, 3.0], [0.0, 1.0]], kernel=kernel)
    assert result.item_ids.tolist() == [[2, 1, 4], [2, 1, 4]]
    assert result.scores.tolist() == [[6.0, 3.5, 1.5], [2.0, 1.0, 0.5]]


def test_excluded_items_make_room(index: InvertedIndex, kernel: str) -> None:
    shared = index.search([[0, 2], [2, 2]], 2, exclude=np.array([1, 3, -1]), kernel=kernel)
    assert shared.item_ids.tolist() == [[2, 4], [2, 4]]
    each = index.search([[0, 2], [2, 2]], 2, exclude=[[2], None], kernel=kernel)
    assert each.item_ids.tolist() == [[1, 3], [2, 1]]
    matrix = index.search([[0, 2], [2, 2]], 2, exclude=np.array([[2, 1], [2, -1]]), kernel=kernel)
    assert matrix.item_ids.tolist() == [[3, 4], [1, 4]]


def test_only_allowed_items_are_results_and_exclusion_wins(index: InvertedIndex, kernel: str) -> None:
    result = index.search([[0, 2], [0, 2]], 2, allow=[[4, 4, 3, 5], None], exclude=[3], kernel=kernel)
    assert result.item_ids.tolist() == [[4, -1], [1, 2]]
    nothing = index.search([[0, 2]], 1, allow=[], kernel=kernel)
    assert nothing.item_ids.tolist() == [[-1]]


def bits(*items: int) -> np.ndarray:
    """A bitset over the items 0 to 5."""
    return np.array([sum(1 << item for item in items)], dtype=np.uint64)


def test_only_items_whose_bit_is_set_are_results(index: InvertedIndex, kernel: str) -> None:
    shared = index.search([[0, 2], [2, 2]], 3, mask=bits(0, 1, 4, 5), kernel=kernel)
    assert shared.item_ids.tolist() == [[1, 4, -1], [1, 4, -1]]
    each = index.search([[0, 2], [2, 2]], 3, mask=np.stack([bits(2), bits(1, 2)]), kernel=kernel)
    assert each.item_ids.tolist() == [[2, -1, -1], [2, 1, -1]]


def test_an_item_must_pass_every_filter(index: InvertedIndex, kernel: str) -> None:
    result = index.search([[0, 2]], 3, mask=bits(1, 2, 3), exclude=[3], allow=[2, 3, 4], kernel=kernel)
    assert result.item_ids.tolist() == [[2, -1, -1]]


def test_bits_reach_the_items_of_every_word(kernel: str) -> None:
    index = InvertedIndex.from_postings([0, 4], [63, 64, 127, 130], [4.0, 3.0, 2.0, 1.0], num_items=130)
    mask = np.array([0, 1, 1 << 2], dtype=np.uint64)  # items 64 and 130
    assert index.search([[0]], 3, mask=mask, kernel=kernel).item_ids.tolist() == [[64, 130, -1]]
    assert index.search([[0]], 2, mask=~mask, kernel=kernel).item_ids.tolist() == [[63, 127]]


def test_fill_completes_rows_with_the_smallest_permitted_ids_at_score_zero(
    index: InvertedIndex, kernel: str
) -> None:
    result = index.search([[0, 1], [0, 2]], 4, fill=True, kernel=kernel)
    assert result.item_ids.tolist() == [[3, 1, 2, 4], [1, 2, 3, 4]]
    assert result.scores.tolist() == [[2.0, 1.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.5]]
    filters = {"exclude": [2], "allow": [5, 4, 2, 1, 4], "mask": bits(0, 1, 2, 5)}
    filtered = index.search([[0, 1]], 4, fill=True, kernel=kernel, **filters)
    assert filtered.item_ids.tolist() == [[1, 5, -1, -1]]
    assert filtered.scores.tolist() == [[1.0, 0.0, -INF, -INF]]
    everything = index.search(
        [[1, -1]], 7, fill=True, mask=bits(*range(6)) | np.uint64(1 << 60), kernel=kernel
    )
    assert everything.item_ids.tolist() == [[1, 2, 3, 4, 5, -1, -1]]


def test_fill_counts_products_that_underflow_as_zero(kernel: str) -> None:
    index = InvertedIndex.from_postings([0, 2], [2, 70], [1e-30, 1.0], num_items=80)
    result = index.search([[0]], 3, weights=[[1e-30]], fill=True, kernel=kernel)
    assert result.item_ids.tolist() == [[70, 1, 2]]


def test_a_filtered_search_leaves_no_trace_in_the_next(index: InvertedIndex, kernel: str) -> None:
    before = index.search([[0, 2]], 4, kernel=kernel)
    index.search([[0, 2]], 1, allow=[2], exclude=[1], kernel=kernel)
    after = index.search([[0, 2]], 4, kernel=kernel)
    np.testing.assert_array_equal(before.item_ids, after.item_ids)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_item_zero_may_be_posted(kernel: str) -> None:
    index = InvertedIndex.from_postings([0, 2], [0, 1], [2.0, 1.0], num_items=1)
    assert index.search([[0]], 2, kernel=kernel).item_ids.tolist() == [[0, 1]]


def test_products_that_underflow_are_no_results(kernel: str) -> None:
    index = InvertedIndex.from_postings([0, 2], [1, 2], [1e-30, 1.0], num_items=2)
    result = index.search([[0, 0]], 2, weights=[[1e-30, 1e-30]], kernel=kernel)
    assert result.item_ids.tolist() == [[2, -1]]


def test_sums_are_rounded_in_the_order_of_the_terms(kernel: str) -> None:
    # In float32 (2**24 + 1) + 1 stays 2**24, but 1 + 1 + 2**24 is 2**24 + 2.
    index = InvertedIndex.from_postings([0, 1, 2], [1, 1], [2.0**24, 1.0], num_items=1)
    result = index.search([[0, 1, 1], [1, 1, 0]], 1, kernel=kernel)
    assert result.scores.tolist() == [[2.0**24], [2.0**24 + 2]]


def test_a_bound_that_only_shared_entries_reach_is_lowered(kernel: str) -> None:
    """Pairs of items of 0.9 share table entries of 1.8, above the 1.0 of the items that are the best."""
    pairs, best = np.arange(1, 1001), np.arange(5001, 5101)
    lists = [np.concatenate([pairs, best]), pairs + SHARED_TABLE]
    index = InvertedIndex.from_postings(
        [0, 1100, 2100],
        np.concatenate(lists),
        [0.9] * 1000 + [1.0] * 100 + [0.9] * 1000,
        num_items=3 * SHARED_TABLE,
    )
    result = index.search([[0, 1]], 102, kernel=kernel)
    assert result.item_ids[0].tolist() == [*best, 1, 2]


def test_counts(index: InvertedIndex) -> None:
    assert (index.num_terms, index.num_lists, index.num_postings, index.num_items) == (3, 2, 5, 5)
    assert index.index_density == 5 / 15
    assert index.size_bytes == 4 * 8 + 5 * 4 + 5 * 4
    assert index.list_lengths().tolist() == [2, 0, 3]
    items, scores = index.posting_list(2)
    assert (items.tolist(), scores.tolist()) == ([1, 2, 4], [1.0, 2.0, 0.5])
