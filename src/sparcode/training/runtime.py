"""The one place that touches device, execution mode and seed.

Importing this module sets environment variables that MindSpore reads when it is imported or first used,
so entry scripts import it before anything that imports MindSpore.
"""

from __future__ import annotations

import os
import tempfile

# errors only: MindSpore prints warnings about absent GPU and Ascend libraries otherwise
os.environ.setdefault("GLOG_v", "3")
# a failed compilation writes its report to the current directory otherwise
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
# the host thread spins while kernels run otherwise and takes a core from them (see docs/mindspore.md)
os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")

import mindspore as ms  # noqa: E402

from sparcode.config.schema import DeviceConfig  # noqa: E402
from sparcode.errors import DeviceError  # noqa: E402


def configure(device: DeviceConfig, seed: int) -> None:
    """Select device and mode and seed the initialisers.

    Raises:
        DeviceError: this installation of MindSpore lacks the device.
    """
    if device.target != "CPU":
        # the variable is a CPU measure; MindSpore's tuning guide for Ascend wants it off
        os.environ["MS_DEV_HOST_BLOCKING_RUN"] = "0"
    try:
        ms.set_device(device.target)
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("-")), type(error).__name__)
