"""Small building blocks by hand: the leaking ReLU and the common start of tokenizer and scorer."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.model.all_to_all import leaky_gradient_relu
from sparcode.model.interaction import GatedScorer
from sparcode.model.layers import causal_mask, masked_mean, shared_subspace

VALUES = np.array([-2.0, -0.5, 0.5, 3.0], np.float32)


class Leaky(nn.Cell):
    def __init__(self, leak: float) -> None:
        super().__init__()
        self.leak = leak

    def construct(self, x: Tensor) -> Tensor:
        return leaky_gradient_relu(x, self.leak)


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_the_leak_is_in_the_gradient_alone(mode: str, leak: float) -> None:
    cell = Leaky(leak)
    np.testing.assert_array_equal(cell(Tensor(VALUES)).asnumpy(), [0, 0, 0.5, 3.0])
    np.testing.assert_allclose(ms.grad(cell)(Tensor(VALUES)).asnumpy(), [leak, leak, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(("width", "token_size"), [(8, 4), (4, 8), (5, 5)])
def test_the_shared_subspace_is_orthonormal_and_always_the_same(width: int, token_size: int) -> None:
    matrix = shared_subspace(width, token_size)
    assert (matrix.shape, matrix.dtype) == ((token_size, width), np.float32)
    small = matrix @ matrix.T if token_size <= width else matrix.T @ matrix
    np.testing.assert_allclose(small, np.eye(min(width, token_size)), atol=1e-6)
    np.testing.assert_array_equal(matrix, shared_subspace(width, token_size))


@pytest.mark.parametrize("num_tokens", [1, 3])
def test_the_untrained_dot_product_is_that_of_the_projected_query_with_the_item_vector(
    num_tokens: int,
) -> None:
    scorer = GatedScorer(4, num_tokens * 8, 8, 6, 1)
    scorer.token_dot.bias.set_data(Tensor(np.zeros(8, np.float32)))
    rng = np.random.default_rng(0)
    query, items = rng.normal(size=8), rng.normal(size=(5, num_tokens, 8)).astype(np.float32)
    subspace = shared_subspace(8, 4)
    token = Tensor((subspace @ query)[None].astype(np.float32))
    lifted = scorer.token_part(token).asnumpy()[0, :8]
    flat = scorer.item_part(Tensor(items)).asnumpy()[:, :8]
    np.testing.assert_allclose(flat, items.sum(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        flat @ lifted, items.sum(1) @ (subspace.T @ subspace @ query), rtol=1e-3, atol=1e-4
    )


def test_masked_mean_of_nothing_is_zero(mode: str) -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mask = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(masked_mean(Tensor(values), Tensor(mask)).asnumpy(), [[2, 3], [0, 0]])


def test_the_causal_mask_forbids_what_follows() -> None:
    np.testing.assert_array_equal(causal_mask(3).asnumpy() < 0, np.triu(np.ones((3, 3), bool), 1))
