"""Small building blocks shared by encoders, towers and scorers."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer
from numpy.typing import NDArray

NEGATIVE = -1e9
"""Additive mask of a forbidden place in a softmax; finite, so that a fully masked row stays finite."""

NOISE_LEVELS = 256

COPY_NOISE = 0.5
"""Spread of a copied projection around the common one, relative to the size of its entries."""


product = ops.MatMul()
"""(A, w), (w, B) -> (A, B). Unlike that of ``ops.matmul``, its gradient makes no transposed copies."""

dot_products = ops.MatMul(transpose_b=True)
"""Rows (A, w), rows (B, w) -> (A, B), the dot products of all pairs; no operand is copied."""

TINY = 1e-6
"""Added to squared lengths before the root: a vector of length zero has a finite gradient."""


def embedding_table(rows: int, width: int, name: str, std: float = 0.0) -> Parameter:
    """Return a trainable (rows, width) float32 table drawn from N(0, std); std 0 stands for 1/sqrt(width)."""
    return Parameter(initializer(Normal(std or width**-0.5), (rows, width), ms.float32), name=name)


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis (Ba et al. 2016): (..., d) -> (..., d).

    The function and the weights of ``nn.LayerNorm``, as matrix products: its gradient kernel takes twice the
    time of all of them together on CPU, forward and backward.

    Args:
        width: d.
        epsilon: added to the variance.
    """

    def __init__(self, width: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.width = width
        self.epsilon = epsilon
        self.gamma = Parameter(initializer("ones", (width,), ms.float32), name="gamma")
        self.beta = Parameter(initializer("zeros", (width,), ms.float32), name="beta")
        self.centre = Tensor((np.eye(width) - 1.0 / width).astype(np.float32))  # x -> x - mean(x)
        self.mean = Tensor(np.full((width, 1), 1.0 / width, np.float32))

    def construct(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        centred = product(x.reshape(-1, self.width), self.centre)
        scale = ops.rsqrt(product(centred * centred, self.mean) + self.epsilon)  # (N, 1)
        scaled = centred * product(scale, ops.expand_dims(self.gamma, 0))
        return ops.bias_add(scaled, self.beta).reshape(x.shape)


class MLP(nn.Cell):
    """Dense layers with ReLU between them and none at the end: (..., sizes[0]) -> (..., sizes[-1]).

    Args:
        sizes: widths of input, hidden layers and output.
        zero_output: whether the last layer starts at zero, for a perceptron beside a residual connection.
    """

    def __init__(self, sizes: Sequence[int], zero_output: bool = False) -> None:
        super().__init__()
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        layers = [nn.Dense(before, after) for before, after in pairs[:-1]]
        start = {"weight_init": "zeros", "bias_init": "zeros"} if zero_output else {}
        self.layers = nn.CellList([*layers, nn.Dense(*pairs[-1], **start)])
        self.last = len(sizes) - 2

    def construct(self, x: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number < self.last:
                x = ops.relu(x)
        return x


class NoisyDropout(nn.Cell):
    """Dropout whose random numbers are an input, so that training resumes exactly.

    MindSpore cannot save the state of its graph random generators; the training loop draws uint8 noise
    with NumPy instead. The probability is rounded to a multiple of 1/256.

    Args:
        probability: share of elements set to zero, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold = round(probability * NOISE_LEVELS)
        self.scale = NOISE_LEVELS / (NOISE_LEVELS - self.threshold)

    def construct(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return x with elements dropped where noise (same shape, uint8) is below the threshold."""
        keep = (noise.astype(ms.int32) >= self.threshold).astype(ms.float32)
        return x * keep * self.scale


def subspace(width: int, size: int) -> NDArray[np.float32]:
    """(size, width) matrix A with orthonormal rows or columns, the same at every call.

    Tokenizer and lift both start from it, so that the dot product of an untrained model already compares
    query and item in one space, as that of a two-tower model does: A^T (A q) . v. Without it the first
    epochs go into finding such a space (docs/decisions/history.md, 0001).
    """
    tall = max(width, size), min(width, size)
    basis = np.linalg.qr(np.random.default_rng(0x5C0DE).normal(size=tall))[0]
    return np.ascontiguousarray(basis.T if width >= size else basis, np.float32)


def noisy_copies(common: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Noisy copies of ``common`` (rows, width), one below the other: (count * rows, width) float32.

    The noise of each copy has half the size of a unit row's entries. Projections that start so compare
    queries and items from the first step, and differ enough to grow apart.
    """
    copies = np.tile(common, (count, 1))
    noise = Normal(COPY_NOISE * common.shape[1] ** -0.5)
    drawn: NDArray[np.float32] = initializer(noise, copies.shape, ms.float32).init_data().asnumpy()
    return copies + drawn


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, W, d) over axis 1 where mask (B, W) is 1; zero for rows without any entry."""
    # a product with the mask: reducing a middle axis is five times slower on CPU, forward and backward
    total = ops.bmm(ops.expand_dims(mask, 1), values).squeeze(1)  # (B, d)
    return total / ops.maximum(mask.sum(1, keepdims=True), Tensor(1.0, ms.float32))


def inverse_lengths(rows: Tensor) -> Tensor:
    """(N, w) -> (N, 1), what scales each row to Euclidean length one."""
    return ops.rsqrt((rows * rows).sum(1, keepdims=True) + TINY)


def causal_mask(length: int) -> Tensor:
    """(length, length) float32: 0 where key <= query, -1e9 above the diagonal."""
    return Tensor(np.triu(np.full((length, length), NEGATIVE, np.float32), 1))
