"""The kernels against their formula in double precision."""

import numpy as np
import pytest

from sparcode.model.pair_kernels import PairKernel, PairScorer

RNG = np.random.default_rng(1)
T, C = 7, 2100


@pytest.mark.parametrize("hidden", [0, 1, 4, 6, 64])
@pytest.mark.parametrize("dot", [0, 1, 16])
@pytest.mark.parametrize("own_weights", [True, False])
def test_scores_follow_the_formula(hidden: int, dot: int, own_weights: bool) -> None:
    tokens = RNG.standard_normal((T, dot + 2 * hidden)).astype(np.float32)
    items = RNG.standard_normal((C, dot + hidden)).astype(np.float32)
    fixed = RNG.standard_normal(hidden).astype(np.float32)
    kernel = PairKernel(dot, hidden, None if own_weights else fixed, 0.25)
    weights = tokens[:, dot + hidden :] if own_weights else np.broadcast_to(fixed, (T, hidden))
    units = np.maximum(tokens[:, None, dot : dot + hidden].astype(np.float64) + items[None, :, dot:], 0)
    expected = tokens[:, :dot].astype(np.float64) @ items[:, :dot].T + 0.25
    expected += (units * weights[:, None]).sum(-1)
    scorer = PairScorer(kernel, items)
    np.testing.assert_allclose(scorer.block(tokens, 1, C + 1), expected, rtol=1e-5, atol=2e-5)
    part = scorer.block(tokens, 5, 1500)
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, expected[:, 4:1499], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["token", "item", "weight"])
def test_what_is_not_finite_stays_so(where: str, broken: float) -> None:
    """The index builder refuses scores that are not finite, so the kernel must not swallow them."""
    tokens, items = RNG.standard_normal((3, 8)).astype(np.float32), np.ones((2000, 4), np.float32)
    if where == "item":
        items[5, 1] = broken
    else:
        tokens[1, {"token": 2, "weight": 6}[where]] = broken
    found = PairScorer(PairKernel(0, 4), items).block(tokens, 1, 2001)
    with np.errstate(invalid="ignore"):
        exact = (np.maximum(tokens[:, None, :4] + items[None], 0) * tokens[:, None, 4:]).sum(-1)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(exact))
    if np.isnan(broken):
        assert np.isnan(found).sum() == {"token": 2000, "item": 3, "weight": 2000}[where]
