"""The softmax loss: oracle, correction, accidental hits, padding, and the full softmax as a special case."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from helpers import tiny_config, tiny_dataset
from sparcode.config.schema import LossConfig
from sparcode.data.samplers import EXCLUDED, CandidateSampler, log_weights
from sparcode.model.factory import DataShape, build_network
from sparcode.model.losses import LossWeights, SampledSoftmaxLoss, TrainingLoss

Q, C = 4, 6


def arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positive scores, candidate scores, log_expected, hits, which have the score of the positive."""
    rng = np.random.default_rng(seed)
    hits = np.zeros((Q, C), bool)
    hits[1, 2] = hits[3, 0] = hits[3, 5] = True
    positive = rng.normal(size=Q).astype(np.float32)
    candidates = rng.normal(size=(Q, C)).astype(np.float32)
    return positive, with_hits(positive, candidates, hits), rng.normal(size=C).astype(np.float32), hits


def with_hits(positive: np.ndarray, candidates: np.ndarray, hits: np.ndarray) -> np.ndarray:
    return np.where(hits, positive[:, None], candidates)


def loss_of(
    positive: np.ndarray,
    negative: np.ndarray,
    log_expected: np.ndarray,
    hits: np.ndarray,
    temperature: float = 1.0,
) -> np.ndarray:
    weights = np.where(hits, -EXCLUDED, -log_expected[None]).astype(np.float32)
    return SampledSoftmaxLoss(temperature)(*map(Tensor, (positive, negative, weights))).asnumpy()


def slow_loss(
    positive: np.ndarray, negative: np.ndarray, log_expected: np.ndarray, hits: np.ndarray, temperature: float
) -> np.ndarray:
    """-log(e^p / (e^p + sum over candidates that are no hit of e^n / expected)), one query at a time."""
    losses = []
    for row in range(len(positive)):
        own = np.exp(float(positive[row]) / temperature)
        others = sum(
            np.exp(float(negative[row, place]) / temperature) / np.exp(float(log_expected[place]))
            for place in range(negative.shape[1])
            if not hits[row, place]
        )
        losses.append(-np.log(own / (own + others)))
    return np.array(losses)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_loss_equals_the_oracle(mode: str, temperature: float) -> None:
    parts = arrays()
    np.testing.assert_allclose(loss_of(*parts, temperature), slow_loss(*parts, temperature), rtol=1e-5)


def test_hits_and_correction_matter() -> None:
    """Self-test: dropping either changes the oracle by far more than the tolerance."""
    positive, negative, log_expected, hits = arrays()
    whole = slow_loss(positive, negative, log_expected, hits, 1.0)
    without_hits = slow_loss(positive, negative, log_expected, np.zeros_like(hits), 1.0)
    assert np.abs(whole - without_hits).max() > 0.05
    assert np.abs(whole - slow_loss(positive, negative, 0 * log_expected, hits, 1.0)).min() > 0.01


def test_excluded_candidates_do_not_count() -> None:
    positive, negative, log_expected, hits = arrays()
    log_expected[4] = 1e9
    found = loss_of(positive, negative, log_expected, hits)
    kept = [0, 1, 2, 3, 5]
    expected = slow_loss(positive, negative[:, kept], log_expected[kept], hits[:, kept], 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_any_candidate_left_the_loss_is_zero_and_finite() -> None:
    positive, negative, log_expected, _ = arrays()
    everything = np.ones((Q, C), bool)
    found = loss_of(positive, with_hits(positive, negative, everything), log_expected, everything)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_scores_of_any_size_give_a_finite_loss() -> None:
    """A positive far above or below the rest, and a hit that all others vanish beside, of large weight."""
    hits = np.zeros((3, 4), bool)
    hits[2, 1] = True
    positive = np.array([200.0, -200.0, 150.0], np.float32)
    negative = with_hits(positive, np.zeros((3, 4), np.float32), hits)
    log_expected = np.array([0.0, -8.0, 0.0, 0.0], np.float32)
    found = loss_of(positive, negative, log_expected, hits)
    expected = [0.0, 200.0 + np.log(3 + np.exp(8.0)), 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)


def popular_hits(negatives: str, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, log weights and hits of Zipf items, with positives ``margin`` above the rest."""
    rng = np.random.default_rng(0)
    counts = np.concatenate([[0], 1 + 10_000 // np.arange(1, 2001)])
    positives = (rng.choice(2000, 256, p=counts[1:] / counts.sum()) + 1).astype(np.int32)
    sampler = CandidateSampler(LossConfig(negatives=negatives), counts)
    candidates, log_expected = sampler.draw(rng, positives, np.ones(256, np.float32))
    positive = (rng.normal(size=256) + margin).astype(np.float32)
    hits = candidates[None] == positives[:, None]
    scores = with_hits(positive, rng.normal(size=hits.shape).astype(np.float32), hits)
    return positive, scores, log_weights(candidates, log_expected, positives), hits


@pytest.mark.parametrize("negatives", ["in_batch", "full"])
@pytest.mark.parametrize("margin", [0.0, 10.0, 20.0])
def test_hits_neither_pull_nor_push(negatives: str, margin: float) -> None:
    """Loss and gradients are those without the hits, however far the positive is above the candidates."""
    positive, negative, weights, hits = popular_hits(negatives, margin)
    assert hits.sum() >= 256
    loss = SampledSoftmaxLoss(1.0)

    def total(own: Tensor, others: Tensor) -> Tensor:
        return loss(own, others, Tensor(weights)).sum()

    grad_own, grad_others = ms.grad(total, grad_position=(0, 1))(Tensor(positive), Tensor(negative))
    masked = np.where(hits, -np.inf, negative.astype(np.float64) + weights)
    odds = np.exp(masked - positive[:, None])  # of each candidate against the positive
    shares = odds / (1 + odds.sum(1, keepdims=True))
    found = loss(Tensor(positive), Tensor(negative), Tensor(weights)).asnumpy()
    np.testing.assert_allclose(found, np.log1p(odds.sum(1)), rtol=1e-5, atol=2e-7)
    # relative alone: the positive of a query that is nearly right keeps its small gradient
    np.testing.assert_allclose(grad_own.asnumpy(), -shares.sum(1), rtol=2e-5)
    np.testing.assert_allclose(grad_others.asnumpy(), shares, rtol=1e-4)
    assert not grad_others.asnumpy()[hits].any()


# ---- network and loss together


def make_loss(name: str, *, quantize: bool = False, **values: Any) -> TrainingLoss:
    dataset = tiny_dataset()
    config = tiny_config({"model.name": name, **values})
    shape = DataShape(30, 6, dataset.item_features, dataset.user_features, dataset.item_arrays)
    ms.set_seed(1)
    network = build_network(config.model, shape)
    weights = LossWeights(1.0, 0.25)
    return TrainingLoss(network, weights, quantize=quantize, every_position=True, use_noise=False)


def batch_of(candidates: np.ndarray, log_expected: np.ndarray) -> list[Tensor]:
    dataset = tiny_dataset()
    rng = np.random.default_rng(2)
    history = rng.integers(1, 31, (3, 6)).astype(np.int32)
    history[1, :4] = 0
    query_index = np.array([0, 5, 10, 11, 17, 0], np.int32)
    positives = np.array([3, 9, 1, 30, 3, 0], np.int32)
    weights = np.array([1, 1, 1, 1, 1, 0], np.float32)
    users = [dataset.user_arrays[spec.name][:3] for spec in dataset.user_features]
    noise = np.zeros((1, 1, 1, 1), np.uint8)
    parts = [history, query_index, positives, weights, candidates]
    parts += [log_weights(candidates, log_expected, positives)]
    parts.append(np.ones(6, np.float32))  # every query is quantized
    parts += [np.zeros(1, np.int32), np.zeros((1, 1), np.float32), noise, *users]
    return [Tensor(np.ascontiguousarray(part)) for part in parts]


def all_item_scores(loss: TrainingLoss, batch: list[Tensor]) -> np.ndarray:
    """Scores (Q, I) of every item by the network's own parts."""
    network = loss.network
    queries = network.training_queries(batch[0], tuple(batch[10:]), None, batch[1])
    part = network.training_parts(queries, batch[6] if loss.quantize else None)[0]
    items = network.stored_item_part(Tensor(np.arange(1, 31, dtype=np.int32)))
    return network.cross(part, items).asnumpy().astype(np.float64)


@pytest.mark.parametrize("name", ["two_tower", "max_sim", "mol", "all_to_all", "sparcode"])
def test_full_negatives_are_the_exact_cross_entropy(name: str) -> None:
    loss = make_loss(name)
    counts = np.ones(31, np.int64)
    sampler = CandidateSampler(LossConfig(negatives="full"), counts)
    candidates, log_expected = sampler.draw(np.random.default_rng(0), np.ones(6, np.int32), np.ones(6))
    batch = batch_of(candidates, log_expected)
    total, softmax, commitment, *_ = (part.asnumpy() for part in loss(*batch))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    scores = all_item_scores(loss, batch)[:5]  # the sixth query is padding
    positives = np.array([3, 9, 1, 30, 3]) - 1
    expected = np.log(np.exp(scores).sum(1)) - scores[np.arange(5), positives]
    np.testing.assert_allclose(softmax, expected.mean(), rtol=1e-5)
    assert total == softmax
    assert commitment == 0.0


@pytest.mark.parametrize("negatives", ["in_batch", "full"])
def test_a_silenced_positive_is_pulled_as_hard_among_hits(negatives: str) -> None:
    """Unsigned scores leak below zero for positives only: a hit must not take the place of the positive."""
    loss = make_loss("all_to_all", **{"model.signed_scores": False, "model.score_bias": -0.2})
    positives = np.array([3, 9, 1, 30, 3, 0], np.int32)
    candidates = np.arange(1, 31, dtype=np.int32) if negatives == "full" else positives

    def softmax(*batch: Tensor) -> Tensor:
        return loss(*batch)[1]

    gradients = ms.grad(softmax, None, weights=ms.ParameterTuple(loss.trainable_params()))

    def of(ids: np.ndarray, positive: int) -> list[np.ndarray]:
        batch = batch_of(ids.astype(np.int32), np.where(ids == 0, EXCLUDED, 0).astype(np.float32))
        batch[3] = Tensor((np.arange(6) == positive).astype(np.float32))
        return [part.asnumpy() for part in gradients(*batch)]

    for query in range(5):
        without = candidates[candidates != positives[query]]
        padded = np.concatenate([without, np.zeros(len(candidates) - len(without), np.int32)])
        for found, expected in zip(of(candidates, query), of(padded, query), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_padded_queries_change_nothing_but_the_divisor_of_real_ones() -> None:
    loss = make_loss("sparcode", quantize=True)
    tokens = np.random.default_rng(0).normal(size=(20, 3, 4)).astype(np.float32)
    loss.network.quantizer.fit(tokens, 0)
    candidates = np.arange(1, 9, dtype=np.int32)
    batch = batch_of(candidates, np.zeros(8, np.float32))
    outputs = [part.asnumpy() for part in loss(*batch)]
    other = list(batch)
    other[1] = Tensor(np.array([0, 5, 10, 11, 17, 16], np.int32))  # the padded query looks elsewhere
    other[2] = Tensor(np.array([3, 9, 1, 30, 3, 25], np.int32))
    again = [part.asnumpy() for part in loss(*other)]
    np.testing.assert_allclose(outputs[:3], again[:3], rtol=1e-6)
    assert (outputs[3] != again[3]).any()  # it did look elsewhere
    total, softmax, commitment = outputs[:3]
    np.testing.assert_allclose(total, softmax + 0.25 * commitment, rtol=1e-6)
    books = loss.network.quantizer.codebook_array()  # (3, 2, 4, 2)
    tokens_seen, codes = outputs[3][:5], outputs[4][:5]  # the sixth query is padding
    quantized = np.concatenate([books[np.arange(3), book, codes[..., book]] for book in range(2)], -1)
    np.testing.assert_allclose(commitment, ((tokens_seen - quantized) ** 2).mean(), rtol=1e-4)


def test_all_padding_gives_zero_and_not_nan() -> None:
    loss = make_loss("two_tower")
    batch = batch_of(np.arange(1, 9, dtype=np.int32), np.zeros(8, np.float32))
    batch[3] = Tensor(np.zeros(6, np.float32))
    assert [float(part.asnumpy()) for part in loss(*batch)[:3]] == [0.0, 0.0, 0.0]
