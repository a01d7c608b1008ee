"""Checkpoints: round trip, damage, foreign files, atomic replacement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from helpers import tiny_config
from sparcode.errors import CheckpointError, OutputError
from sparcode.training import checkpoint
from sparcode.training.checkpoint import (
    CheckpointMeta,
    load_into,
    read_checkpoint,
    save_checkpoint,
    stored_config,
)

META = CheckpointMeta(
    config={"model": {"name": "sparcode"}, "seed": 3},
    fingerprint="abc",
    epoch=2,
    step=17,
    quantized=True,
    metrics={"ndcg@10": 0.25},
    state={"best": 0.5, "best_epoch": 1, "stale": 1},
)


class Tiny(nn.Cell):
    """Two parameters, one of which no gradient trains."""

    def __init__(self, value: float, width: int = 3) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.full((4, width), value, np.float32)), name="weight")
        self.state = Parameter(Tensor(np.full(2, -value, np.float32)), name="state", requires_grad=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.ckpt"
    save_checkpoint(path, [Tiny(1.5)], META)
    return path


def test_round_trip(path: Path) -> None:
    parameters, meta = read_checkpoint(path)
    assert meta == META
    network = Tiny(0.0)
    load_into(path, parameters, [network])
    np.testing.assert_array_equal(network.weight.asnumpy(), np.full((4, 3), 1.5))
    np.testing.assert_array_equal(network.state.asnumpy(), [-1.5, -1.5])


def test_moments_and_counters_of_the_optimizer_are_in_it(tmp_path: Path) -> None:
    network = Tiny(1.0)
    optimizer = nn.Adam(network.trainable_params())
    optimizer(tuple(Tensor(np.ones((4, 3), np.float32)) for _ in range(1)))
    save_checkpoint(tmp_path / "a.ckpt", [network, optimizer], META)
    parameters, _ = read_checkpoint(tmp_path / "a.ckpt")
    other = Tiny(0.0)
    fresh = nn.Adam(other.trainable_params())
    load_into(tmp_path / "a.ckpt", parameters, [other, fresh])
    mine = {parameter.name: parameter.asnumpy() for parameter in optimizer.get_parameters()}
    assert mine["moment1.weight"].any()
    assert int(mine["global_step"].item()) == 1
    for parameter in fresh.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), mine[parameter.name])


def test_saving_replaces_and_leaves_no_temporary_file(path: Path) -> None:
    save_checkpoint(path, [Tiny(2.5)], META)
    parameters, _ = read_checkpoint(path)
    assert parameters["weight"].asnumpy()[0, 0] == 2.5
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 40, 1)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_and_empty_files(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: the checkpoint is damaged"):
        read_checkpoint(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint; train first"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_checkpoint_of_another_project(tmp_path: Path) -> None:
    path = tmp_path / "foreign.ckpt"
    ms.save_checkpoint(Tiny(1.0), str(path), crc_check=True)
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        read_checkpoint(path)


def test_another_format_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 2)
    with pytest.raises(CheckpointError, match="unknown checkpoint version; expected 2; received 1"):
        read_checkpoint(path)


def test_parameters_of_another_network(path: Path) -> None:
    parameters, _ = read_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"weight has another shape; expected \(4, 5\); rec"):
        load_into(path, parameters, [Tiny(0.0, width=5)])
    del parameters["state"]
    untouched = Tiny(0.0)
    with pytest.raises(CheckpointError, match="parameter state is missing"):
        load_into(path, parameters, [untouched])
    np.testing.assert_array_equal(untouched.weight.asnumpy(), 0.0)


def test_a_failed_save_keeps_the_old_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "replace", full)
    with pytest.raises(OutputError, match="the checkpoint cannot be written"):
        save_checkpoint(path, [Tiny(9.0)], META)
    parameters, _ = read_checkpoint(path)
    assert parameters["weight"].asnumpy()[0, 0] == 1.5
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="the checkpoint cannot be written"):
        save_checkpoint(tmp_path / "file" / "a.ckpt", [Tiny(1.0)], META)


def with_config(config: dict[str, Any]) -> CheckpointMeta:
    return replace(META, config=config)


def test_the_stored_configuration_is_read_back() -> None:
    config = tiny_config()
    assert stored_config(Path("best.ckpt"), with_config(config.model_dump(mode="json"))) == config


def test_a_checkpoint_with_a_key_that_was_renamed_is_refused_by_name() -> None:
    values = tiny_config().model_dump(mode="json")
    values["model"]["widht"] = values["model"].pop("embedding_size")
    with pytest.raises(CheckpointError, match=r"model\.widht.*best\.ckpt.*train again"):
        stored_config(Path("best.ckpt"), with_config(values))


def test_a_checkpoint_without_a_key_of_the_model_is_refused_by_name() -> None:
    values = tiny_config().model_dump(mode="json")
    del values["model"]["quantizer"]["shared"]
    with pytest.raises(CheckpointError, match=r"earlier version.*model.quantizer.shared.*train again"):
        stored_config(Path("best.ckpt"), with_config(values))


@pytest.mark.parametrize("text", ['{"format": 1, "epochs": 3}', '{"format": 1}', "[1]", "{"])
def test_another_description_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "best.ckpt"
    ms.save_checkpoint(
        [{"name": "weight", "data": Tensor(np.zeros(2, np.float32))}],
        str(path),
        append_dict={checkpoint._META: text},
        crc_check=True,
    )
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
