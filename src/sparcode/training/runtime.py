"""The one place that touches device, execution mode and seed.

Entry scripts import it before anything else that imports MindSpore, because it brings the environment
variables that MindSpore reads at its import.
"""

from __future__ import annotations

import os

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms

from sparcode.config.schema import DeviceConfig
from sparcode.errors import DeviceError


def configure(device: DeviceConfig, seed: int) -> None:
    """Select device and mode and seed the initialisers.

    Raises:
        DeviceError: this installation of MindSpore lacks the device.
    """
    if device.target != "CPU":
        # the variable is a CPU measure; MindSpore's tuning guide for Ascend wants it off
        os.environ["MS_DEV_HOST_BLOCKING_RUN"] = "0"
    try:
        _select(device.target)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            f"device {device.target} is not available",
            where="device.target",
            expected="a device that this installation of MindSpore supports",
            received=_first_line(error),
            remedy="use --device_target CPU or install MindSpore with drivers for the device",
        ) from error
    ms.set_context(mode=ms.GRAPH_MODE if device.mode == "graph" else ms.PYNATIVE_MODE)
    ms.set_seed(seed)


def _select(target: str) -> None:
    try:
        ms.set_device(target)
    except RuntimeError:
        # a library user may have run something already: fine, when it ran on the same device
        if ms.get_context("device_target") != target:
            raise


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("-")), type(error).__name__)
