"""What a retriever recommends: filters, fallback, and queries of every kind in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bundle_cases import NUM_ITEMS, Case, exported, external, tiny_dataset
from sparcode.errors import DataError, UsageError
from sparcode.index import InvertedIndex
from sparcode.index.filters import parse_predicate
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.retriever import BATCH_SIZE

CASES = [Case(), Case(model="two_tower")]
ALL = {external(item) for item in range(1, NUM_ITEMS + 1)}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def retriever(request: pytest.FixtureRequest) -> Retriever:
    return Retriever.load(exported(request.param).path)


@pytest.fixture(scope="module")
def popular() -> list[str]:
    return [external(int(item)) for item in open_bundle(exported(CASES[0]).path).popularity]


def names(answer: list[tuple[str, float]]) -> list[str]:
    return [item for item, _ in answer]


def test_scores_descend_and_k_cuts_the_same_list(retriever: Retriever) -> None:
    query = {"history": [external(3), external(8)]}
    (full,) = retriever.recommend([query], k=NUM_ITEMS)
    scores = [score for _, score in full]
    assert scores == sorted(scores, reverse=True)
    assert len(set(names(full))) == len(full) > 4
    assert names(retriever.recommend([query], k=4)[0]) == names(full)[:4]


def test_k_beyond_the_catalogue_gives_what_exists(retriever: Retriever) -> None:
    (answer,) = retriever.recommend([{"history": [external(3)]}], k=1000)
    assert len(answer) <= NUM_ITEMS - 1
    (every,) = retriever.recommend([{"history": []}], k=1000)
    assert set(names(every)) == ALL


def test_all_of_the_history_is_excluded_not_only_what_is_encoded(retriever: Retriever) -> None:
    history = [external(item) for item in range(1, 13)]  # L is 5
    (seen_out,) = retriever.recommend([{"history": history}], k=50, exclude_seen=True)
    (seen_in,) = retriever.recommend([{"history": history}], k=50, exclude_seen=False)
    assert not set(names(seen_out)) & set(history)
    assert set(names(seen_in)) & set(history)
    assert retriever.recommend([{"history": history}], k=50) == [seen_out]  # the configuration's default
    assert names(seen_out) == [name for name in names(seen_in) if name not in history]


def test_only_the_last_items_are_encoded(retriever: Retriever) -> None:
    recent = [external(item) for item in (3, 4, 5, 6, 7)]
    first, second = retriever.recommend(
        [{"history": recent}, {"history": [external(19), *recent]}], k=50, exclude_seen=False
    )
    assert names(first) == names(second)


def test_exclude_and_allow_restrict_the_results(retriever: Retriever) -> None:
    query: dict[str, Any] = {"history": [external(3)]}
    best = names(retriever.recommend([query], k=6)[0])
    excluded, allowed, both, nothing = retriever.recommend_detailed(
        [
            {**query, "exclude": [best[0], "nope"]},
            {**query, "allow": [best[3], best[1], external(3)]},
            {**query, "allow": [best[3], best[1]], "exclude": [best[1]]},
            {**query, "allow": ["nope"]},
        ],
        k=5,
    )
    assert names(excluded.items) == best[1:]
    assert excluded.unknown.filters == 1
    assert names(allowed.items) == [best[1], best[3]]  # the seen item stays out
    assert names(both.items) == [best[3]]
    assert nothing.items == []
    assert nothing.fallback is None


def test_the_fallback_is_popularity_with_its_counts(retriever: Retriever, popular: list[str]) -> None:
    answers = retriever.recommend_detailed(
        [
            {"history": []},
            {"history": ["nope"], "exclude": [popular[0]]},
            {"history": [], "features": {"age": "99"}, "allow": [popular[7], popular[2]]},
            {"history": [popular[0]]},
        ],
        k=3,
    )
    assert [answer.fallback for answer in answers] == ["popularity"] * 3 + [None]
    assert names(answers[0].items) == popular[:3]
    assert answers[0].items[0] == (external(1), 5.0)
    assert names(answers[1].items) == popular[1:4]
    assert names(answers[2].items) == [popular[2], popular[7]]
    assert [answer.unknown.history for answer in answers] == [0, 1, 0, 0]
    assert answers[2].unknown.features == 1


def test_features_alone_are_encoded(retriever: Retriever) -> None:
    young, old = retriever.recommend_detailed(
        [{"history": [], "features": {"age": "18"}}, {"history": [], "features": {"age": "25"}}], k=NUM_ITEMS
    )
    assert young.fallback is old.fallback is None
    assert young.items != old.items


def test_batches_do_not_change_the_answers(retriever: Retriever) -> None:
    rng = np.random.default_rng(5)
    queries = [
        {"history": [external(int(item)) for item in rng.integers(1, 21, rng.integers(0, 8))]}
        for _ in range(BATCH_SIZE + 3)
    ]
    together = retriever.recommend(queries, k=5)
    for number in (0, 1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 2):
        (alone,) = retriever.recommend([queries[number]], k=5)
        assert names(alone) == names(together[number])
        np.testing.assert_allclose(
            [s for _, s in alone], [s for _, s in together[number]], rtol=1e-5, atol=1e-5
        )


def test_no_query_is_no_answer(retriever: Retriever) -> None:
    assert retriever.recommend([]) == []


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_k_must_be_a_positive_integer(retriever: Retriever, k: Any) -> None:
    with pytest.raises(UsageError, match="k out of range"):
        retriever.recommend([{"history": []}], k=k)


def test_one_query_instead_of_a_list_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UsageError, match="must be a list"):
        retriever.recommend({"history": []})  # type: ignore[arg-type]


def test_a_bad_query_is_named_by_position_and_id(retriever: Retriever) -> None:
    with pytest.raises(DataError, match=r"^query 1 \(query_id 'u7'\): history"):
        retriever.recommend([{"history": []}, {"query_id": "u7", "history": 3}])


def test_unknown_items_are_one_warning_for_the_whole_call(
    retriever: Retriever, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        retriever.recommend([{"history": ["x", "y", external(2)]}, {"history": ["z"]}])
    assert [record.getMessage() for record in caplog.records] == [
        "2 queries: not known to the bundle: 3 history items skipped"
    ]


def test_a_bundle_without_histories_excludes_what_it_does_not_encode() -> None:
    retriever = Retriever.load(exported(Case(query_kind="features")).path)
    query = {"features": {"age": "18"}}
    (plain,) = retriever.recommend([query], k=NUM_ITEMS)
    (seen,) = retriever.recommend([{**query, "history": [plain[0][0]]}], k=NUM_ITEMS, exclude_seen=True)
    assert seen == plain[1:]


def test_the_index_of_the_bundle_is_the_index_that_was_given() -> None:
    case = exported(CASES[0])
    loaded, given = open_bundle(case.path).index, case.request.index
    assert isinstance(loaded, InvertedIndex)
    assert isinstance(given, InvertedIndex)
    for name in ("indptr", "item_ids", "scores"):
        np.testing.assert_array_equal(getattr(loaded.postings, name), getattr(given.postings, name))


def matching(predicate: Callable[[set[str], str], bool]) -> set[str]:
    """External ids of the items whose genres and year fulfil a predicate, from the data set itself."""
    data = tiny_dataset()
    genres, years = data.item_vocab["genre"], data.item_vocab["year"]
    rows = zip(data.item_arrays["genre"], data.item_arrays["year"], strict=True)
    named = [({genres[g] for g in row if g}, years[year]) for row, year in rows]
    return {external(item) for item in range(1, NUM_ITEMS + 1) if predicate(*named[item])}


def test_where_recommends_all_items_that_fulfil_it(retriever: Retriever) -> None:
    query = {"history": [external(3), external(8)]}
    (plain,) = retriever.recommend([query], k=NUM_ITEMS, exclude_seen=False)
    for where, wanted in (
        ('genre has "War"', matching(lambda genres, year: "War" in genres)),
        (
            "year >= 2000 or genre in ('Drama', 'War')",
            matching(lambda g, y: y == "2001" or g & {"Drama", "War"}),
        ),
        ("year < 2000", matching(lambda genres, year: year == "1999")),
        ("not year < 2000", matching(lambda genres, year: year != "1999")),
        ("year = 1", set()),
    ):
        (answer,) = retriever.recommend([query], k=NUM_ITEMS, exclude_seen=False, where=where)
        assert set(names(answer)) == wanted  # k results whenever so many exist
        scored = [pair for pair in answer if pair in plain]
        assert [pair for pair in plain if pair[0] in wanted] == scored
        (own,) = retriever.recommend([{**query, "where": where}], k=NUM_ITEMS, exclude_seen=False)
        assert own == answer


def test_where_combines_with_the_other_filters_and_the_query_s_own(retriever: Retriever) -> None:
    war = matching(lambda genres, year: "War" in genres)
    late = matching(lambda genres, year: year == "2001")
    first, second, third = retriever.recommend(
        [
            {"history": [external(3)], "where": 'genre has "War"'},
            {"history": [external(3)], "exclude": [sorted(late)[0]]},
            {"history": [], "where": 'genre has "War"'},
        ],
        k=NUM_ITEMS,
        exclude_seen=False,
        where=parse_predicate("year = 2001"),
    )
    assert set(names(first)) == set(names(third)) == war & late
    assert set(names(second)) == late - {sorted(late)[0]}


def test_a_query_without_a_predicate_is_not_filled_up_by_its_neighbours(retriever: Retriever) -> None:
    query = {"history": [external(3)], "allow": [external(item) for item in range(1, 8)]}
    filtered = {**query, "where": "year > 0 or not year > 0"}
    (alone,) = retriever.recommend([query], k=NUM_ITEMS)
    together, _ = retriever.recommend([query, filtered], k=NUM_ITEMS)
    assert names(together) == names(alone)


def test_the_fallback_honours_where(retriever: Retriever, popular: list[str]) -> None:
    late = matching(lambda genres, year: year == "2001")
    (answer,) = retriever.recommend_detailed([{"history": []}], k=3, where="year = 2001")
    assert answer.fallback == "popularity"
    assert names(answer.items) == [item for item in popular if item in late][:3]


def test_a_bad_predicate_is_named(retriever: Retriever) -> None:
    query = {"history": [external(3)]}
    with pytest.raises(UsageError, match=r"unknown attribute; expected genre \(set\) \| year \(number\)"):
        retriever.recommend([query], where="colour = 'red'")
    with pytest.raises(DataError, match=r"^query 1: where: predicate 'year >', position 7"):
        retriever.recommend([query, {**query, "where": "year >"}])
    with pytest.raises(DataError, match=r"^query 0: where: not the text of a predicate; received 3"):
        retriever.recommend([{**query, "where": 3}])


def test_a_bundle_without_item_features_has_nothing_to_filter_by(retriever: Retriever) -> None:
    bundle = replace(retriever.bundle, attributes=None)
    with pytest.raises(UsageError, match="no item attributes to filter by"):
        Retriever(bundle).recommend([{"history": [external(3)]}], where="year = 2001")
