"""One optimisation step: loss, gradients, optimizer, codebook update."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from sparcode.config.schema import Config
from sparcode.data.batching import QueryBatch
from sparcode.data.samplers import CandidateSampler
from sparcode.model.losses import TrainingLoss
from sparcode.model.matching import MatchingNetwork
from sparcode.model.sparcode import SparCode

STEP_STREAM = 3
"""Number of the random stream of a step, beside those of the batch order."""


class TrainStep(nn.Cell):
    """Compiled step: returns total loss, softmax loss, commitment loss and the codes of the batch.

    The codebooks move after the forward pass and by their own rule; the optimizer does not know them.

    Args:
        loss: network and loss of one phase of the training.
        optimizer: shared by the phases.
        gradient_clip: largest global norm of the gradients, 0 = off.
    """

    def __init__(self, loss: TrainingLoss, optimizer: nn.Optimizer, gradient_clip: float) -> None:
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.moves_codebooks = loss.quantize and isinstance(loss.network, SparCode)
        self.gradients = ms.value_and_grad(loss, None, optimizer.parameters, has_aux=True)

    def construct(
        self,
        restart_rows: Tensor,
        history: Tensor,
        query_index: Tensor,
        positives: Tensor,
        weights: Tensor,
        candidates: Tensor,
        log_expected: Tensor,
        noise: Tensor,
        *user_rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (total, softmax, commitment, tokens, codes), gradients = self.gradients(
            history, query_index, positives, weights, candidates, log_expected, noise, *user_rows
        )
        if self.gradient_clip > 0:
            gradients = ops.clip_by_global_norm(gradients, self.gradient_clip)
        total = ops.depend(total, self.optimizer(gradients))
        if self.moves_codebooks:
            counts = self.loss.network.quantizer.update(tokens, codes, weights, restart_rows)
            total = ops.depend(total, counts)
        return total, softmax, commitment, codes


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

    Args:
        seed: seed of the run; the numbers depend on it and on the step alone.
        sampler: candidate sampler.
        noise_shape: (layers, S, L, d) of the dropout noise; layers = 0 without dropout.
        codewords: number of codewords of all codebooks, 0 for models without.
        rows_per_query: rows of tokens that each codebook sees of a query; see ProductQuantizer.
        user_arrays: rows of every user feature, in input order.
    """

    def __init__(
        self,
        seed: int,
        sampler: CandidateSampler,
        noise_shape: tuple[int, int, int, int],
        codewords: int,
        rows_per_query: int,
        user_arrays: Sequence[np.ndarray],
    ) -> None:
        self._seed = seed
        self._sampler = sampler
        self._noise_shape = noise_shape if noise_shape[0] else (1, 1, 1, 1)
        self._codewords = max(codewords, 1)
        self._rows_per_query = rows_per_query
        self._user_arrays = user_arrays

    def tensors(self, batch: QueryBatch, step: int) -> list[Tensor]:
        """Input tensors of one step, in the order of TrainStep.construct."""
        rng = np.random.default_rng([self._seed, STEP_STREAM, step])
        candidates, log_expected = self._sampler.draw(rng, batch.positives, batch.weights)
        rows = max(int((batch.weights > 0).sum()) * self._rows_per_query, 1)
        restart_rows = rng.integers(0, rows, self._codewords, dtype=np.int32)
        noise = rng.integers(0, 256, self._noise_shape, dtype=np.uint8)
        arrays = [
            restart_rows,
            batch.history,
            batch.query_index,
            batch.positives,
            batch.weights,
            candidates,
            log_expected,
            noise,
            *(rows[batch.users] for rows in self._user_arrays),
        ]
        return [Tensor(np.ascontiguousarray(array)) for array in arrays]
