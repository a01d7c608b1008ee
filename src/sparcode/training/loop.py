"""The training loop, top to bottom: epochs, phases, validation, checkpoints, early stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from sparcode.config.schema import Config
from sparcode.data.batching import BatchSource, Sharding
from sparcode.errors import CheckpointError, TrainingError
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matching import MatchingNetwork
from sparcode.progress import Progress
from sparcode.training.callbacks import CodebookMonitor, EpochProgress, EpochRecords, codebook_use
from sparcode.training.checkpoint import CheckpointMeta, load_into, read_checkpoint, save_checkpoint
from sparcode.training.schedule import learning_rate_at
from sparcode.training.step import CodeSharing, StepInputs, TrainStep, make_optimizer, set_learning_rate
from sparcode.training.world import World

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerParts:
    """What the composition root hands to the loop.

    Attributes:
        network: network to train.
        batches: training batches.
        inputs: batch -> input tensors.
        validate: (quantized) -> validation metrics by name; full ranking.
        sample_tokens: () -> tokens (Q, K_u, D) of training queries, for fitting the codebooks.
        fingerprint: of the data set.
        world: the workers that train together.
        after_epoch: gets the record of every epoch, when all of it is on disk; what it raises ends the
            training, which can be resumed.
    """

    network: MatchingNetwork
    batches: BatchSource
    inputs: StepInputs
    validate: Callable[[bool], dict[str, float]]
    sample_tokens: Callable[[], NDArray[np.float32]]
    fingerprint: str
    world: World
    after_epoch: Callable[[dict[str, Any]], None] | None = None


@dataclass
class LoopState:
    """Progress that a checkpoint must carry."""

    epoch: int = 0
    step: int = 0
    quantized: bool = False
    best: float = -math.inf
    best_epoch: int = 0
    stale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains one network into one run directory.

    Args:
        config: configuration.
        parts: network, batches, validation.
        run_dir: run directory, already writable.
    """

    def __init__(self, config: Config, parts: TrainerParts, run_dir: Path) -> None:
        self._config, self._parts, self._run_dir = config, parts, run_dir
        self._network, self._world = parts.network, parts.world
        self._has_codes = isinstance(parts.network, SparCode)
        self._optimizer = make_optimizer(parts.network, config)
        self._state = LoopState(quantized=not self._has_codes)
        self._sharding = Sharding(parts.batches, parts.world.rank, parts.world.size)
        self._steps: dict[bool, TrainStep] = {}
        self._sharing: CodeSharing | None = None

    @property
    def checkpoints(self) -> Path:
        """Directory of the run's checkpoints, ``best`` and ``last``."""
        return self._run_dir / "checkpoints"

    @property
    def _total_steps(self) -> int:
        return self._config.train.epochs * self._parts.batches.steps_per_epoch

    @property
    def _codes_come_last(self) -> bool:
        """Whether codebooks are fitted when training is over, to the best epoch."""
        return self._has_codes and self._config.train.quantize_from == 1

    @property
    def _quantize_epoch(self) -> int:
        """First epoch (0-based) with quantized tokens; the last one has them unless training has none."""
        train = self._config.train
        if self._codes_come_last:
            return train.epochs
        return min(round(train.quantize_from * train.epochs), train.epochs - 1)

    def fit(self, resume: bool) -> LoopState:
        """Train to the last epoch or until early stopping; the best checkpoint is ``best.ckpt``.

        Raises:
            TrainingError: the loss is not finite; checkpoints of earlier epochs are kept.
        """
        if resume:
            self._restore()
        self._world.copy_from_first(self._parameters())
        train, state = self._config.train, self._state
        with EpochRecords(self._run_dir, state.epoch, write=self._world.first) as records:
            while state.epoch < train.epochs and not self._exhausted():
                self._enter_phase()
                record = self._train_epoch()
                state.epoch += 1
                if state.epoch % train.validate_every == 0 or state.epoch == train.epochs:
                    record["valid"] = self._validate()
                self._check_agreement()
                records.append(record)  # before the checkpoint: resuming drops lines after it, but adds none
                self._save("last")
                _LOG.info(_epoch_line(record, train.monitor))
                if self._parts.after_epoch is not None:
                    self._parts.after_epoch(record)
        if not state.quantized:
            self._quantize_best()
        return state

    def _quantize_best(self) -> None:
        """Fit the codebooks to the best checkpoint of a training without quantization."""
        path = self.checkpoints / "best.ckpt"
        self._world.wait()  # for the first worker to have written it
        load_into(path, read_checkpoint(path)[0], [self._network])
        self._fit_codebooks()
        state, monitor = self._state, self._config.train.monitor
        with Progress("validating"):
            state.metrics = self._parts.validate(True)
        state.best = state.metrics[monitor]  # of the same epoch as before
        self._save("best")
        self._save("last")
        _LOG.info("valid %s %.4f with codes", monitor, state.best)

    def _parameters(self) -> list[Parameter]:
        return [*self._network.get_parameters(), *self._optimizer.get_parameters()]

    def _check_agreement(self) -> None:
        if not self._world.agree(self._parameters()):
            raise TrainingError(
                "the weights of the workers differ",
                where=f"rank {self._world.rank}, epoch {self._state.epoch}",
                remedy="see that all workers run the same versions on the same kind of device, and --resume",
            )

    def _exhausted(self) -> bool:
        patience = self._config.train.patience
        if self._codes_come_last and self._state.quantized:
            return True  # a run that is resumed after its end
        # before its second phase a sparcode model has nothing to serve: it never stops there
        waits = not (self._codes_come_last or self._state.quantized)
        if patience == 0 or self._state.stale < patience or waits:
            return False
        _LOG.info(
            "stopped early after epoch %d: %s has not improved for %d validations",
            self._state.epoch,
            self._config.train.monitor,
            self._state.stale,
        )
        return True

    def _enter_phase(self) -> None:
        """Fit the codebooks at the border of the two phases; forget the best value of the first phase."""
        state = self._state
        if state.quantized or state.epoch < self._quantize_epoch:
            return
        self._fit_codebooks()

    def _fit_codebooks(self) -> None:
        state, quantizer = self._state, self._network.quantizer
        with Progress("fitting codes by k-means"):
            tokens = self._parts.sample_tokens()
            quantizer.fit(tokens, self._config.seed, self._parts.batches.queries_per_batch)
        self._world.copy_from_first(quantizer.get_parameters())
        state.quantized, state.best, state.stale = True, -math.inf, 0
        found = codebook_use(quantizer.ema_counts.asnumpy().reshape(quantizer.books, -1))
        _LOG.info(
            "epoch %d: codebooks fitted by k-means on %d queries, codewords used %.0f %%, perplexity %.0f",
            state.epoch,
            len(tokens),
            100 * found["usage"],
            found["perplexity"],
        )

    def _step_cell(self) -> TrainStep:
        quantized = self._state.quantized
        if quantized not in self._steps:
            model, train = self._config.model, self._config.train
            loss = TrainingLoss(
                self._network if quantized else self._network.warm_start(),
                LossWeights(model.temperature, self._network.commitment_weight),
                quantize=quantized,
                every_position=self._parts.batches.every_position,
                use_noise=self._network.encoder.noise_layers > 0,
                mixed=train.quantized_share < 1.0,
            )
            step = TrainStep(loss, self._optimizer, train.gradient_clip, self._world.size)
            step.set_train(True)
            self._steps[quantized] = step
            if quantized and self._network.shares_codes:
                self._sharing = CodeSharing(loss)
        return self._steps[quantized]

    def _codebook_monitor(self) -> CodebookMonitor:
        if not self._has_codes:
            return CodebookMonitor(1, 1)
        return CodebookMonitor(self._network.quantizer.books, self._network.quantizer.codebook_size)

    def _real_codes(self, codes: Tensor, count: int) -> NDArray[np.int32]:
        """Codes (Q, K_u, M) of a share -> (T, books) of its ``count`` real queries; padding comes last."""
        array: NDArray[np.int32] = codes.asnumpy()[:count]
        return array.reshape(-1, self._network.quantizer.books)

    def _train_epoch(self) -> dict[str, Any]:
        state, batches, config = self._state, self._parts.batches, self._config
        note = "" if state.quantized in self._steps else "compiling the step"
        step = self._step_cell()
        track = self._has_codes and state.quantized
        monitor = self._codebook_monitor()
        title = f"epoch {state.epoch + 1}/{config.train.epochs}"
        sums, samples = np.zeros(3), 0
        with EpochProgress(title, batches.steps_per_epoch, self._total_steps, state.step, note) as progress:
            for batch in batches.epoch(state.epoch):
                set_learning_rate(
                    self._optimizer, learning_rate_at(config.train, state.step, self._total_steps)
                )
                share = self._sharding.share(batch)
                tensors = self._parts.inputs.tensors(batch, share, state.step)
                outputs = step(*(self._sharing.add_to(tensors) if self._sharing else tensors))
                losses = [float(value.asnumpy()) for value in outputs[:3]]
                self._check_finite(losses[0])
                if track:
                    monitor.add(self._real_codes(outputs[3], len(share.places)))
                count = int(batch.weights.sum())
                sums, samples = sums + np.array(losses) * count, samples + count
                state.step += 1
                progress.advance(count, losses[0])
        record: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "loss": sums[0] / samples,
            "softmax_loss": sums[1] / samples,
            "commitment_loss": sums[2] / samples,
            "learning_rate": learning_rate_at(config.train, state.step - 1, self._total_steps),
            "quantized": self._has_codes and state.quantized,
            "samples_per_second": progress.samples_per_second,
            "train_seconds": progress.seconds,
        }
        if track:
            monitor.add_up(self._world.sum)
            record["codebook"] = monitor.summary()
            monitor.warn_on_collapse(config.train.collapse_warning)
        return record

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        last = self.checkpoints / "last.ckpt"
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written yet"
        raise TrainingError(
            f"the loss became {loss} at step {self._state.step + 1}",
            where=f"epoch {self._state.epoch + 1}",
            remedy=f"{kept}; lower train.learning_rate or set train.gradient_clip",
        )

    def _validate(self) -> dict[str, float]:
        started = time.monotonic()
        state, monitor = self._state, self._config.train.monitor
        with Progress("validating"):
            state.metrics = self._parts.validate(state.quantized)
        value = state.metrics[monitor]
        if value > state.best:
            state.best, state.best_epoch, state.stale = value, state.epoch, 0
            if state.quantized or self._codes_come_last:
                self._save("best")
        else:
            state.stale += 1
        return {**state.metrics, "seconds": time.monotonic() - started}

    def _save(self, name: str) -> None:
        if not self._world.first:
            return
        state = self._state
        progress = {"best": state.best, "best_epoch": state.best_epoch, "stale": state.stale}
        meta = CheckpointMeta(
            self._config.model_dump(mode="json"),
            self._parts.fingerprint,
            state.epoch,
            state.step,
            state.quantized,
            state.metrics,
            progress,
        )
        cells: list[nn.Cell] = [self._network] if name == "best" else [self._network, self._optimizer]
        save_checkpoint(self.checkpoints / f"{name}.ckpt", cells, meta)

    def _restore(self) -> None:
        path = self.checkpoints / "last.ckpt"
        parameters, meta = read_checkpoint(path)
        if meta.fingerprint != self._parts.fingerprint:
            raise CheckpointError(
                "the run was trained on another data set",
                where=path,
                expected=meta.fingerprint,
                received=self._parts.fingerprint,
                remedy="restore the data set or train into a new --output_dir",
            )
        load_into(path, parameters, [self._network, self._optimizer])
        self._state = LoopState(meta.epoch, meta.step, meta.quantized, metrics=meta.metrics, **meta.state)
        _LOG.info("resumed after epoch %d (step %d)", meta.epoch, meta.step)


def _epoch_line(record: dict[str, Any], monitor: str) -> str:
    parts = [f"epoch {record['epoch']}", f"loss {record['loss']:.4f}"]
    if "codebook" in record:
        parts.append(f"codewords used {100 * record['codebook']['usage']:.0f} %")
        parts.append(f"perplexity {record['codebook']['perplexity']:.0f}")
    if "valid" in record:
        parts.append(f"valid {monitor} {record['valid'][monitor]:.4f}")
    parts.append(f"{record['samples_per_second']:,.0f} samples/s")
    return ", ".join(parts)
