"""Code assignment: product quantization with codebooks that follow by exponential moving average.

Sources: SparCode, sec. 3.3 (code assignment); van den Oord et al., NeurIPS 2017, appendix A.1 (EMA
codebooks with Laplace smoothing); Dhariwal et al. 2020 (restart of unused codewords).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

KMEANS_ITERATIONS = 25


@dataclass(frozen=True)
class QuantizerOptions:
    """Shape and update rule of the codebooks; the fields are those of the configuration section."""

    num_codebooks: int
    codebook_size: int
    token_size: int
    decay: float = 0.99
    epsilon: float = 1e-5
    restart_threshold: float = 0.1


class ProductQuantizer(nn.Cell):
    """M codebooks of N codewords, shared by all tokens.

    State (none of it trained by gradients, all of it in the checkpoint):
        codebooks: (M * N, D/M) float32, codebook m in rows m*N .. (m+1)*N - 1.
        ema_sums: (M * N, D/M) float32, moving sum of the sub-vectors assigned to each codeword.
        ema_counts: (M * N,) float32, moving number of them.

    ``construct`` never changes the state: the train step calls ``update`` once per step.
    """

    def __init__(self, options: QuantizerOptions) -> None:
        super().__init__()
        self.num_codebooks = options.num_codebooks
        self.codebook_size = options.codebook_size
        self.sub_size = options.token_size // options.num_codebooks
        self.decay = options.decay
        self.epsilon = options.epsilon
        self.restart_threshold = options.restart_threshold
        self.rows = self.num_codebooks * self.codebook_size
        zeros = np.zeros((self.rows, self.sub_size), np.float32)
        self.codebooks = Parameter(Tensor(zeros), name="codebooks", requires_grad=False)
        self.ema_sums = Parameter(Tensor(zeros), name="ema_sums", requires_grad=False)
        self.ema_counts = Parameter(
            Tensor(np.zeros(self.rows, np.float32)), name="ema_counts", requires_grad=False
        )
        books = np.arange(self.num_codebooks, dtype=np.int32)
        self.offsets = Tensor(books[None] * self.codebook_size)  # (1, M)
        self.owner = Tensor(np.repeat(books, self.codebook_size))  # (M*N,), codebook of each row
        self.radix = Tensor((self.codebook_size ** books[::-1]).astype(np.int32)[None, None])  # (1, 1, M)

    def assign(self, tokens: Tensor) -> Tensor:
        """Nearest codewords of tokens (T, D) -> codes (T, M) int32, ties to the smaller codeword.

        Squared distance without the term |z|^2, which is equal for all codewords: |c|^2 - 2 z.c.
        """
        parts = tokens.reshape(-1, self.num_codebooks, self.sub_size).transpose(1, 0, 2)  # (M, T, D/M)
        books = self.codebooks.reshape(self.num_codebooks, self.codebook_size, self.sub_size)
        norms = ops.expand_dims((books * books).sum(-1), 1)  # (M, 1, N)
        distances = norms - 2.0 * ops.bmm(parts, books.transpose(0, 2, 1))  # (M, T, N)
        return ops.argmin(distances, 2).astype(ms.int32).transpose(1, 0)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (T, M) -> quantized tokens (T, D)."""
        return ops.gather(self.codebooks, codes + self.offsets, 0).reshape(
            -1, self.num_codebooks * self.sub_size
        )

    def term_ids(self, codes: Tensor) -> Tensor:
        """Codes (B, K_u, M) -> term ids (B, K_u) int32, codebook 0 most significant."""
        return (codes * self.radix).sum(-1).astype(ms.int32)

    def construct(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (T, D) -> quantized tokens (T, D), codes (T, M), squared error (T,).

        The quantized tokens carry the gradient of the tokens (straight-through); the squared error is
        the mean over D of |z - sg(z_q)|^2 and pulls the tokens towards their codewords.
        """
        codes = self.assign(ops.stop_gradient(tokens))
        quantized = ops.stop_gradient(self.decode(codes))
        error = ops.square(tokens - quantized).mean(-1)
        return tokens + ops.stop_gradient(quantized - tokens), codes, error

    def update(self, tokens: Tensor, codes: Tensor, weights: Tensor, restart_rows: Tensor) -> Tensor:
        """Move the codebooks towards the tokens of one step.

        Args:
            tokens: (T, D) tokens before quantization; no gradient flows from here.
            codes: (T, M) int32, their codewords.
            weights: (T,) float32, 1 for real tokens and 0 for padding.
            restart_rows: (M * N,) int32 in [0, T): the token that replaces each codeword should it be dead.

        Returns:
            The new EMA counts (M * N,); using the value keeps the update in the compiled graph.
        """
        parts = tokens.reshape(-1, self.sub_size)  # (T * M, D/M)
        rows = (codes + self.offsets).reshape(-1)
        share = ops.broadcast_to(ops.expand_dims(weights, 1), codes.shape).reshape(-1)
        sums = ops.unsorted_segment_sum(parts * ops.expand_dims(share, 1), rows, self.rows)
        counts = ops.unsorted_segment_sum(share, rows, self.rows)
        new_counts = self.ema_counts * self.decay + counts * (1.0 - self.decay)
        new_sums = self.ema_sums * self.decay + sums * (1.0 - self.decay)
        books = new_sums / ops.expand_dims(self._smoothed(new_counts), 1)
        if self.restart_threshold > 0:
            fresh = ops.gather(parts, restart_rows * self.num_codebooks + self.owner, 0)
            dead = new_counts < self.restart_threshold
            dead_rows = ops.broadcast_to(ops.expand_dims(dead, 1), books.shape)
            books = ops.select(dead_rows, fresh, books)
            new_counts = ops.select(dead, ops.ones_like(new_counts), new_counts)
            new_sums = ops.select(dead_rows, fresh, new_sums)
        counted = ops.assign(self.ema_counts, new_counts)
        summed = ops.depend(ops.assign(self.ema_sums, new_sums), counted)
        moved = ops.depend(ops.assign(self.codebooks, books), summed)
        return ops.depend(new_counts, moved)

    def _smoothed(self, counts: Tensor) -> Tensor:
        """Laplace-smoothed counts (M * N,), with the total of each codebook unchanged."""
        by_book = counts.reshape(self.num_codebooks, self.codebook_size)
        total = by_book.sum(-1, keepdims=True)
        smoothed = (by_book + self.epsilon) / (total + self.codebook_size * self.epsilon) * total
        return smoothed.reshape(-1)

    def codebook_array(self) -> NDArray[np.float32]:
        """A copy of the codebooks, (M, N, D/M)."""
        flat = self.codebooks.asnumpy().copy()
        return flat.reshape(self.num_codebooks, self.codebook_size, self.sub_size)

    def fit(self, tokens: NDArray[np.float32], seed: int) -> None:
        """Set the codebooks by k-means on real tokens (T, D): data-dependent initialisation.

        The EMA state starts at the cluster sums and sizes, scaled to a mean count of one per codeword.
        """
        books, counts = kmeans_codebooks(tokens, self.num_codebooks, self.codebook_size, seed)
        scaled = counts / max(float(counts.mean()), 1e-12)
        flat = books.reshape(self.rows, self.sub_size)
        self.codebooks.set_data(Tensor(flat))
        self.ema_counts.set_data(Tensor(scaled.reshape(-1).astype(np.float32)))
        self.ema_sums.set_data(Tensor((flat * scaled.reshape(-1, 1)).astype(np.float32)))


def kmeans_codebooks(
    tokens: NDArray[np.float32], num_codebooks: int, codebook_size: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """k-means per sub-vector of tokens (T, D) -> codebooks (M, N, D/M) and cluster sizes (M, N).

    Missing points (T < N) are filled with jittered copies of real sub-vectors and an empty cluster keeps its
    last centre, so that every codeword is a usable, distinct one.
    """
    rng = np.random.default_rng([seed, 0x6B6D])
    parts = np.split(np.asarray(tokens, np.float64), num_codebooks, axis=1)
    books, sizes = [], []
    for part in parts:
        spread = part.std() * 1e-3 + 1e-6
        if len(part) < codebook_size:
            extra = part[rng.integers(0, len(part), codebook_size - len(part))]
            part = np.concatenate([part, extra + rng.normal(0, spread, extra.shape)])
        start = part[rng.choice(len(part), codebook_size, replace=False)]
        start = start + rng.normal(0, spread, start.shape)
        with warnings.catch_warnings():
            # an empty cluster keeps its last centre, which is as usable as any
            warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
            book, labels = kmeans2(part, start, iter=KMEANS_ITERATIONS, minit="matrix", missing="warn")
        books.append(book.astype(np.float32))
        sizes.append(np.bincount(labels, minlength=codebook_size).astype(np.float64))
    return np.stack(books), np.stack(sizes)
