"""Candidates: distribution, expected counts, and that the correction makes the estimate unbiased."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparcode.config.schema import LossConfig
from sparcode.data.samplers import EXCLUDED, CandidateSampler, log_weights

COUNTS = np.array([0, 16, 8, 4, 2, 1, 1, 0, 0])
"""Interactions of items 1..8; entry 0 is padding."""

POSITIVES = np.array([1, 1, 2, 3, 1], np.int32)
ALL_REAL = np.ones(5, np.float32)


def sampler(negatives: str, number: int = 6, **values: Any) -> CandidateSampler:
    return CandidateSampler(LossConfig(negatives=negatives, num_negatives=number, **values), COUNTS)


def draw(
    of: CandidateSampler, seed: int = 0, positives: np.ndarray = POSITIVES, weights: np.ndarray = ALL_REAL
) -> tuple[np.ndarray, np.ndarray]:
    return of.draw(np.random.default_rng(seed), positives, weights)


@pytest.mark.parametrize(
    ("negatives", "count"), [("uniform", 6), ("popularity", 6), ("in_batch", 5), ("mixed", 11), ("full", 8)]
)
def test_shapes_and_types(negatives: str, count: int) -> None:
    chosen = sampler(negatives)
    candidates, log_expected = draw(chosen)
    assert candidates.shape == log_expected.shape == (count,)
    assert (candidates.dtype, log_expected.dtype) == (np.int32, np.float32)
    assert chosen.candidates_per_step(len(POSITIVES)) == count
    assert candidates.min() >= 1
    assert candidates.max() <= 8


@pytest.mark.parametrize(
    ("negatives", "weights"),
    [
        ("uniform", np.ones(8)),
        ("popularity", np.array([16, 8, 4, 2, 1, 1, 1, 1]) ** 0.5),
    ],
)
def test_sampled_items_follow_the_distribution(negatives: str, weights: np.ndarray) -> None:
    candidates, log_expected = draw(sampler(negatives, 20_000, popularity_exponent=0.5))
    expected = 20_000 * weights / weights.sum()
    observed = np.bincount(candidates, minlength=9)[1:]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    np.testing.assert_allclose(np.exp(log_expected), expected[candidates - 1], rtol=1e-5)


def test_the_distribution_test_can_fail() -> None:
    """Self-test: another exponent is told apart."""
    candidates, _ = draw(sampler("popularity", 20_000, popularity_exponent=0.55))
    weights = np.array([16, 8, 4, 2, 1, 1, 1, 1]) ** 0.5
    observed = np.bincount(candidates, minlength=9)[1:]
    assert stats.chisquare(observed, 20_000 * weights / weights.sum()).pvalue < 1e-3


def test_the_whole_catalogue_is_not_corrected() -> None:
    candidates, log_expected = draw(sampler("full"))
    assert candidates.tolist() == list(range(1, 9))
    assert not log_expected.any()


def test_in_batch_candidates_are_the_positives_expected_by_frequency() -> None:
    candidates, log_expected = draw(sampler("in_batch"))
    np.testing.assert_array_equal(candidates, POSITIVES)
    frequency = COUNTS[POSITIVES] / 32
    np.testing.assert_allclose(np.exp(log_expected), 4 * frequency, rtol=1e-5)  # the four other queries


def test_padding_of_an_uneven_batch_is_excluded() -> None:
    positives, weights = np.array([1, 2, 0, 0], np.int32), np.array([1, 1, 0, 0], np.float32)
    for negatives in ("in_batch", "mixed"):
        for correction in (True, False):
            chosen = sampler(negatives, logq_correction=correction)
            candidates, log_expected = draw(chosen, positives=positives, weights=weights)
            np.testing.assert_array_equal(log_expected == np.float32(EXCLUDED), candidates == 0)
            assert (candidates == 0).sum() == 2
    _, log_expected = draw(sampler("in_batch"), positives=positives, weights=weights)
    np.testing.assert_allclose(np.exp(log_expected[:2]), [1 * 16 / 32, 1 * 8 / 32], rtol=1e-5)


def test_mixed_candidates_are_expected_from_both_sources() -> None:
    candidates, log_expected = draw(sampler("mixed", popularity_exponent=1.0))
    np.testing.assert_array_equal(candidates[:5], POSITIVES)
    probability = np.maximum(COUNTS, 1) / np.maximum(COUNTS[1:], 1).sum()
    expected = 4 * COUNTS[candidates] / 32 + 6 * probability[candidates]
    np.testing.assert_allclose(np.exp(log_expected), expected, rtol=1e-5)


@pytest.mark.parametrize("negatives", ["uniform", "popularity", "in_batch", "mixed"])
def test_without_the_correction_nothing_is_subtracted(negatives: str) -> None:
    assert not draw(sampler(negatives, logq_correction=False))[1].any()


@pytest.mark.parametrize("negatives", ["uniform", "popularity", "mixed"])
def test_the_corrected_sum_estimates_the_sum_over_the_catalogue(negatives: str) -> None:
    """Mean over draws of sum_c exp(-log_expected_c) f(c) = sum_i f(i), what the softmax denominator needs."""
    values = np.array([0.0, 3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    chosen = sampler(negatives, number=16)
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(4000):
        positives = rng.choice(9, 6, p=COUNTS / COUNTS.sum()).astype(np.int32)
        candidates, log_expected = chosen.draw(rng, positives, np.ones(6, np.float32))
        # a query's own positive is an accidental hit and left out of its sum: keep the five others'
        kept = np.arange(len(candidates)) > 0 if negatives == "mixed" else slice(None)
        estimates.append((np.exp(-log_expected[kept]) * values[candidates[kept]]).sum())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - values.sum()) < 4 * error
    assert error < 0.02 * values.sum()


def test_a_catalogue_without_interactions_can_be_sampled() -> None:
    config = LossConfig(negatives="mixed", num_negatives=4)
    chosen = CandidateSampler(config, np.zeros(4, np.int64))
    candidates, log_expected = draw(chosen, positives=np.array([2], np.int32), weights=np.ones(1, np.float32))
    assert np.isfinite(log_expected).all()
    assert candidates.min() >= 1


def test_equal_generators_give_equal_draws() -> None:
    chosen = sampler("popularity", 50)
    np.testing.assert_array_equal(draw(chosen, 3)[0], draw(chosen, 3)[0])
    assert (draw(chosen, 3)[0] != draw(chosen, 4)[0]).any()


def test_hits_are_masked_and_others_corrected() -> None:
    candidates = np.array([4, 2, 4, 0, 9], np.int32)
    log_expected = np.array([0.5, -4.0, 0.25, EXCLUDED, 1.0], np.float32)
    found = log_weights(candidates, log_expected, np.array([4, 2, 7], np.int32))
    gone = -EXCLUDED
    expected = [[gone, 4, gone, gone, -1], [-0.5, gone, -0.25, gone, -1], [-0.5, 4, -0.25, gone, -1]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert found.dtype == np.float32


def test_of_the_whole_catalogue_every_positive_is_a_hit_once() -> None:
    candidates, log_expected = draw(sampler("full"))
    found = log_weights(candidates, log_expected, np.arange(1, len(candidates) + 1, dtype=np.int32))
    np.testing.assert_array_equal(found < 0, np.eye(len(candidates), dtype=bool))
