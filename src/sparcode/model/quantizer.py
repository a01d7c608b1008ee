"""Code assignment: product quantization with codebooks that follow by exponential moving average.

Sources: SparCode, sec. 3.3 (code assignment); van den Oord et al., NeurIPS 2017, appendix A.1 (EMA
codebooks with Laplace smoothing); Dhariwal et al. 2020 (restart of unused codewords).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from sparcode.model.kmeans import kmeans

LEAST_DISTANCE = 1e-12
"""Squared distance of a token to its code that counts as none."""

CHANCE = 10.0
"""A codeword of mean use is restarted by mistake once in exp(CHANCE) stretches of such length."""


@dataclass(frozen=True)
class QuantizerOptions:
    """Shape and update rule of the codebooks; most fields are those of the configuration section.

    Attributes:
        num_tokens: K_u.
        num_slots: S, groups of codebooks: K_u, or 1 when all tokens share theirs.
    """

    num_codebooks: int
    codebook_size: int
    token_size: int
    num_tokens: int = 1
    num_slots: int = 1
    decay: float = 0.99
    epsilon: float = 1e-5
    restart_threshold: float = 0.1
    probes: int = 1
    probe_temperature: float = 1.0


class ProductQuantizer(nn.Cell):
    """M codebooks of N codewords for each of S slots: one slot for each token, or one for all of them.

    State (none of it trained by gradients, all of it in the checkpoint):
        codebooks: (S * M * N, D/M) float32; codebook m of slot s in rows (s * M + m) * N and the N - 1 after.
        ema_sums: (S * M * N, D/M) float32, moving sum of the sub-vectors assigned to each codeword.
        ema_counts: (S * M * N,) float32, moving number of them.

    A *row of tokens* is what one step of assignment sees of every codebook: the K_u tokens of a query when
    they have codebooks of their own (S = K_u), one token when they share them (S = 1).

    ``mixes_probes``: whether tokens are replaced in training by what their probes amount to together, as they
    are served where scores are linear in the tokens; otherwise by the nearest code.

    ``construct`` never changes the state: the train step calls ``update`` once per step.
    """

    def __init__(self, options: QuantizerOptions) -> None:
        super().__init__()
        self.num_codebooks = options.num_codebooks
        self.codebook_size = options.codebook_size
        self.num_tokens = options.num_tokens
        self.num_slots = options.num_slots
        self.books = options.num_slots * options.num_codebooks
        self.num_terms = options.num_slots * options.codebook_size**options.num_codebooks
        self.row_size = options.num_slots * options.token_size
        self.sub_size = options.token_size // options.num_codebooks
        self.decay = options.decay
        self.epsilon = options.epsilon
        self.restart_threshold = options.restart_threshold
        self.probes = options.probes
        self.probe_temperature = options.probe_temperature
        self.mixes_probes = False
        self.rows = self.books * self.codebook_size
        zeros = np.zeros((self.rows, self.sub_size), np.float32)
        self.codebooks = Parameter(Tensor(zeros), name="codebooks", requires_grad=False)
        self.ema_sums = Parameter(Tensor(zeros), name="ema_sums", requires_grad=False)
        self.ema_counts = Parameter(
            Tensor(np.zeros(self.rows, np.float32)), name="ema_counts", requires_grad=False
        )
        books = np.arange(self.books, dtype=np.int32)
        self.offsets = Tensor(books[None] * self.codebook_size)  # (1, S*M)
        self.owner = Tensor(np.repeat(books, self.codebook_size))  # (S*M*N,), codebook of each codeword
        places = self.codebook_size ** np.arange(self.num_codebooks, dtype=np.int32)[::-1]
        self.radix = Tensor(places.astype(np.int32)[None, None])  # (1, 1, M)
        codes_per_slot = self.codebook_size**self.num_codebooks
        slot = np.arange(self.num_tokens, dtype=np.int32) % self.num_slots
        self.first_terms = Tensor((slot * codes_per_slot).astype(np.int32)[None])  # (1, K_u)

    def assign(self, tokens: Tensor, table: Tensor | None = None) -> Tensor:
        """Nearest codewords of tokens (Q, K_u, D) -> codes (Q, K_u, M) int32, ties to the smaller codeword.

        Squared distance without the term |z|^2, which is equal for all codewords: |c|^2 - 2 z.c.

        Args:
            tokens: (Q, K_u, D).
            table: (S * M, D/M + 1, N), ``distance_table`` of the present codebooks; None = made here, which
                takes ten times as long as the distances of a single query.
        """
        nearest = ops.argmin(self._distances(tokens, table), 2).astype(ms.int32).transpose(1, 0)  # (T, S*M)
        return nearest.reshape(-1, self.num_tokens, self.num_codebooks)

    def _distances(self, tokens: Tensor, table: Tensor | None = None) -> Tensor:
        """Tokens (Q, K_u, D) -> |c|^2 - 2 z.c, (S*M, T, N) for T rows of tokens."""
        parts = tokens.reshape(-1, self.books, self.sub_size).transpose(1, 0, 2)  # (S*M, T, D/M)
        # one product with a column of ones: adding the norms afterwards takes four times as long on CPU
        parts = ops.concat((parts, ops.ones_like(parts[:, :, :1])), 2)
        if table is not None:
            return ops.bmm(parts, table)
        books = self.codebooks.reshape(self.books, self.codebook_size, self.sub_size)
        norms = (books * books).sum(-1, keepdims=True)  # (S*M, N, 1)
        return ops.bmm(parts, ops.concat((-2.0 * books, norms), 2).transpose(0, 2, 1))

    def probe(self, tokens: Tensor, table: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The P = ``probes`` nearest codes of each token, and how much each counts.

        The weights of a token are the softmax of -d_p / (t d_1), with d_p the squared distance to the p-th
        nearest code and t = ``probe_temperature``: a token between two codes is shared by them, one that sits
        on its code stays with it, and the smaller t, the more the nearest code counts.

        Args:
            tokens: (Q, K_u, D).
            table: as of ``assign``.

        Returns:
            codes (Q, K_u, P, M) int32, nearest first, and weights (Q, K_u, P) that add up to 1.
        """
        if self.probes == 1:
            codes = ops.expand_dims(self.assign(tokens, table), 2)
            return codes, ops.ones(codes.shape[:3], ms.float32)
        codes, distances = self.nearest(tokens, self.probes, table)
        scale = self.probe_temperature * ops.maximum(
            distances[:, :, :1], ops.full_like(distances[:, :, :1], LEAST_DISTANCE)
        )
        return codes, ops.softmax(-distances / scale, -1)

    def nearest(self, tokens: Tensor, probes: int, table: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nearest codes of tokens (Q, K_u, D) and how far they are.

        Args:
            tokens: (Q, K_u, D).
            probes: P; there are fewer if a token has fewer codes.
            table: as of ``assign``.

        Returns:
            codes (Q, K_u, P, M) int32, nearest first, and squared distances (Q, K_u, P).
        """
        slots, books = self.num_slots, self.num_codebooks
        found, places = ops.topk(-self._distances(tokens, table), min(probes, self.codebook_size), 2)
        found = found.reshape(slots, books, -1, found.shape[2])  # (S, M, T, P)
        places = places.astype(ms.int32).reshape(found.shape)
        best, codes = found[:, 0], ops.expand_dims(places[:, 0], -1)  # (S, T, P), (S, T, P, 1)
        for m in range(1, books):  # the best sums need only the best terms of each codebook
            best, codes = self._extend(best, codes, found[:, m], places[:, m], probes)
        squares = ops.square(tokens).reshape(-1, slots, self.num_codebooks * self.sub_size).sum(-1)  # (T, S)
        distances = (ops.expand_dims(squares.transpose(1, 0), -1) - best).transpose(1, 0, 2)  # (T, S, P)
        codes = codes.transpose(1, 0, 2, 3)
        count = codes.shape[2]
        return (
            codes.reshape(-1, self.num_tokens, count, books),
            distances.reshape(-1, self.num_tokens, count),
        )

    def _extend(
        self, best: Tensor, codes: Tensor, nearest: Tensor, places: Tensor, probes: int
    ) -> tuple[Tensor, Tensor]:
        """The best P of all sums of ``best`` (S, T, P) and ``nearest`` (S, T, p), with their codes."""
        width = nearest.shape[2]
        sums = (ops.expand_dims(best, 3) + ops.expand_dims(nearest, 2)).reshape(
            best.shape[0], best.shape[1], -1
        )
        found, pairs = ops.topk(sums, min(probes, sums.shape[2]), 2)  # (S, T, P)
        first = ops.floor_divide(pairs, width)
        chosen = ops.gather_elements(places, 2, pairs - first * width)
        parts: tuple[Tensor, ...] = ()
        for m in range(codes.shape[3]):
            parts = (*parts, ops.gather_elements(codes[:, :, :, m], 2, first))
        return found, ops.stack((*parts, chosen), -1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (Q, K_u, M) -> quantized tokens (Q, K_u, D)."""
        rows = codes.reshape(-1, self.books) + self.offsets
        size = self.num_codebooks * self.sub_size
        return ops.gather(self.codebooks, rows, 0).reshape(-1, self.num_tokens, size)

    def _mixture(self, codes: Tensor, weights: Tensor) -> Tensor:
        """Codes (Q, K_u, P, M) and weights (Q, K_u, P) of probes -> what they amount to, (Q, K_u, D)."""
        count = codes.shape[2]
        each = self.decode(codes.transpose(0, 2, 1, 3).reshape(-1, self.num_tokens, self.num_codebooks))
        each = each.reshape(codes.shape[0], count, self.num_tokens, -1)  # (Q, P, K_u, D)
        shares = ops.expand_dims(weights.transpose(0, 2, 1), 3)  # (Q, P, K_u, 1)
        return ops.stop_gradient((each * shares).sum(1))

    def term_ids(self, codes: Tensor) -> Tensor:
        """Codes (Q, K_u, M) -> term ids (Q, K_u) int32: slot * N**M + code, codebook 0 most significant."""
        return (codes * self.radix).sum(-1).astype(ms.int32) + self.first_terms

    def probe_terms(self, codes: Tensor) -> Tensor:
        """Codes of probes (Q, K_u, P, M) -> term ids (Q, K_u * P) int32, the probes of a token together."""
        count = codes.shape[2]
        terms = self.term_ids(codes.transpose(0, 2, 1, 3).reshape(-1, self.num_tokens, self.num_codebooks))
        return terms.reshape(-1, count, self.num_tokens).transpose(0, 2, 1).reshape(codes.shape[0], -1)

    def construct(self, tokens: Tensor, quantized_queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize the tokens of some of the queries.

        Tokens carry their gradient past the quantization (straight-through). The squared error, that of all
        queries, is the mean over K_u and D of |z - sg(z_q)|^2 and pulls tokens towards their codewords.

        Args:
            tokens: (Q, K_u, D).
            quantized_queries: (Q,) float32, 1 = the tokens of this query are replaced by their codewords,
                0 = they stay as they are.

        Returns:
            tokens (Q, K_u, D), codes (Q, K_u, M) and squared error (Q,) of all queries.
        """
        if self.mixes_probes and self.probes > 1:
            probes, weights = self.probe(ops.stop_gradient(tokens))
            codes = probes[:, :, 0]
            quantized = self._mixture(probes, weights)
        else:
            codes = self.assign(ops.stop_gradient(tokens))
            quantized = ops.stop_gradient(self.decode(codes))
        missed = tokens - ops.stop_gradient(self.decode(codes))
        error = (missed * missed).reshape(tokens.shape[0], -1).mean(1)
        moved = (quantized - tokens) * quantized_queries.reshape(-1, 1, 1)
        return tokens + ops.stop_gradient(moved), codes, error

    def statistics(self, tokens: Tensor, codes: Tensor, weights: Tensor, restart_rows: Tensor) -> Tensor:
        """What the codebooks need to know of the tokens of one step; adds up over the workers of a job.

        Args:
            tokens: (Q, K_u, D) tokens before quantization; no gradient flows from here.
            codes: (Q, K_u, M) int32, their codewords.
            weights: (Q,) float32, 1 for real queries and 0 for padding.
            restart_rows: (S * M * N,) int32 in [0, T): the row of tokens (T = Q * K_u / S of them) whose
                sub-vector replaces each codeword should it be dead; -1 where another worker has it.

        Returns:
            (S * M * N, 1 + 2 * D/M): of each codeword the number of sub-vectors assigned to it, their sum,
            and the one to restart from, zeros where another worker has it.
        """
        per_query = self.num_tokens // self.num_slots
        parts = tokens.reshape(-1, self.sub_size)  # (T * S*M, D/M)
        rows = codes.reshape(-1, self.books) + self.offsets  # (T, S*M)
        share = ops.broadcast_to(ops.expand_dims(weights, 1), (weights.shape[0], per_query)).reshape(-1, 1)
        share = ops.broadcast_to(share, rows.shape).reshape(-1)
        rows = rows.reshape(-1)
        sums = ops.unsorted_segment_sum(parts * ops.expand_dims(share, 1), rows, self.rows)
        counts = ops.unsorted_segment_sum(share, rows, self.rows)
        own = ops.maximum(restart_rows, ops.zeros_like(restart_rows))
        fresh = ops.gather(parts, own * self.books + self.owner, 0)
        fresh = fresh * ops.expand_dims((restart_rows >= 0).astype(ms.float32), 1)
        return ops.concat((ops.expand_dims(counts, 1), sums, fresh), 1)

    def update(self, statistics: Tensor) -> Tensor:
        """Move the codebooks towards the tokens of one step.

        Args:
            statistics: (S * M * N, 1 + 2 * D/M), see ``statistics``.

        Returns:
            The new EMA counts (S * M * N,); using the value keeps the update in the compiled graph.
        """
        counts, sums, fresh = ops.split(statistics, [1, self.sub_size, self.sub_size], 1)
        new_counts = self.ema_counts * self.decay + counts.reshape(-1) * (1.0 - self.decay)
        new_sums = self.ema_sums * self.decay + sums * (1.0 - self.decay)
        mean = self._mean_counts(new_counts)
        # Laplace smoothing, relative to the mean: it leaves the total of a codebook as it is
        smoothed = (new_counts + self.epsilon * mean) / (1.0 + self.epsilon)
        books = new_sums / ops.expand_dims(smoothed, 1)
        if self.restart_threshold > 0:
            dead = new_counts < self._least_share(mean) * mean
            dead_rows = ops.broadcast_to(ops.expand_dims(dead, 1), books.shape)
            books = ops.select(dead_rows, fresh, books)
            new_counts = ops.select(dead, mean, new_counts)
            new_sums = ops.select(dead_rows, fresh * ops.expand_dims(mean, 1), new_sums)
        counted = ops.assign(self.ema_counts, new_counts)
        summed = ops.depend(ops.assign(self.ema_sums, new_sums), counted)
        moved = ops.depend(ops.assign(self.codebooks, books), summed)
        return ops.depend(new_counts, moved)

    def _mean_counts(self, counts: Tensor) -> Tensor:
        """The mean count of each codeword's codebook, (S * M * N,); never zero."""
        by_book = counts.reshape(self.books, self.codebook_size)
        mean = ops.broadcast_to(by_book.mean(-1, keep_dims=True), by_book.shape).reshape(-1)
        return ops.maximum(mean, ops.full_like(mean, 1e-12))

    def _least_share(self, mean: Tensor) -> Tensor:
        """Share of the mean count below which a codeword is dead.

        ``restart_threshold``, or less where codewords see a token only now and then: one of mean use, mean
        tokens a step, is without any for t steps with probability exp(-mean * t), and keeps decay ** t of
        its count. Only a stretch that chance does not explain is evidence.
        """
        by_chance = ops.exp(math.log(self.decay) * CHANCE / mean)
        return ops.minimum(by_chance, ops.full_like(mean, self.restart_threshold))

    def codebook_array(self) -> NDArray[np.float32]:
        """A copy of the codebooks, (S, M, N, D/M)."""
        flat = self.codebooks.asnumpy().copy()
        return flat.reshape(self.num_slots, self.num_codebooks, self.codebook_size, self.sub_size)

    def distance_table(self) -> NDArray[np.float32]:
        """What tokens (z, 1) are multiplied by to get |c|^2 - 2 z.c: (S * M, D/M + 1, N)."""
        books = (
            self.codebook_array().reshape(self.books, self.codebook_size, self.sub_size).transpose(0, 2, 1)
        )
        return np.concatenate([-2 * books, (books * books).sum(1, keepdims=True)], 1)

    def fit(self, tokens: NDArray[np.float32], seed: int, queries_per_step: int | None = None) -> None:
        """Set the codebooks by k-means on real tokens (Q, K_u, D): data-dependent initialisation.

        The EMA state starts at the cluster sums and sizes, scaled to what a step of so many queries counts on
        average; None = one for each codeword.
        """
        rows = np.asarray(tokens, np.float32).reshape(-1, self.row_size)
        books, counts = kmeans_codebooks(rows, self.books, self.codebook_size, seed)
        mean = 1.0
        if queries_per_step is not None:
            mean = queries_per_step * self.num_tokens / self.num_slots / self.codebook_size
        scaled = counts * (mean / max(float(counts.mean()), 1e-12))
        flat = books.reshape(self.rows, self.sub_size)
        self.codebooks.set_data(Tensor(flat))
        self.ema_counts.set_data(Tensor(scaled.reshape(-1).astype(np.float32)))
        self.ema_sums.set_data(Tensor((flat * scaled.reshape(-1, 1)).astype(np.float32)))


def kmeans_codebooks(
    tokens: NDArray[np.float32], num_codebooks: int, codebook_size: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """k-means per sub-vector of rows (T, W) -> codebooks (B, N, W/B) and cluster sizes (B, N)."""
    rng = np.random.default_rng([seed, 0x6B6D])
    parts = np.split(np.asarray(tokens, np.float32), num_codebooks, axis=1)
    fitted = [kmeans(part, codebook_size, rng) for part in parts]
    return np.stack([book for book, _ in fitted]), np.stack([sizes for _, sizes in fitted])
