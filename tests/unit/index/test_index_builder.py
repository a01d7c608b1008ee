"""Building: order of calls, reports, refused input. What is kept is tested in tests/property."""

import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from sparcode.errors import ConfigError, UsageError
from sparcode.index import BuildOptions, IndexBuildError, InvertedIndex, build_index, tokens_of_terms

RNG = np.random.default_rng(5)
CODEBOOKS = RNG.standard_normal((4, 2, 4, 6)).astype(np.float32)  # S = 4, M = 2, N = 4: 64 terms


class DotScorer:
    """E = token . item vector + 0.25."""

    def __init__(self, num_items: int = 70) -> None:
        self.num_items = num_items
        vectors = np.random.default_rng(6).standard_normal((num_items + 1, 6))
        self.vectors = vectors.astype(np.float32)
        self.calls: list[tuple[int, int, int]] = []

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        self.calls.append((len(tokens), start, stop))
        return np.einsum("td,id->ti", tokens, self.vectors[start:stop]) + np.float32(0.25)


class SpoiledScorer(DotScorer):
    """Gives one value that is not finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        scores = super().score_block(tokens, start, stop)
        if len(self.calls) == 5:
            scores[3, 2] = self.value
        return scores


def test_with_nothing_pruned_the_index_is_the_relu_of_the_scorer() -> None:
    scorer = DotScorer()
    index = build_index(scorer, CODEBOOKS, BuildOptions(top_l=0, block_terms=10, block_items=16)).index
    dense = np.zeros((index.num_terms, scorer.num_items + 1), dtype=np.float32)
    for term in range(index.num_terms):
        items, scores = index.posting_list(term)
        dense[term, items] = scores
    tokens = tokens_of_terms(CODEBOOKS, np.arange(64))
    expected = np.maximum(scorer.score_block(tokens, 1, 71), 0)
    np.testing.assert_array_equal(dense[:, 1:], expected)
    assert (dense[:, 0] == 0).all()


def test_all_pairs_are_scored_once_and_in_blocks() -> None:
    scorer = DotScorer()
    seen: list[tuple[int, int]] = []
    options = BuildOptions(top_l=5, block_terms=30, block_items=40)
    report = build_index(scorer, CODEBOOKS, options, lambda done, total: seen.append((done, total))).report
    assert scorer.calls == [(n, *items) for n in (30, 30, 4) for items in ((1, 41), (41, 71))]
    assert seen == [(0, 64), (30, 64), (60, 64), (64, 64)]
    assert (report.num_pairs, report.top_l) == (64 * 70, 5)


@pytest.mark.parametrize("top_l", [0, 9])
def test_the_result_does_not_depend_on_blocks_or_time(top_l: int) -> None:
    first = build_index(DotScorer(), CODEBOOKS, BuildOptions(top_l=top_l))
    second = build_index(DotScorer(), CODEBOOKS, BuildOptions(top_l=top_l, block_terms=7, block_items=11))
    for name in ("indptr", "item_ids", "scores"):
        np.testing.assert_array_equal(
            getattr(first.index.postings, name), getattr(second.index.postings, name)
        )


def test_building_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sparcode.index.build.builder"):
        result = build_index(DotScorer(), CODEBOOKS)
    assert f"index built: {result.index.num_postings} postings" in caplog.text
    assert result.report.pairs_per_second > 0


@pytest.mark.parametrize("top_l", [0, 5])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named(top_l: int, value: float) -> None:
    options = BuildOptions(top_l=top_l, block_terms=20, block_items=40)
    with pytest.raises(IndexBuildError, match="term 43, item 3: score is not finite"):
        build_index(SpoiledScorer(value), CODEBOOKS, options)  # call 5 is terms 40.., items 1..


def test_scores_of_another_shape_or_type_are_refused() -> None:
    class Wrong(DotScorer):
        def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray:
            return self.change(super().score_block(tokens, start, stop))

    scorer = Wrong()
    for change in (np.transpose, lambda scores: scores.astype(np.float64)):
        scorer.change = change
        with pytest.raises(IndexBuildError, match="another shape or type"):
            build_index(scorer, CODEBOOKS)


def test_codebooks_and_catalogue_are_checked() -> None:
    with pytest.raises(UsageError, match="codebooks have a wrong rank"):
        build_index(DotScorer(), CODEBOOKS[0])
    with pytest.raises(UsageError, match="num_items out of range"):
        build_index(DotScorer(num_items=0), CODEBOOKS)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"top_l": -1}, "index.top_l"),
        ({"max_bytes": -1}, "index.max_bytes"),
        ({"threads": 0}, "index.threads"),
        ({"block_terms": 0}, "index.block_terms"),
        ({"block_items": -1}, "index.block_items"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        BuildOptions(**options)


def test_a_built_index_survives_saving(tmp_path) -> None:
    index = build_index(DotScorer(), CODEBOOKS).index
    index.save(tmp_path / "index")
    terms = np.arange(64).reshape(8, 8)
    before, after = index.search(terms, 20), InvertedIndex.load(tmp_path / "index").search(terms, 20)
    np.testing.assert_array_equal(before.item_ids, after.item_ids)
    np.testing.assert_array_equal(before.scores, after.scores)
