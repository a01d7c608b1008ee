"""Which codes get a list, and who answers for the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparcode.errors import ConfigError, UsageError
from sparcode.index import BuildOptions, build_index, tokens_of_terms
from sparcode.index.build.observed import plan_observed_terms

# two slots of five codewords on a line
LINE = np.array([[0, 1, 3, 6, 10], [0, 1, 2, 50, 51]], np.float32).reshape(2, 1, 5, 1)


def counts(**terms: int) -> np.ndarray:
    found = np.zeros(10, np.int64)
    for name, count in terms.items():
        found[int(name[1:])] = count
    return found


def test_observed_terms_and_the_nearest_of_their_slot() -> None:
    plan = plan_observed_terms(LINE, counts(t1=5, t3=1, t9=2))
    assert plan.term_ids.tolist() == [1, 3, 9]
    # 2 lies at 3, between those at 1 and 6; slot two has but one list
    assert plan.redirects.tolist() == [1, 1, 1, 3, 3, 9, 9, 9, 9, 9]


def test_ties_go_to_the_smaller_term() -> None:
    codebooks = np.array([0, 2, 1, 3, 9], np.float32).reshape(1, 1, 5, 1)
    plan = plan_observed_terms(codebooks, np.array([1, 1, 0, 0, 0]))
    assert plan.redirects.tolist() == [0, 1, 0, 1, 1]


def test_a_budget_keeps_the_most_frequent_and_one_of_every_slot() -> None:
    found = counts(t1=5, t3=9, t4=7, t9=1)
    assert plan_observed_terms(LINE, found, 2).term_ids.tolist() == [3, 9]
    assert plan_observed_terms(LINE, found, 3).term_ids.tolist() == [3, 4, 9]


def test_a_larger_budget_adds_neighbours_of_frequent_codes() -> None:
    found = counts(t0=1, t4=100, t5=100)
    # squared distance by count: t1 1/1, t3 16/100, t2 9/1 or 49/100; slot two t6 1/100, t7 4/100, t8 25
    for lists, added in ((4, [6]), (5, [6, 7]), (6, [3, 6, 7]), (7, [2, 3, 6, 7])):
        assert plan_observed_terms(LINE, found, lists).term_ids.tolist() == sorted([0, 4, 5, *added])
    everything = plan_observed_terms(LINE, found, 100)
    assert everything.term_ids.tolist() == list(range(10))
    assert everything.redirects.tolist() == list(range(10))


def test_a_slot_that_was_never_observed_gets_its_most_central_term() -> None:
    plan = plan_observed_terms(LINE, counts(t0=3))
    assert plan.term_ids.tolist() == [0, 7]  # the mean of 0, 1, 2, 50, 51 is 20.8: 2 is nearest


def test_fewer_lists_than_slots_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"index.max_lists.*at least 2"):
        plan_observed_terms(LINE, counts(t0=1), 1)
    with pytest.raises(UsageError, match="wrong number of counts"):
        plan_observed_terms(LINE, np.ones(9, np.int64))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(0, 30), st.integers(0, 2**32))
def test_redirects_equal_a_plain_search(slots: int, books: int, size: int, lists: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codebooks = rng.integers(-3, 4, (slots, books, size, 2)).astype(np.float32)  # exact, with ties
    per_slot = size**books
    found = rng.integers(0, 3, slots * per_slot)
    plan = plan_observed_terms(codebooks, found, max(lists, slots))
    tokens = tokens_of_terms(codebooks, np.arange(slots * per_slot))
    for term, redirect in enumerate(plan.redirects):
        rivals = plan.term_ids[plan.term_ids // per_slot == term // per_slot]
        distances = ((tokens[rivals] - tokens[term]) ** 2).sum(1)
        assert redirect == (term if term in rivals else rivals[distances.argmin()])


def test_lists_of_observed_codes_are_those_of_all_codes() -> None:
    class Scorer:
        num_items = 30

        def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
            return np.sin(tokens * np.arange(start, stop, dtype=np.float32))

    found = counts(t1=5, t3=1, t9=2)
    options = BuildOptions(codes="observed", top_l=7, signed=True, block_terms=2)
    result = build_index(Scorer(), LINE, options, term_counts=found)
    everything = build_index(Scorer(), LINE, BuildOptions(top_l=7, signed=True)).index
    for term in range(10):
        items, scores = result.index.posting_list(term)
        expected = everything.posting_list(term) if term in (1, 3, 9) else ([], [])
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
    assert (result.report.num_built, result.report.num_redirects) == (3, 7)
    answers, wanted = result.index.search([[0, 7]], 5), everything.search([[1, 9]], 5)
    np.testing.assert_array_equal(answers.item_ids, wanted.item_ids)
    np.testing.assert_array_equal(answers.scores, wanted.scores)
    with pytest.raises(UsageError, match="term_counts"):
        build_index(Scorer(), LINE, options)
