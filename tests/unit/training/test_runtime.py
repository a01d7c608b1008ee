"""Device, mode and seed."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from sparcode.config.schema import DeviceConfig
from sparcode.errors import DeviceError
from sparcode.training.runtime import configure


@pytest.mark.parametrize(("mode", "number"), [("graph", ms.GRAPH_MODE), ("pynative", ms.PYNATIVE_MODE)])
def test_the_mode_is_set(mode: str, number: int) -> None:
    configure(DeviceConfig(mode=mode), seed=0)  # type: ignore[arg-type]
    assert ms.get_context("mode") == number


def test_initial_weights_follow_the_seed() -> None:
    def weights(seed: int) -> np.ndarray:
        configure(DeviceConfig(), seed)
        return np.asarray(ms.nn.Dense(3, 4).weight.asnumpy())

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


def test_a_device_that_is_in_use_already_is_no_fault() -> None:
    assert (Tensor(np.ones(3, np.float32)) + 1).asnumpy().sum() == 6
    configure(DeviceConfig(), seed=0)


def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(target: str, number: int | None) -> None:
        raise RuntimeError(f"----\nUnsupported device target {target}.\n----")

    monkeypatch.setattr(ms, "set_device", missing)
    monkeypatch.setenv("MS_DEV_HOST_BLOCKING_RUN", "1")
    with pytest.raises(DeviceError, match=r"device Ascend is not available.*Unsupported device target"):
        configure(DeviceConfig(target="Ascend"), seed=0)
