"""Small building blocks by hand: the leaking ReLU and the common start of tokenizer and lift."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.model.layers import causal_mask, masked_mean, subspace
from sparcode.model.matchers.all_to_all import leaky_gradient_relu

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


@pytest.mark.parametrize(("width", "size"), [(8, 4), (4, 8), (5, 5)])
def test_the_subspace_is_orthonormal_and_always_the_same(width: int, size: int) -> None:
    matrix = subspace(width, size)
    assert (matrix.shape, matrix.dtype) == ((size, width), np.float32)
    small = matrix @ matrix.T if size <= width else matrix.T @ matrix
    np.testing.assert_allclose(small, np.eye(min(width, size)), atol=1e-6)
    np.testing.assert_array_equal(matrix, subspace(width, size))


def test_masked_mean_of_nothing_is_zero(mode: str) -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mask = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(masked_mean(Tensor(values), Tensor(mask)).asnumpy(), [[2, 3], [0, 0]])


def test_the_causal_mask_forbids_what_follows() -> None:
    np.testing.assert_array_equal(causal_mask(3).asnumpy() < 0, np.triu(np.ones((3, 3), bool), 1))
