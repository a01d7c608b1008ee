"""Is a training step as fast as in PyTorch? ``python benchmarks/bench_train_step.py --json train_step.json``.

One optimisation step (inputs from arrays, forward, backward, Adam, codebooks, loss read back) of committed
configurations against the same model in eager PyTorch: two-tower and SparCode in its quantized phase, on
generated interactions with the sizes of MovieLens-1M (DNN, full softmax) and Amazon Beauty (SASRec, sampled
negatives).

Both frameworks start from the same weights. Without dropout they take the same first steps, and their losses
must agree; then they take turns with dropout as configured. Pin the threads of both with OMP_NUM_THREADS.
Processor time counts all threads of the process and minds other jobs less than wall-clock time does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcode.training import runtime  # isort: skip  # before anything that imports MindSpore

import numpy as np
import torch
from mindspore import Tensor
from numpy.typing import NDArray
from reporting import add_output_options, machine, print_table, write_report
from torch_models import Matching, TorchStep

from sparcode.config.loader import load_config
from sparcode.config.schema import Config
from sparcode.data.batching import BatchOptions, BatchSource, QueryBatch, Sharding, make_batches
from sparcode.data.dataset import Interactions
from sparcode.data.samplers import CandidateSampler
from sparcode.model.factory import DataShape, build_network
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.model.matching import MatchingNetwork
from sparcode.model.matchers.sparcode import SparCode
from sparcode.training.step import StepInputs, TrainStep, make_optimizer, set_learning_rate

CONFIGS = Path(__file__).parents[1] / "configs"
TOLERANCE = 1e-4
"""Largest relative difference of the losses of the first steps: sums are rounded in another order."""
AGREEING_STEPS = 3
TURN = 10
"""Steps of one framework before the other's turn."""
COLUMNS = [
    "case", "model", "samples_a_step", "ours_ms", "torch_ms", "ours_samples_s", "torch_samples_s", "speedup",
    "ours_cpu_ms", "torch_cpu_ms", "loss_difference",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One generated data set and the configurations of its two models."""

    name: str
    configs: str
    encoder: str
    num_users: int
    num_items: int
    mean_length: int


CASES = (
    Case("ml-1m", "ml-1m", "dnn", 6_040, 3_260, 125),
    Case("amazon-beauty", "amazon-beauty", "sasrec", 22_363, 12_101, 9),
)


class OurStep:
    """A training step as the training loop takes it.

    Args:
        config: configuration.
        network: untrained network.
        batches: what the batches look like.
        sampler: of the negatives.
    """

    def __init__(
        self, config: Config, network: MatchingNetwork, batches: BatchSource, sampler: CandidateSampler
    ) -> None:
        layers = network.encoder.noise_layers
        model, quantized = config.model, isinstance(network, SparCode)
        noise = (layers, batches.rows_per_batch, config.data.max_history, model.embedding_size)
        self._inputs = StepInputs(
            config.seed,
            sampler,
            noise,
            network.quantizer.rows if quantized else 0,
            1,
            (),
            config.train.quantized_share,
        )
        self._sharding = Sharding(batches, 0, 1)
        self._rate = config.train.learning_rate
        self._optimizer = make_optimizer(network, config)
        loss = TrainingLoss(
            network,
            LossWeights(model.temperature, model.quantizer.commitment_weight, model.sparsity_weight),
            quantize=quantized,
            every_position=batches.every_position,
            use_noise=layers > 0,
        )
        self._step = TrainStep(loss, self._optimizer, config.train.gradient_clip)
        self._step.set_train(True)

    def tensors(self, batch: QueryBatch, number: int) -> list[Tensor]:
        """Input tensors of a step."""
        return self._inputs.tensors(batch, self._sharding.share(batch), number)

    def __call__(self, batch: QueryBatch, number: int) -> float:
        """The loss before the step."""
        set_learning_rate(self._optimizer, self._rate)
        outputs = self._step(*self.tensors(batch, number))
        total, _, _ = (float(value.asnumpy()) for value in outputs[:3])
        return total


@dataclass
class Contest:
    """Both frameworks with the same weights, and what they are fed."""

    ours: OurStep
    theirs: TorchStep
    sampler: CandidateSampler
    codewords: int
    quantized_share: float
    batches: list[QueryBatch]

    def torch_arrays(self, batch: QueryBatch, number: int) -> dict[str, NDArray[Any]]:
        """Inputs of a step without the dropout noise, which PyTorch draws itself."""
        rng = np.random.default_rng([0, number])
        candidates, log_expected = self.sampler.draw(rng, batch.positives, batch.weights)
        restart_rows = rng.integers(0, len(batch.positives), max(self.codewords, 1))
        quantized = (rng.random(len(batch.positives)) < self.quantized_share).astype(np.float32)
        return _named(batch, candidates, log_expected, restart_rows, quantized)


def _named(
    batch: QueryBatch,
    candidates: NDArray[Any],
    log_expected: NDArray[Any],
    restart_rows: NDArray[Any],
    quantized_queries: NDArray[Any],
) -> dict[str, NDArray[Any]]:
    return {
        "history": batch.history,
        "query_index": batch.query_index,
        "positives": batch.positives.astype(np.int64),
        "weights": batch.weights,
        "candidates": candidates,
        "log_expected": log_expected,
        "restart_rows": restart_rows.astype(np.int64),
        "quantized_queries": quantized_queries,
    }


def generated(case: Case, seed: int) -> Interactions:
    """Interactions with the sizes of the case: Zipf items, lengths that vary about the mean."""
    rng = np.random.default_rng(seed)
    lengths = 5 + rng.geometric(1 / (case.mean_length - 4), case.num_users) - 1
    weights = 1 / np.arange(1, case.num_items + 1) ** 0.8
    items = rng.choice(case.num_items, int(lengths.sum()), p=weights / weights.sum()) + 1
    return Interactions(np.concatenate(([0], np.cumsum(lengths))), items.astype(np.int32))


@dataclass(frozen=True)
class _Data:
    """What ``make_batches`` reads of a data set."""

    train: Interactions
    ordered: bool
    query_kind: str = "history"


def set_up(case: Case, config: Config, train: Interactions, num_batches: int) -> Contest:
    """Networks, steps and batches of one model."""
    runtime.configure(config.device, config.seed)
    options = BatchOptions(
        config.train.batch_size, config.data.max_history, config.train.targets_per_sequence, config.seed
    )
    ordered = config.data.protocol != "pre_split"
    batches = make_batches(_Data(train, ordered), options)  # type: ignore[arg-type]
    full = (batch for batch in batches.epoch(0) if batch.weights.all())
    chosen = list(itertools.islice(full, num_batches))
    shape = DataShape(case.num_items, config.data.max_history, (), (), {})
    network = build_network(config.model, shape)
    codewords = 0
    if isinstance(network, SparCode):
        codewords = network.quantizer.rows
        spread = config.model.embedding_size**-0.5
        rows = 4 * config.model.quantizer.codebook_size
        tokens = np.random.default_rng(1).normal(
            0, spread, (rows, config.model.num_query_tokens, config.model.token_size)
        )
        network.quantizer.fit(tokens.astype(np.float32), config.seed)
    twin = Matching(config, shape)
    twin.load({weight.name: weight.asnumpy() for weight in network.get_parameters()})
    sampler = CandidateSampler(
        config.train.loss, np.bincount(train.items, minlength=case.num_items + 1).astype(np.int64)
    )
    ours = OurStep(config, network, batches, sampler)
    theirs = TorchStep(twin, config.train.learning_rate)
    return Contest(ours, theirs, sampler, codewords, config.train.quantized_share, chosen)


def loss_difference(contest: Contest) -> float:
    """Largest relative difference of the losses of the first steps; without dropout they see the same."""
    worst = 0.0
    for number, batch in enumerate(contest.batches[:AGREEING_STEPS]):
        tensors = contest.ours.tensors(batch, number)
        restart_rows, candidates, log_expected, quantized = (
            tensors[place].asnumpy() for place in (0, 5, 6, 8)
        )
        theirs = contest.theirs(_named(batch, candidates, log_expected, restart_rows, quantized))
        worst = max(worst, abs(contest.ours(batch, number) - theirs) / abs(theirs))
    return worst


def timed(
    step: Callable[[QueryBatch, int], object], batches: Sequence[QueryBatch], first: int
) -> list[float]:
    """Wall-clock milliseconds of every step."""
    taken = []
    for place, batch in enumerate(batches):
        started = time.perf_counter()
        step(batch, first + place)
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def take_turns(contest: Contest, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step by framework, and processor milliseconds; the first turn warms up."""
    steps: dict[str, Callable[[QueryBatch, int], object]] = {
        "ours": contest.ours,
        "torch": lambda batch, number: contest.theirs(contest.torch_arrays(batch, number)),
    }
    wall: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    supply = itertools.cycle(contest.batches)
    for turn in range(rounds + 1):
        batches = list(itertools.islice(supply, TURN))
        for name, step in steps.items():
            started = time.process_time()
            taken = timed(step, batches, turn * TURN)
            if turn:
                wall[name] += taken
                processor[name].append(1e3 * (time.process_time() - started) / TURN)
    figures = {f"{name}_ms": float(np.median(values)) for name, values in wall.items()}
    return figures | {f"{name}_cpu_ms": float(np.median(values)) for name, values in processor.items()}


def measure(case: Case, model: str, train: Interactions, rounds: int) -> dict[str, Any]:
    """One row of the report."""
    path = CONFIGS / case.configs / f"{model}_{case.encoder}.yaml"
    difference = loss_difference(set_up(case, load_config(path, ["model.encoder.dropout=0.0"]), train, TURN))
    if difference > TOLERANCE:
        raise SystemExit(
            f"error: {case.name} {model}: the losses differ by {difference:.2g}: not the same model"
        )
    contest = set_up(case, load_config(path, []), train, 4 * TURN)
    figures = take_turns(contest, rounds)
    samples = len(contest.batches[0].positives)
    return {
        "case": case.name,
        "model": f"{model}, {case.encoder}",
        "samples_a_step": samples,
        **figures,
        "ours_samples_s": 1e3 * samples / figures["ours_ms"],
        "torch_samples_s": 1e3 * samples / figures["torch_ms"],
        "speedup": figures["torch_ms"] / figures["ours_ms"],
        "loss_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument("--models", nargs="+", default=["two_tower", "sparcode"], help="default: both")
    parser.add_argument("--rounds", type=int, default=15, help=f"turns of {TURN} steps each (default: 15)")
    add_output_options(parser, plot=False)
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    if threads:
        torch.set_num_threads(threads)
    rows, head = [], machine()
    for case in CASES:
        if arguments.cases and case.name not in arguments.cases:
            continue
        train = generated(case, seed=0)
        rounds = 2 if arguments.small else arguments.rounds
        rows += [measure(case, model, train, rounds) for model in arguments.models]
    print_table(rows, COLUMNS)
    write_report(arguments.json, {"machine": head, "threads": threads, "seed": 0, "turn": TURN, "rows": rows})


if __name__ == "__main__":
    main()
