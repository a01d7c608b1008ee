"""Building: order of calls, reports, refused input. What is kept is tested in tests/property."""

import json
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
    index = build_index(scorer, CODEBOOKS, BuildOptions(prune="bias", block_terms=10, block_items=16)).index
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
    options = BuildOptions(prune="top_l", top_l=5, block_terms=30, block_items=40)
    report = build_index(scorer, CODEBOOKS, options, lambda done, total: seen.append((done, total))).report
    assert scorer.calls == [(n, *items) for n in (30, 30, 4) for items in ((1, 41), (41, 71))]
    assert seen == [(0, 64), (30, 64), (60, 64), (64, 64)]
    assert (report.num_terms, report.num_items, report.num_pairs) == (64, 70, 64 * 70)


@pytest.mark.parametrize("prune", ["bias", "density", "top_l"])
def test_the_result_does_not_depend_on_blocks_or_time(prune: str) -> None:
    first = build_index(DotScorer(), CODEBOOKS, BuildOptions(prune=prune, top_l=9, density=0.2))
    second = build_index(
        DotScorer(), CODEBOOKS, BuildOptions(prune=prune, top_l=9, density=0.2, block_terms=7, block_items=11)
    )
    for name in ("indptr", "item_ids", "scores"):
        np.testing.assert_array_equal(
            getattr(first.index.postings, name), getattr(second.index.postings, name)
        )


def test_density_from_a_sample_of_terms_is_close_to_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparcode.index.build.builder._SAMPLE_PAIRS", 1)  # 32 of the 64 terms
    report = build_index(DotScorer(), CODEBOOKS, BuildOptions(prune="density", density=0.1)).report
    assert report.index_density == pytest.approx(0.1, abs=0.03)
    assert report.shift < 0


def test_a_density_above_the_share_of_positive_scores_prunes_nothing() -> None:
    everything = build_index(DotScorer(), CODEBOOKS, BuildOptions(prune="bias"))
    result = build_index(DotScorer(), CODEBOOKS, BuildOptions(prune="density", density=1.0))
    assert result.report.shift == 0.0
    assert result.index.num_postings == everything.index.num_postings


def test_report_is_json_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sparcode.index.build.builder"):
        result = build_index(DotScorer(), CODEBOOKS)
    report = json.loads(json.dumps(result.report.to_dict()))
    assert report["num_postings"] == result.index.num_postings
    assert report["index_density"] == result.index.index_density
    assert report["options"]["prune"] == "top_l"
    assert "index built" in caplog.text


@pytest.mark.parametrize("prune", ["bias", "density", "top_l"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named(prune: str, value: float) -> None:
    options = BuildOptions(prune=prune, block_terms=20, block_items=40)
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
        ({"prune": "random"}, "index.prune"),
        ({"extra_bias": float("nan")}, "index.extra_bias"),
        ({"density": 0.0}, "index.density"),
        ({"density": 1.5}, "index.density"),
        ({"top_l": -1}, "index.top_l"),
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
