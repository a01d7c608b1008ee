"""Posterior lists: counts are added up, and scores become the logarithm of the posterior mean."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sparcode.errors import UsageError
from sparcode.index import BuildOptions, BuildShare, CodeCounts, InvertedIndex, Posterior, build_index
from sparcode.index.build import builder
from sparcode.index.build.builder import lists_of_terms

TERMS, ITEMS = 64, 70
RNG = np.random.default_rng(8)
CODEBOOKS = RNG.standard_normal((4, 2, 4, 6)).astype(np.float32)  # 64 terms


class Scorer:
    """E = token . item vector."""

    fingerprint = "dot"
    num_items = ITEMS

    def __init__(self) -> None:
        self.vectors = np.random.default_rng(6).standard_normal((ITEMS + 1, 6)).astype(np.float32)
        self.calls = 0

    def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        self.calls += 1
        return np.einsum("td,id->ti", tokens, self.vectors[start:stop])


def counts_of(dense: np.ndarray) -> CodeCounts:
    """Counts from an array (terms, I), zeros left out."""
    terms, items = np.nonzero(dense)
    return CodeCounts.added_up(terms, items + 1, dense[terms, items], len(dense))


def random_counts(num_terms: int = TERMS, num_items: int = ITEMS) -> np.ndarray:
    """(terms, I), a tenth of them above 0; the first term has none."""
    rng = np.random.default_rng(1)
    shape = (num_terms, num_items)
    dense = np.where(rng.random(shape) < 0.1, 0.8 ** rng.integers(0, 5, shape) * rng.integers(1, 9, shape), 0)
    dense[0] = 0
    return dense.astype(np.float32)


def posterior_mean(scores: np.ndarray, dense: np.ndarray, strength: float, scale: float) -> np.ndarray:
    """log((n + mu p) / (n_c + mu)) by definition, in double precision, in the unit of the scores."""
    prior = np.exp(scale * scores.astype(np.float64))
    prior /= prior.sum(1, keepdims=True)
    total = dense.sum(1, keepdims=True, dtype=np.float64)
    return np.log((dense + strength * prior) / (total + strength)) / scale


def above_first(rows: np.ndarray) -> np.ndarray:
    """Rows less their first column: what is left of them up to a constant of each."""
    return rows - rows[:, :1]


def corrected(scores: np.ndarray, posterior: Posterior, terms: np.ndarray | None = None) -> np.ndarray:
    found = scores.copy()
    posterior.correct(np.arange(len(scores)) if terms is None else terms, found)
    return found


# ---- counts


def test_observations_are_added_up() -> None:
    rng = np.random.default_rng(2)
    terms, items = rng.integers(0, 9, 400), rng.integers(1, 8, 400)
    weights = rng.random(400).astype(np.float32)
    terms[terms == 3] = 4  # nothing is known of term 3, nor of the last ones
    expected: Counter[tuple[int, int]] = Counter()
    for term, item, weight in zip(terms.tolist(), items.tolist(), weights.tolist(), strict=True):
        expected[term, item] += weight
    found = CodeCounts.added_up(terms.astype(np.int32), items.astype(np.int32), weights, 12)
    assert found.num_terms == 12
    assert (found.indptr.dtype, found.item_ids.dtype, found.counts.dtype) == (np.int64, np.int32, np.float32)
    rows = np.repeat(np.arange(12), np.diff(found.indptr))
    pairs = list(zip(rows.tolist(), found.item_ids.tolist(), strict=True))
    assert pairs == sorted(expected)
    np.testing.assert_allclose(found.counts, [expected[pair] for pair in pairs], rtol=1e-6)


def test_the_counts_of_some_terms_come_in_their_order() -> None:
    dense = random_counts()
    asked = np.array([5, 0, 63, 5, 17])
    rows = counts_of(dense).rows(asked)
    assert rows.num_terms == len(asked)
    for place, term in enumerate(asked):
        own = slice(rows.indptr[place], rows.indptr[place + 1])
        known = {int(item) + 1: dense[term, item] for item in np.flatnonzero(dense[term])}
        assert dict(zip(rows.item_ids[own].tolist(), rows.counts[own], strict=True)) == known


def test_without_an_observation_every_row_is_empty() -> None:
    none = np.zeros(0, np.int32)
    found = CodeCounts.added_up(none, none, none.astype(np.float32), 5)
    np.testing.assert_array_equal(found.indptr, np.zeros(6))
    assert found.rows(np.array([4, 1])).indptr.tolist() == [0, 0, 0]


# ---- correction


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0])
@pytest.mark.parametrize("strength", [0.5, 30.0, 1e6])
def test_corrected_scores_are_the_posterior_mean(strength: float, scale: float) -> None:
    scores = RNG.normal(0, 2 / scale, (TERMS, ITEMS)).astype(np.float32)
    dense = random_counts()
    found = corrected(scores, Posterior(counts_of(dense), strength, scale))
    expected = posterior_mean(scores, dense, strength, scale)
    np.testing.assert_allclose(above_first(found), above_first(expected), rtol=1e-4, atol=1e-5)
    moved = np.abs(found - scores)
    assert (moved[dense > 0] > 0).mean() > 0.9  # self-test: there was something to correct
    np.testing.assert_array_equal(moved[dense == 0], 0)


def test_terms_have_their_own_counts_in_any_order() -> None:
    scores = RNG.normal(size=(4, ITEMS)).astype(np.float32)
    dense, terms = random_counts(), np.array([40, 2, 9, 2])
    found = corrected(scores, Posterior(counts_of(dense), 5.0), terms)
    expected = posterior_mean(scores, dense[terms], 5.0, 1.0)
    np.testing.assert_allclose(above_first(found), above_first(expected), rtol=1e-4, atol=1e-5)


def test_priors_that_vanish_and_huge_counts_stay_finite() -> None:
    """Of the second item double precision has no probability left, which is what the logarithm is for."""
    scores = np.array([[0, -2000, 3, 1], [0, -2000, 3, 1]], np.float32)
    dense = np.array([[0, 2, 0, 1e-3], [0, 1e12, 1e12, 0]], np.float32)
    log_prior = scores.astype(np.float64) - np.log(np.exp(scores.astype(np.float64)).sum(1, keepdims=True))
    assert np.exp(log_prior[:, 1]).max() == 0
    with np.errstate(divide="ignore"):
        expected = np.logaddexp(np.log(dense.astype(np.float64)), np.log(10.0) + log_prior)
    found = corrected(scores, Posterior(counts_of(dense), 10.0))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(above_first(found), above_first(expected), rtol=1e-4, atol=1e-3)
    assert abs(found[1, 1] - found[1, 2]) < 1e-2  # so many observations outweigh any prior


def test_without_counts_scores_are_left_as_they_are() -> None:
    scores = RNG.normal(size=(3, ITEMS)).astype(np.float32)
    posterior = Posterior(counts_of(random_counts()), 1.0)
    np.testing.assert_array_equal(corrected(scores, posterior, np.zeros(3, np.int64)), scores)


@pytest.mark.parametrize("name", ["strength", "scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_strength_or_scale_that_is_not_above_0_is_refused(name: str, value: float) -> None:
    values = {"strength": 1.0, "scale": 1.0, name: value}
    with pytest.raises(UsageError, match=f"{name} out of range; expected above 0"):
        Posterior(counts_of(random_counts()), **values)


def test_the_fingerprint_tells_whatever_changes_a_score() -> None:
    dense = random_counts()
    plain = Posterior(counts_of(dense), 30.0, 2.0)
    assert plain.fingerprint == Posterior(counts_of(dense.copy()), 30.0, 2.0).fingerprint
    heavier, elsewhere, other_term = dense.copy(), dense.copy(), np.roll(dense, 1, 0)
    heavier[dense > 0] += 1
    elsewhere[:, ::-1] = dense
    others = [Posterior(counts_of(changed), 30.0, 2.0) for changed in (heavier, elsewhere, other_term)]
    others += [Posterior(plain.counts, 31.0, 2.0), Posterior(plain.counts, 30.0, 2.5)]
    assert len({posterior.fingerprint for posterior in (plain, *others)}) == 6


# ---- lists


def dense_index(index: InvertedIndex) -> np.ndarray:
    """Scores (T, I) with the floors; the floor where an item is not listed."""
    floors = np.zeros(index.num_terms, np.float32) if index.floors is None else index.floors
    table = np.repeat(floors[:, None], index.num_items, 1)
    for term in range(index.num_terms):
        items, scores = index.posting_list(term)
        table[term, items - 1] += scores
    return table


def table_of(posterior: Posterior | None) -> np.ndarray:
    """Corrected scores (T, I) of all terms, not cut."""
    options = BuildOptions(top_l=0, signed=True)
    return dense_index(build_index(Scorer(), CODEBOOKS, options, posterior=posterior).index)


def test_complete_lists_hold_the_corrected_scores() -> None:
    dense = random_counts()
    found, plain = table_of(Posterior(counts_of(dense), 3.0, 2.0)), table_of(None)
    expected = posterior_mean(plain, dense, 3.0, 2.0)
    np.testing.assert_allclose(above_first(found), above_first(expected), rtol=1e-4, atol=1e-4)
    assert np.abs(found - plain).max() > 1


@pytest.mark.parametrize("top_l", [9, 0])
def test_the_best_of_the_corrected_scores_are_kept_whatever_the_blocks(
    top_l: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    posterior = Posterior(counts_of(random_counts()), 3.0, 2.0)
    options = BuildOptions(top_l=top_l, signed=True)
    whole = build_index(Scorer(), CODEBOOKS, options, posterior=posterior).index
    monkeypatch.setattr(builder, "WHOLE_ROWS", 3 * ITEMS + 1)
    blocks = BuildOptions(top_l=top_l, signed=True, block_terms=10, block_items=11, threads=2)
    other = build_index(Scorer(), CODEBOOKS, blocks, posterior=posterior).index
    np.testing.assert_array_equal(dense_index(other), dense_index(whole))
    if top_l:
        table = table_of(posterior)
        for term in range(TERMS):
            best = np.argsort(-table[term])[:top_l] + 1
            assert set(whole.posting_list(term)[0].tolist()) == set(best.tolist())


@pytest.mark.parametrize("strength", [None, 3.0])
def test_lists_of_some_terms_are_those_of_the_index(strength: float | None) -> None:
    posterior = None if strength is None else Posterior(counts_of(random_counts()), strength)
    options, asked = BuildOptions(top_l=9, signed=True), np.array([7, 63, 12])
    index = build_index(Scorer(), CODEBOOKS, options, posterior=posterior).index
    lists = lists_of_terms(Scorer(), CODEBOOKS, options, asked, posterior)
    some = InvertedIndex(lists.postings(ITEMS), floors=lists.floors)
    np.testing.assert_array_equal(dense_index(some), dense_index(index)[asked])


def test_parts_of_a_build_with_other_counts_are_left_alone(tmp_path: Path) -> None:
    options = BuildOptions(top_l=9, signed=True, block_terms=8)
    posterior = Posterior(counts_of(random_counts()), 3.0)
    stopped = Scorer()

    def stop_at(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(stopped, CODEBOOKS, options, stop_at, share=BuildShare(tmp_path), posterior=posterior)
    calls = {}
    for name, other in (("none", None), ("stronger", Posterior(posterior.counts, 4.0)), ("same", posterior)):
        scorer = Scorer()
        found = build_index(scorer, CODEBOOKS, options, share=BuildShare(tmp_path), posterior=other).index
        wanted = build_index(Scorer(), CODEBOOKS, options, posterior=other).index
        np.testing.assert_array_equal(dense_index(found), dense_index(wanted))
        calls[name] = scorer.calls
    assert calls == {"none": 8, "stronger": 8, "same": 3}
