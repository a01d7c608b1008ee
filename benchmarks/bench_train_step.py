"""What does a training step cost with each scorer? ``python benchmarks/bench_train_step.py --json FILE``.

One optimisation step (inputs from arrays, forward, backward, Adam, codebooks, loss read back) of a SparCode
in its quantized phase and of the two-tower, on generated interactions with the sizes of MovieLens-1M, with
the same batch and the same 1,024 sampled negatives for all. ``wide`` has one token of full width and 8,192
codes, ``narrow`` 16 tokens of width 4 with 256 codes each. ``share``: so much of the queries is scored by the
network, the others by the dot product of the towers (train.quantized_share). The models take turns; pin the
threads with OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcode.training import runtime  # isort: skip  # before anything that imports MindSpore

import numpy as np
from reporting import add_output_options, machine, print_table, write_report

from sparcode.config.loader import load_config
from sparcode.config.schema import Config
from sparcode.data.batching import BatchOptions, QueryBatch, Sharding, make_batches
from sparcode.data.dataset import Interactions
from sparcode.data.samplers import CandidateSampler
from sparcode.model.factory import DataShape, build_network
from sparcode.model.losses import LossWeights, TrainingLoss
from sparcode.model.matchers.sparcode import SparCode
from sparcode.training.step import CODE_SIZES, CodeSharing, StepInputs, TrainStep, make_optimizer

BASE = Path(__file__).parents[1] / "configs" / "ml-1m"
NUM_USERS, NUM_ITEMS, MEAN_LENGTH = 6_040, 3_260, 125
TURN = 10
"""Steps of one model before the next one's turn."""
NEGATIVES = ("train.loss.negatives=uniform", "train.loss.num_negatives=1024")
TOKENS = {
    "wide": ("model.num_query_tokens=1", "model.token_size=64", "model.quantizer.codebook_size=8192"),
    "narrow": (),
}
SCORERS = {
    "dot": ("model.scorer.name=dot",),
    "mlp": ("model.scorer.name=mlp",),
    "mlp, share .25": ("model.scorer.name=mlp", "train.quantized_share=0.25"),
    "attention, share .1": (
        "model.scorer.name=attention",
        "model.scorer.hidden_size=16",
        "train.quantized_share=0.1",
    ),
}
COLUMNS = ["tokens", "scorer", "samples_a_step", "scored_codes", "step_ms", "cpu_ms", "samples_s", "of_dot"]


@dataclass(frozen=True)
class _Data:
    """What ``make_batches`` reads of a data set."""

    train: Interactions
    ordered: bool = False
    query_kind: str = "history"


class Model:
    """An untrained model that takes training steps as the training loop does.

    Args:
        config: configuration.
        train: training interactions.
        num_batches: batches that it has in turn.
    """

    def __init__(self, config: Config, train: Interactions, num_batches: int) -> None:
        runtime.configure(config.device, config.seed)
        options = BatchOptions(
            config.train.batch_size, config.data.max_history, config.train.targets_per_sequence, config.seed
        )
        batches = make_batches(_Data(train), options)  # type: ignore[arg-type]
        full = (batch for batch in batches.epoch(0) if batch.weights.all())
        self._batches = itertools.cycle(list(itertools.islice(full, num_batches)))
        network = build_network(config.model, DataShape(NUM_ITEMS, config.data.max_history, (), (), {}))
        has_codes = isinstance(network, SparCode)
        if has_codes:
            self._fit(network)
        counts = np.bincount(train.items, minlength=NUM_ITEMS + 1).astype(np.int64)
        self._inputs = StepInputs(
            config.seed,
            CandidateSampler(config.train.loss, counts),
            (0, 1, 1, 1),
            network.quantizer.rows if has_codes else 0,
            1,
            (),
            config.train.quantized_share,
        )
        self._sharding = Sharding(batches, 0, 1)
        weights = LossWeights(config.model.temperature, network.commitment_weight)
        mixed = config.train.quantized_share < 1.0
        loss = TrainingLoss(network, weights, has_codes, batches.every_position, use_noise=False, mixed=mixed)
        self._sharing = CodeSharing(loss) if network.shares_codes else None
        self._step = TrainStep(loss, make_optimizer(network, config), 0.0)
        self._step.set_train(True)
        self.samples = config.train.batch_size
        self.scored_codes = 0

    def _fit(self, network: SparCode) -> None:
        """Codewords that are real tokens of an untrained encoder, so that a batch spreads over them."""
        quantizer = network.quantizer
        rng = np.random.default_rng(1)
        rows = quantizer.codebook_size
        history = rng.integers(1, NUM_ITEMS + 1, (rows, 100)).astype(np.int32)
        from mindspore import Tensor

        tokens = network.tokens(network.query_vectors(Tensor(history), ())).asnumpy()
        books = tokens.reshape(rows, quantizer.books, -1).transpose(1, 0, 2).reshape(quantizer.rows, -1)
        quantizer.codebooks.set_data(Tensor(np.ascontiguousarray(books)))
        quantizer.ema_sums.set_data(Tensor(np.ascontiguousarray(books)))
        quantizer.ema_counts.set_data(Tensor(np.ones(quantizer.rows, np.float32)))

    def take(self, number: int) -> float:
        """One step; the loss before it."""
        batch: QueryBatch = next(self._batches)
        tensors = self._inputs.tensors(batch, self._sharding.share(batch), number)
        if self._sharing is not None:
            tensors = self._sharing.add_to(tensors)
            self.scored_codes = max(self.scored_codes, tensors[CODE_SIZES].shape[0])
        return float(self._step(*tensors)[0].asnumpy())


def generated(seed: int) -> Interactions:
    """Interactions of the size of MovieLens-1M: Zipf items, lengths that vary about the mean."""
    rng = np.random.default_rng(seed)
    lengths = 5 + rng.geometric(1 / (MEAN_LENGTH - 4), NUM_USERS) - 1
    weights = 1 / np.arange(1, NUM_ITEMS + 1) ** 0.8
    items = rng.choice(NUM_ITEMS, int(lengths.sum()), p=weights / weights.sum()) + 1
    return Interactions(np.concatenate(([0], np.cumsum(lengths))), items.astype(np.int32))


def measure(
    tokens: str, scorers: list[str], train: Interactions, rounds: int, batch_size: int
) -> list[dict[str, Any]]:
    """A row for each scorer, and one for the two-tower."""
    size = (*NEGATIVES, f"train.batch_size={batch_size}")
    settings = {
        name: load_config(
            BASE / "sparcode_dnn.yaml",
            [*size, *TOKENS[tokens], "train.quantized_share=1", *SCORERS[name]],
        )
        for name in scorers
    }
    settings["two-tower"] = load_config(BASE / "two_tower_dnn.yaml", size)
    models = {name: Model(config, train, 4 * TURN) for name, config in settings.items()}
    wall: dict[str, list[float]] = {name: [] for name in models}
    processor: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            started = time.process_time()
            taken = []
            for place in range(TURN):
                before = time.perf_counter()
                model.take(turn * TURN + place)
                taken.append(1e3 * (time.perf_counter() - before))
            if turn:  # the first one compiles
                wall[name] += taken
                processor[name].append(1e3 * (time.process_time() - started) / TURN)
    figures = {name: float(np.median(values)) for name, values in wall.items()}
    return [
        {
            "tokens": tokens,
            "scorer": name,
            "samples_a_step": model.samples,
            "scored_codes": model.scored_codes,
            "step_ms": figures[name],
            "cpu_ms": float(np.median(processor[name])),
            "samples_s": 1e3 * model.samples / figures[name],
            "of_dot": figures[name] / figures[scorers[0]],
        }
        for name, model in models.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", nargs="+", choices=list(TOKENS), default=list(TOKENS))
    parser.add_argument("--scorers", nargs="+", choices=list(SCORERS), default=list(SCORERS))
    parser.add_argument("--rounds", type=int, default=10, help=f"turns of {TURN} steps each (default: 10)")
    parser.add_argument("--batch_size", type=int, default=1024, help="queries of a step (default: 1024)")
    add_output_options(parser, plot=False)
    arguments = parser.parse_args()
    train = generated(seed=0)
    rounds = 1 if arguments.small else arguments.rounds
    rows = []
    for tokens in arguments.tokens:
        rows += measure(tokens, arguments.scorers, train, rounds, arguments.batch_size)
    print_table(rows, COLUMNS)
    write_report(arguments.json, {"machine": machine(), "seed": 0, "turn": TURN, "rows": rows})


if __name__ == "__main__":
    main()
