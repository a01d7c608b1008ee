"""Byte budgets and shortlists."""

from __future__ import annotations

import numpy as np
import pytest

from sparcode.errors import ConfigError
from sparcode.index import BuildOptions, build_index

RNG = np.random.default_rng(8)
CODEBOOKS = RNG.standard_normal((2, 1, 8, 6)).astype(np.float32)
VECTORS = RNG.standard_normal((201, 6)).astype(np.float32)


class Scorer:
    """E = token . item vector + ``extra`` * token . shuffled item vector; the first summand is cheap."""

    num_items = 200

    def __init__(self, extra: float = 0.0) -> None:
        self.whole = VECTORS + np.float32(extra) * VECTORS[::-1]

    def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        return tokens @ self.whole[start:stop].T


class ShortlistScorer(Scorer):
    def cheap_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        return tokens @ VECTORS[start:stop].T

    def score_pairs(self, tokens: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        return np.einsum("td,tnd->tn", tokens, self.whole[item_ids])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("max_bytes", [600, 3000, 9000])
def test_the_longest_lists_that_fit(signed: bool, max_bytes: int) -> None:
    options = {"signed": signed, "top_l": 0, "block_terms": 5, "block_items": 33}
    result = build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=max_bytes, **options))
    length = result.report.top_l
    assert result.index.size_bytes <= max_bytes
    options["top_l"] = length + 1
    assert build_index(Scorer(), CODEBOOKS, BuildOptions(**options)).index.size_bytes > max_bytes
    options["top_l"] = length
    plain = build_index(Scorer(), CODEBOOKS, BuildOptions(**options)).index
    np.testing.assert_array_equal(plain.postings.item_ids, result.index.postings.item_ids)


def test_a_budget_counts_postings_as_they_will_be_packed() -> None:
    options = {"signed": True, "top_l": 0}
    plain = build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=2500, **options))
    packed = build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=2500, packing="uint8", **options))
    assert packed.report.top_l > 1.5 * plain.report.top_l
    assert packed.index.pack("uint8").size_bytes == pytest.approx(2500, rel=0.1)


def test_a_budget_with_room_for_everything_cuts_nothing() -> None:
    result = build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=10**6, top_l=50))
    assert result.report.top_l == 50


def test_a_budget_without_room_for_one_posting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"index.max_bytes.*at least 328.*327"):
        build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=327, signed=True))


@pytest.mark.parametrize("key", ["max_bytes", "shortlist"])
def test_limits_are_for_top_l(key: str) -> None:
    with pytest.raises(ConfigError, match=f"index.{key}"):
        BuildOptions(prune="density", **{key: 100})


def test_a_shortlist_of_all_items_is_exhaustive() -> None:
    options = {"top_l": 20, "signed": True, "block_terms": 5, "block_items": 64}
    whole = build_index(Scorer(0.5), CODEBOOKS, BuildOptions(**options))
    short = build_index(ShortlistScorer(0.5), CODEBOOKS, BuildOptions(shortlist=500, **options))
    np.testing.assert_array_equal(short.index.postings.item_ids, whole.index.postings.item_ids)
    np.testing.assert_allclose(short.index.postings.scores, whole.index.postings.scores, atol=1e-5)
    assert short.report.shortlist_recall == 1.0


def test_shortlists_hold_the_best_of_the_cheap_part_with_exact_scores() -> None:
    scorer = ShortlistScorer(0.3)
    result = build_index(scorer, CODEBOOKS, BuildOptions(shortlist=40, top_l=10, signed=True))
    exhaustive = build_index(scorer, CODEBOOKS, BuildOptions(top_l=10, signed=True)).index
    common = 0
    for term in range(16):
        token = CODEBOOKS[term // 8, 0, term % 8]
        cheap, exact = VECTORS[1:] @ token, scorer.whole[1:] @ token
        candidates = np.argsort(-cheap, kind="stable")[:40]
        best = candidates[np.argsort(-exact[candidates], kind="stable")]
        items, scores = result.index.posting_list(term)
        assert items.tolist() == sorted((best[:10] + 1).tolist())
        np.testing.assert_allclose(scores, exact[items - 1] - exact[best[10]], atol=1e-5)
        common += len(np.intersect1d(items, exhaustive.posting_list(term)[0]))
    assert 0.3 < result.report.shortlist_recall < 1.0
    assert result.report.shortlist_recall == pytest.approx(common / 160)


def test_shortlists_need_a_cheap_part() -> None:
    with pytest.raises(ConfigError, match=r"index.shortlist.*no cheap part|no cheap part"):
        build_index(Scorer(), CODEBOOKS, BuildOptions(shortlist=10))
