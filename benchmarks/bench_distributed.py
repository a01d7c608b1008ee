"""What a second worker gives and costs: ``python benchmarks/bench_distributed.py --json distributed.json``.

Two questions. How many samples a second do 1 and 2 worker processes train, with one thread each and the same
global batch, and what share of a step is communication? And what are the constants of docs/scaling.md: time
of a step against its batch, of an AllReduce against its bytes, of making a batch on the host?

Workers are started by msrun, as ``scripts/run_distribute_train.sh`` does it. Every figure is the lowest of
several medians, since other work on the machine only ever adds time.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reporting import add_output_options, machine, print_table, seconds_of, write_report

ROOT = Path(__file__).parents[1]
MODELS = ("sparcode", "two_tower")
BATCHES = (64, 128, 256, 512)
ALLREDUCE_FLOATS = (1, 1_000, 10_000, 100_000, 1_000_000, 4_000_000)
ROUNDS, STEPS = 5, 8


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to try")
    parser.add_argument("--items", type=int, default=12_000, help="items of the generated data")
    parser.add_argument("--port", type=int, default=8124, help="port of msrun")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in a worker: where to write
    add_output_options(parser)
    return parser.parse_args()


def launch(options: argparse.Namespace, workers: int, output: Path) -> dict[str, Any]:
    """Measure in so many workers; the report of the first one."""
    command = [
        *(sys.executable, str(ROOT / "scripts" / "launch_workers.py"), "--workers", str(workers)),
        *("--master_port", str(options.port), "--log_dir", str(output.with_suffix(".logs"))),
        *(str(Path(__file__).resolve()), "--measure", str(output), "--items", str(options.items)),
        *(["--small"] if options.small else []),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return dict(json.loads(output.read_text(encoding="utf-8")))


def main() -> None:
    """Measures and writes the report."""
    options = parse_arguments()
    if options.measure is not None:
        measure(options)
        return
    report: dict[str, Any] = {"machine": machine(), "threads": 1, "items": options.items, "workers": []}
    with tempfile.TemporaryDirectory() as directory:
        for workers in options.workers:
            report["workers"].append(launch(options, workers, Path(directory) / f"{workers}.json"))
    rows = [row for part in report["workers"] for row in part["steps"]]
    columns = ["model", "workers", "batch", "step_ms", "reduce_ms", "host_ms", "samples_per_s"]
    print_table(rows, columns)
    for part in report["workers"]:
        if part["allreduce"]:
            print(f"AllReduce between {part['workers']} workers")
            print_table(part["allreduce"], ["bytes", "ms"])
    write_report(options.json, report)


# ---- in a worker


def measure(options: argparse.Namespace) -> None:
    """Times steps and collectives; the first worker writes them."""
    from sparcode.config.schema import DeviceConfig
    from sparcode.training import runtime

    world = runtime.configure(DeviceConfig(), 0)
    batches = BATCHES[:1] if options.small else BATCHES
    models = MODELS[:1] if options.small else MODELS
    report = {
        "workers": world.size,
        "steps": [step_row(options, world, model, batch) for model in models for batch in batches],
        "allreduce": allreduce_rows(options, world) if world.size > 1 else [],
    }
    if world.first:
        options.measure.write_text(json.dumps(report), encoding="utf-8")
    world.leave()


def step_row(options: argparse.Namespace, world: Any, model: str, batch_size: int) -> dict[str, Any]:
    """Milliseconds of a training step, of its communication, and of making its batch."""
    from sparcode.config.schema import Config
    from sparcode.data.batching import BatchOptions, Sharding, make_batches
    from sparcode.model.factory import build_network
    from sparcode.model.losses import LossWeights, TrainingLoss
    from sparcode.pipeline.runs import data_shape
    from sparcode.pipeline.train import step_inputs
    from sparcode.training.step import TrainStep, make_optimizer

    train = {"batch_size": batch_size, "learning_rate": 0.002, "loss": {"num_negatives": 128}}
    codes = {"quantizer": {"codebook_size": 4096}} if model == "sparcode" else {}
    config = Config.model_validate({"model": {"name": model, **codes}, "train": train})
    dataset = random_dataset(options.items)
    network = build_network(config.model, data_shape(config, dataset))
    batches = make_batches(dataset, BatchOptions(batch_size, config.data.max_history, 8, 0))
    inputs = step_inputs(config, dataset, network, batches)
    sharding = Sharding(batches, world.rank, world.size)
    loss = TrainingLoss(network, LossWeights(1.0, 0.25), model == "sparcode", True, False)
    step = TrainStep(loss, make_optimizer(network, config), 0.0, world.size)
    step.set_train(True)
    batch = next(iter(batches.epoch(0)))
    tensors = inputs.tensors(batch, sharding.share(batch), 0)
    step_ms = lowest_ms(lambda: step(*tensors)[0].asnumpy(), world)
    host_ms = lowest_ms(lambda: inputs.tensors(batch, sharding.share(batch), 0), world)
    return {
        "model": model,
        "workers": world.size,
        "batch": batch_size,
        "queries": int(batch.weights.sum()),
        "step_ms": step_ms,
        "reduce_ms": lowest_ms(reduction(network), world) if world.size > 1 else 0.0,
        "host_ms": host_ms,
        "samples_per_s": 1e3 * batch.weights.sum() / (step_ms + host_ms),
        "weights": sum(parameter.size for parameter in network.trainable_params()),
    }


def random_dataset(num_items: int) -> Any:
    """Histories of 52 items without structure: the cost of a step depends on shapes alone."""
    from sparcode.data.dataset import Dataset, Interactions

    users, length = max(BATCHES), 52
    items = np.random.default_rng(0).integers(1, num_items + 1, users * length, dtype=np.int32)
    train = Interactions(np.arange(users + 1, dtype=np.int64) * length, items)
    none = Interactions(np.zeros(users + 1, np.int64), np.zeros(0, np.int32))
    return Dataset(
        name="random",
        protocol="leave_one_out",
        ordered=True,
        query_kind="history",
        num_users=users,
        num_items=num_items,
        fingerprint="random",
        counts={},
        train=train,
        valid=none,
        test=none,
        item_features=(),
        user_features=(),
        item_arrays={},
        user_arrays={},
        item_ids=[],
        user_ids=[],
    )


def reduction(network: Any) -> Callable[[], object]:
    """What adds up tensors of the shapes that a step adds up."""
    from mindspore import Tensor

    from sparcode.model.matchers.sparcode import SparCode
    from sparcode.training.step import SumOverWorkers

    shapes = [tuple(parameter.shape) for parameter in network.trainable_params()] + [(1,)] * 4
    if isinstance(network, SparCode):
        shapes.append((network.quantizer.rows, 1 + 2 * network.quantizer.sub_size))
    tensors = [Tensor(np.ones(shape, np.float32)) for shape in shapes]
    cell = SumOverWorkers()
    return lambda: [tensor.asnumpy() for tensor in cell(*tensors)]


def allreduce_rows(options: argparse.Namespace, world: Any) -> list[dict[str, Any]]:
    """Milliseconds of an AllReduce of one tensor, by its bytes."""
    from mindspore import Tensor, ops

    rows = []
    for count in ALLREDUCE_FLOATS[:3] if options.small else ALLREDUCE_FLOATS:
        tensor, reduce = Tensor(np.ones(count, np.float32)), ops.AllReduce()
        call = functools.partial(lambda reduce, tensor: reduce(tensor).asnumpy(), reduce, tensor)
        rows.append({"bytes": 4 * count, "ms": lowest_ms(call, world)})
    return rows


def lowest_ms(call: Callable[[], object], world: Any) -> float:
    """Lowest of several medians of the milliseconds of a call, after one that is not counted."""
    call()
    medians = []
    for _ in range(ROUNDS):
        world.wait()
        medians.append(1e3 * float(np.median(seconds_of(call, STEPS))))
    return min(medians)


if __name__ == "__main__":
    main()
