"""The one place that touches device, execution mode, seed and the cluster of workers.

Entry scripts import it before anything else that imports MindSpore, because it brings the environment
variables that MindSpore reads at its import.
"""

from __future__ import annotations

import os

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms
from mindspore.communication import GlobalComm, get_group_size, get_rank, init

from sparcode.config.schema import DeviceConfig
from sparcode.errors import DeviceError
from sparcode.training.world import World

ROLE_VARIABLE = "MS_ROLE"
"""What msrun tells the processes that it starts; absent in a process that works alone."""

WAITING_SECONDS = 3600
"""How long a CPU worker waits for the others: while one of them prepares data or fits codebooks, say."""


def configure(device: DeviceConfig, seed: int) -> World:
    """Select device and mode, join the other workers of the job if there are any, seed the initialisers.

    The scheduler that msrun starts beside its workers runs the same script: it stays in here until the job
    ends. Call this before anything that reads or writes files.

    Returns:
        The workers of the job; the world of size 1 without msrun.

    Raises:
        DeviceError: this installation of MindSpore lacks the device, or the workers do not find each other.
    """
    if device.target != "CPU":
        # the variable is a CPU measure; MindSpore's tuning guide for Ascend wants it off
        os.environ["MS_DEV_HOST_BLOCKING_RUN"] = "0"
    try:
        _select(device)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            f"device {device.target} is not available",
            where="device.target",
            expected="a device that this installation of MindSpore supports",
            received=_first_line(error),
            remedy="use --device_target CPU or install MindSpore with drivers for the device",
        ) from error
    if device.id is not None and os.environ.get(ROLE_VARIABLE) is not None:
        raise DeviceError(
            "workers of one job have a device each, which the launcher chooses",
            where="device.id",
            expected="null",
            received=device.id,
        )
    world = _join(device.target)
    ms.set_context(mode=ms.GRAPH_MODE if device.mode == "graph" else ms.PYNATIVE_MODE)
    ms.set_seed(seed)
    return world


def _join(target: str) -> World:
    role = os.environ.get(ROLE_VARIABLE)
    if role is None:
        return World()
    if role == "MS_WORKER" and target == "CPU":
        # MindSpore's CPU collectives give up after 30 seconds otherwise; the scheduler must not get this
        # value, with which it would notice the end of a worker that late
        os.environ.setdefault("MS_NODE_TIMEOUT", str(WAITING_SECONDS))
    if not GlobalComm.INITED:
        try:
            init()
        except RuntimeError as error:
            raise DeviceError(
                "the workers of the job did not find each other",
                where=f"rank {os.environ.get('RANK_ID', '?')}",
                received=_first_line(error),
                remedy="see the logs of the other workers and of the scheduler",
            ) from error
    return World(get_rank(), get_group_size())


def _select(device: DeviceConfig) -> None:
    try:
        ms.set_device(device.target, device.id)
    except RuntimeError:
        # a library user may have run something already: fine, when it ran on the same device
        same_id = device.id in (None, ms.get_context("device_id"))
        if ms.get_context("device_target") != device.target or not same_id:
            raise


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("-")), type(error).__name__)
