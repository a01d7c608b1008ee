"""Prints what training, building and serving need at a scale: ``python scripts/plan_scaling.py --help``.

Formulas and their limits are in docs/scaling.md, and so are the measurements behind the default constants,
which are those of one core of a small virtual machine: give those of your own device and network.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

DEVICES = (8, 16, 32, 64, 128, 256)
FLOAT = 4
ADAM_COPIES = 3
"""The weights and the two moments of Adam."""


@dataclass(frozen=True)
class Job:
    """The numbers of a plan; every field is a flag.

    Attributes:
        interactions, items: of the training data.
        width: d of the item table.
        dense_weights: weights outside the table.
        history, targets: items that the encoder reads of a sequence, and targets of it.
        negatives: candidates of a step on each device.
        device_batch: sequences of a step on each device.
        us_per_query, ms_per_step: what a step takes on one device: so much for each query, and at all.
        gb_per_s, latency_us: of the network between devices: bytes one device sends, delay of a message.
        codes, top_l, posting_bytes: lists of the index, their length, bytes of a posting.
        pairs_per_s, build_threads: pairs that one thread scores and prunes; threads of each device's host.
        serving_gb: memory of a serving process for its part of the index.
    """

    interactions: float = 1e9
    items: float = 1e8
    width: int = 64
    dense_weights: float = 1e5
    history: int = 50
    targets: int = 8
    negatives: int = 128
    device_batch: int = 256
    us_per_query: float = 28.0
    ms_per_step: float = 9.0
    gb_per_s: float = 0.29
    latency_us: float = 225.0
    codes: float = 1e6
    top_l: int = 1000
    posting_bytes: float = 2.5
    pairs_per_s: float = 1.7e8
    build_threads: int = 1
    serving_gb: float = 16.0

    @property
    def table_bytes(self) -> float:
        """The item table alone."""
        return self.items * self.width * FLOAT

    @property
    def queries(self) -> int:
        """Of a step on one device."""
        return self.device_batch * self.targets

    @property
    def rows_of_step(self) -> float:
        """Rows of the table that a step on one device reads and changes, at most."""
        return min(self.items, self.device_batch * self.history + self.queries + self.negatives)

    @property
    def index_bytes(self) -> float:
        """Postings; the rest of the index is small beside them."""
        return self.codes * self.top_l * self.posting_bytes


@dataclass(frozen=True)
class Plan:
    """What a job needs on so many devices.

    Attributes:
        memory_whole_gb, memory_sharded_gb: of a device, with the whole table or a part of its rows.
        compute_s, whole_s, sharded_s: of a step: work of a device; communication with the whole table on
            every device (one AllReduce of all gradients), and with its rows divided (AllToAll of the rows
            of the step, there and back, and an AllReduce of the rest).
        epoch_hours: with divided rows; nothing of the communication is hidden behind the work.
        efficiency: share of a step that is work, with divided rows.
        build_hours: of all pairs of codes and items.
    """

    devices: int
    memory_whole_gb: float
    memory_sharded_gb: float
    compute_s: float
    whole_s: float
    sharded_s: float
    epoch_hours: float
    efficiency: float
    build_hours: float


def allreduce_seconds(job: Job, devices: int, size: float) -> float:
    """Ring: every device sends the bytes twice but for its own part, in 2 (W - 1) messages."""
    if devices == 1:
        return 0.0
    sent = 2 * (devices - 1) / devices * size
    return sent / (job.gb_per_s * 1e9) + 2 * (devices - 1) * job.latency_us * 1e-6


def alltoall_seconds(job: Job, devices: int, size: float) -> float:
    """Every device sends its bytes but for its own part, in W - 1 messages."""
    if devices == 1:
        return 0.0
    sent = (devices - 1) / devices * size
    return sent / (job.gb_per_s * 1e9) + (devices - 1) * job.latency_us * 1e-6


def plan(job: Job, devices: int) -> Plan:
    """The plan for so many devices."""
    dense = job.dense_weights * FLOAT
    compute = job.ms_per_step * 1e-3 + job.queries * job.us_per_query * 1e-6
    rows = job.rows_of_step * job.width * FLOAT
    sharded = 2 * alltoall_seconds(job, devices, rows) + allreduce_seconds(job, devices, dense)
    steps = math.ceil(job.interactions / (job.queries * devices))
    pairs = job.codes * job.items
    return Plan(
        devices=devices,
        memory_whole_gb=ADAM_COPIES * (job.table_bytes + dense) / 1e9,
        memory_sharded_gb=ADAM_COPIES * (job.table_bytes / devices + dense) / 1e9,
        compute_s=compute,
        whole_s=allreduce_seconds(job, devices, job.table_bytes + dense),
        sharded_s=sharded,
        epoch_hours=steps * (compute + sharded) / 3600,
        efficiency=compute / (compute + sharded),
        build_hours=pairs / (job.pairs_per_s * job.build_threads * devices) / 3600,
    )


def parse(argv: Sequence[str]) -> tuple[Job, list[int]]:
    """The job and the numbers of devices of a command line; a number that is not positive is refused."""
    parser = argparse.ArgumentParser(description=__doc__, usage="%(prog)s [--NAME NUMBER] ...")
    for field in fields(Job):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, metavar=str(field.default))
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES))
    flags = vars(parser.parse_args(argv))
    devices = flags.pop("devices")
    for name, value in [*flags.items(), *(("devices", number) for number in devices)]:
        if not (value > 0 and math.isfinite(value)):
            parser.error(f"--{name} must be positive, not {value}")
    return Job(**flags), devices


def main(argv: Sequence[str]) -> None:
    """Prints the plan."""
    job, devices = parse(argv)
    shards = math.ceil(job.index_bytes / (job.serving_gb * 1e9))
    print(f"item table        {job.table_bytes / 1e9:,.1f} GB, {ADAM_COPIES} times that with Adam")
    print(f"rows of a step    {job.rows_of_step:,.0f} of {job.items:,.0f} on each device")
    print(f"index             {job.index_bytes / 1e9:,.2f} GB of postings, {shards} serving shard(s)")
    print(f"pairs to score    {job.codes * job.items:,.0f}")
    print()
    print("          memory, GB          step, ms: communication        epoch, h   work    build, h")
    print("devices   whole  divided   work     whole table    divided")
    for number in devices:
        row = plan(job, number)
        print(
            f"{row.devices:7d} {row.memory_whole_gb:7.1f} {row.memory_sharded_gb:8.1f}"
            f" {1e3 * row.compute_s:6.1f} {1e3 * row.whole_s:15,.1f} {1e3 * row.sharded_s:10,.1f}"
            f" {row.epoch_hours:14,.2f} {100 * row.efficiency:5.0f} % {row.build_hours:10,.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
