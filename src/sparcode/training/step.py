"""One optimisation step: loss, gradients, optimizer, codebook update."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from sparcode.config.schema import Config
from sparcode.data.batching import BatchShare, QueryBatch
from sparcode.data.samplers import CandidateSampler, log_weights
from sparcode.model.losses import TrainingLoss
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork

STEP_STREAM = 3
"""Number of the random stream of a step, beside those of the batch order."""

LEAST_CODES = 64
"""Rows that the scorer has at least: a step is not recompiled for each of a few codes."""

HISTORY, QUERY_INDEX, QUANTIZED, CODE_ROWS, CODE_SIZES = 1, 2, 7, 8, 9
"""Places of some inputs of TrainStep.construct; dropout noise and user features follow the last."""


class SumOverWorkers(nn.Cell):
    """Adds up tensors over the workers of a job, all of them in one AllReduce.

    One message instead of one for each weight costs two copies in memory and saves the latency of the
    others; the sum is the same, bit for bit, on every worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reduce = ops.AllReduce(ops.ReduceOp.SUM)

    def construct(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """float32 tensors of any shapes -> their sums."""
        flat: tuple[Tensor, ...] = ()
        sizes: tuple[int, ...] = ()
        for tensor in tensors:
            flat = (*flat, tensor.reshape(-1))
            sizes = (*sizes, tensor.size)
        pieces = ops.split(self.reduce(ops.concat(flat)), sizes)
        sums: tuple[Tensor, ...] = ()
        for number in range(len(sizes)):
            sums = (*sums, pieces[number].reshape(tensors[number].shape))
        return sums


class TrainStep(nn.Cell):
    """Compiled step: returns total loss, softmax loss, commitment loss and the codes of the batch.

    The codebooks move after the forward pass and by their own rule; the optimizer does not know them. Among
    several workers each gives the gradients of its share of the batch, weighted by its number of queries, and
    the statistics of its tokens; all make the same step then, that of the whole batch, and return its losses.

    Args:
        loss: network and loss of one phase of the training.
        optimizer: shared by the phases.
        gradient_clip: largest global norm of the gradients, 0 = off.
        num_workers: workers that share a batch.
    """

    def __init__(
        self, loss: TrainingLoss, optimizer: nn.Optimizer, gradient_clip: float, num_workers: int = 1
    ) -> None:
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.moves_codebooks = loss.quantize and isinstance(loss.network, SparCode)
        self.gradients = ms.value_and_grad(loss, None, optimizer.parameters, has_aux=True)
        self.sum_over_workers = SumOverWorkers() if num_workers > 1 else None

    def construct(
        self,
        restart_rows: Tensor,
        history: Tensor,
        query_index: Tensor,
        positives: Tensor,
        weights: Tensor,
        candidates: Tensor,
        log_weights: Tensor,
        quantized_queries: Tensor,
        code_rows: Tensor,
        code_sizes: Tensor,
        noise: Tensor,
        *user_rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of the optimizer, and of the codebooks where tokens are quantized.

        ``restart_rows`` (S * M * N,) int32 is that of ``ProductQuantizer.statistics``; the other inputs are
        those of ``TrainingLoss.construct``.

        Returns:
            total, softmax and commitment loss, means over all workers; codes (Q, K_u, M) of this worker.
        """
        (total, softmax, commitment, tokens, codes), gradients = self.gradients(
            history,
            query_index,
            positives,
            weights,
            candidates,
            log_weights,
            quantized_queries,
            code_rows,
            code_sizes,
            noise,
            *user_rows,
        )
        statistics = ops.zeros((1,), ms.float32)
        if self.moves_codebooks:
            statistics = self.loss.network.quantizer.statistics(tokens, codes, weights, restart_rows)
        if self.sum_over_workers is not None:
            count = weights.sum()
            means: tuple[Tensor, ...] = (count, total * count, softmax * count, commitment * count)
            for gradient in gradients:
                means = (*means, gradient * count)
            sums = self.sum_over_workers(statistics, *means)
            statistics, count = sums[0], sums[1]
            total, softmax, commitment = sums[2] / count, sums[3] / count, sums[4] / count
            gradients = ()
            for part in sums[5:]:
                gradients = (*gradients, part / count)
        if self.gradient_clip > 0:
            gradients = ops.clip_by_global_norm(gradients, self.gradient_clip)
        total = ops.depend(total, self.optimizer(gradients))
        if self.moves_codebooks:
            total = ops.depend(total, self.loss.network.quantizer.update(statistics))
        return total, softmax, commitment, codes


class CodesOfBatch(nn.Cell):
    """Term ids (Q, K_u) int32 of the queries of a batch, with the dropout of the training step."""

    def __init__(self, loss: TrainingLoss) -> None:
        super().__init__(auto_prefix=False)
        self.network = loss.network
        self.every_position, self.use_noise = loss.every_position, loss.use_noise

    def construct(self, history: Tensor, query_index: Tensor, noise: Tensor, *user_rows: Tensor) -> Tensor:
        """(S, L) int32, (Q,) int32, dropout noise, user feature rows (S, ...) -> term ids (Q, K_u) int32."""
        queries = self.network.training_queries(
            history,
            user_rows,
            noise if self.use_noise else None,
            query_index if self.every_position else None,
        )
        return self.network.code_terms(queries)


class CodeSharing:
    """Finds the distinct codes of a batch before its step, so that the scorer runs once for each of them.

    The number of distinct codes is the shape of an input, and a new shape recompiles the step: it is
    rounded up to one of few sizes, at most a third too large.

    Args:
        loss: of a quantized phase, whose network shares codes.
    """

    def __init__(self, loss: TrainingLoss) -> None:
        self._codes = CodesOfBatch(loss)
        self._codes.set_train(False)

    def add_to(self, tensors: list[Tensor]) -> list[Tensor]:
        """Inputs of TrainStep.construct with those of ``SparCode.shared_cross`` filled in."""
        terms = self._codes(tensors[HISTORY], tensors[QUERY_INDEX], *tensors[CODE_SIZES + 1 :]).asnumpy()
        rows, sizes = shared_codes(terms, tensors[QUANTIZED].asnumpy() > 0)
        return [*tensors[:CODE_ROWS], Tensor(rows), Tensor(sizes), *tensors[CODE_SIZES + 1 :]]


def shared_codes(
    terms: NDArray[np.int32], chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Term ids (Q, K_u) -> ``rows`` (Q * K_u,) and ``sizes`` (U,) of ``SparCode.shared_cross``.

    U is the number of distinct terms of the chosen queries (Q,), at least 64 and rounded up to a power of two
    or three quarters of one. Other queries have rows of -1.
    """
    distinct, found = np.unique(terms[chosen].reshape(-1), return_inverse=True)
    size = 1 << max(len(distinct) - 1, 1).bit_length()
    size = max(3 * size // 4 if len(distinct) <= 3 * size // 4 else size, LEAST_CODES)
    rows = np.full(terms.shape, -1, np.int32)
    rows[chosen] = found.reshape(-1, terms.shape[1])
    sizes = np.maximum(np.bincount(found.reshape(-1), minlength=size), 1)
    return rows.reshape(-1), sizes.astype(np.float32)


def make_optimizer(network: MatchingNetwork, config: Config) -> nn.Optimizer:
    """Adam over the trainable parameters; the loop sets the learning rate of each step."""
    return nn.Adam(
        network.trainable_params(),
        learning_rate=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
    )


def set_learning_rate(optimizer: nn.Optimizer, value: float) -> None:
    """Write the learning rate of the next step into the optimizer's parameter."""
    rate: Parameter = optimizer.learning_rate
    rate.set_data(Tensor(value, ms.float32))


class StepInputs:
    """Turns a batch into the input tensors of TrainStep and draws all random numbers of the step.

    The numbers are drawn for the whole batch, so that they do not depend on the number of workers; each
    takes those of its share.

    Args:
        seed: seed of the run; the numbers depend on it and on the step alone.
        sampler: candidate sampler.
        noise_shape: (layers, S, L, d) of the dropout noise of a whole batch; layers = 0 without dropout.
        codewords: number of codewords of all codebooks, 0 for models without.
        rows_per_query: rows of tokens that each codebook sees of a query; see ProductQuantizer.
        user_arrays: rows of every user feature, in input order.
        quantized_share: expected share of the queries whose tokens are quantized.
    """

    def __init__(
        self,
        seed: int,
        sampler: CandidateSampler,
        noise_shape: tuple[int, int, int, int],
        codewords: int,
        rows_per_query: int,
        user_arrays: Sequence[np.ndarray],
        quantized_share: float,
    ) -> None:
        self._seed = seed
        self._sampler = sampler
        self._noise_shape = noise_shape
        self._codewords = max(codewords, 1)
        self._rows_per_query = rows_per_query
        self._user_arrays = user_arrays
        self._quantized_share = quantized_share

    def tensors(self, batch: QueryBatch, share: BatchShare, step: int) -> list[Tensor]:
        """Input tensors of this worker's share of one step, in the order of TrainStep.construct."""
        rng = np.random.default_rng([self._seed, STEP_STREAM, step])
        own = share.batch
        source = own if self._sampler.own_queries_only else batch
        candidates, log_expected = self._sampler.draw(rng, source.positives, source.weights)
        rows = max(int(batch.weights.sum()) * self._rows_per_query, 1)
        restart_rows = self._own_rows(rng.integers(0, rows, self._codewords, dtype=np.int32), share)
        noise = self._noise(rng, share)
        arrays = [
            restart_rows,
            own.history,
            own.query_index,
            own.positives,
            own.weights,
            candidates,
            log_weights(candidates, log_expected, own.positives),
            self._quantized_queries(rng, batch, share),
            np.zeros(1, np.int32),  # distinct codes, where they are needed: see CodeSharing
            np.ones(1, np.float32),
            noise,
            *(rows[own.users] for rows in self._user_arrays),
        ]
        return [Tensor(np.ascontiguousarray(array)) for array in arrays]

    def _own_rows(self, rows: NDArray[np.int32], share: BatchShare) -> NDArray[np.int32]:
        """Rows of tokens of the whole batch -> the same ones in the share, -1 where it does not have them."""
        query, place = np.divmod(rows, self._rows_per_query)
        if not len(share.places):
            return np.full_like(rows, -1)
        own = np.minimum(np.searchsorted(share.places, query), len(share.places) - 1)
        found = share.places[own] == query
        return np.where(found, own * self._rows_per_query + place, -1).astype(np.int32)

    def _noise(self, rng: np.random.Generator, share: BatchShare) -> NDArray[np.uint8]:
        if not self._noise_shape[0]:
            return np.zeros((1, 1, 1, 1), np.uint8)
        return rng.integers(0, 256, self._noise_shape, dtype=np.uint8)[:, share.rows]

    def _quantized_queries(
        self, rng: np.random.Generator, batch: QueryBatch, share: BatchShare
    ) -> NDArray[np.float32]:
        """(Q,), 1 for queries of the share that are trained with quantized tokens, 0 for the others."""
        chosen = np.ones(len(share.batch.positives), np.float32)
        if self._quantized_share < 1.0:
            drawn = rng.random(len(batch.positives)) < self._quantized_share
            chosen[: len(share.places)] = drawn[share.places]
        return chosen
