"""Self-describing checkpoints, written atomically.

A checkpoint holds every parameter of network and optimizer (weights, codebooks and their EMA state,
moments, step counters) and a JSON text with format version, configuration, data set fingerprint, progress
and metrics. MindSpore's own writer deletes the old file before it writes the new one; here the new file is
written beside it and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from sparcode import __version__
from sparcode.config.loader import config_of_values, flatten
from sparcode.config.schema import Config
from sparcode.errors import CheckpointError, ConfigError, OutputError

FORMAT_VERSION = 1
_META = "sparcode_meta"
OTHER_VERSION = "use the package version that wrote it, or train again"


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint says of itself.

    Attributes:
        config: resolved configuration as plain data.
        fingerprint: of the data set.
        epoch: epochs completed.
        step: optimisation steps completed.
        quantized: whether codebooks have been fitted (always true for models without).
        metrics: validation metrics at this point.
        state: progress of the loop (best value, validations without improvement).
    """

    config: dict[str, Any]
    fingerprint: str
    epoch: int
    step: int
    quantized: bool
    metrics: dict[str, float] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, cells: Sequence[nn.Cell], meta: CheckpointMeta) -> None:
    """Write the parameters of the cells and the description to ``path`` (.ckpt), replacing it atomically.

    Raises:
        OutputError: the directory cannot be written; an older checkpoint at ``path`` is kept.
    """
    parameters: dict[str, ms.Parameter] = {}
    for cell in cells:
        for parameter in cell.get_parameters():
            parameters.setdefault(parameter.name, parameter)
    text = json.dumps(
        {"format": FORMAT_VERSION, "package": __version__, "mindspore": ms.__version__, **vars(meta)}
    )
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part.ckpt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ms.save_checkpoint(
            [{"name": name, "data": value} for name, value in parameters.items()],
            str(temporary),
            append_dict={_META: text},
            crc_check=True,
        )
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError, ValueError) as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
            temporary.with_suffix(".tmp").unlink(missing_ok=True)  # what MindSpore's writer leaves behind
        raise OutputError(
            "the checkpoint cannot be written",
            where=path,
            received=_short(error),
            remedy="free space or choose another --output_dir",
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, ms.Parameter], CheckpointMeta]:
    """Parameters and description of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, foreign, or of another format version.
    """
    if not path.is_file():
        raise CheckpointError("there is no checkpoint", where=path, remedy="train first")
    try:
        parameters = ms.load_checkpoint(str(path), crc_check=True)
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(
            "the checkpoint is damaged",
            where=path,
            received=_short(error),
            remedy="restore it or train again",
        ) from error
    text = parameters.pop(_META, None)
    if not isinstance(text, str):
        raise CheckpointError("not a checkpoint of this project", where=path, expected=f"an entry {_META}")
    try:
        fields = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            "the description of the checkpoint is damaged", where=path, received=_short(error)
        ) from error
    version = fields.pop("format", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            "unknown checkpoint version",
            where=path,
            expected=FORMAT_VERSION,
            received=version,
            remedy=OTHER_VERSION,
        )
    fields.pop("package", None)
    fields.pop("mindspore", None)
    try:
        return parameters, CheckpointMeta(**fields)
    except TypeError as error:  # a field too many or too few
        raise CheckpointError(
            "the checkpoint is of another version of this package",
            where=path,
            received=_short(error),
            remedy=OTHER_VERSION,
        ) from error


def stored_config(path: Path, meta: CheckpointMeta) -> Config:
    """The configuration that a checkpoint was trained with.

    Raises:
        CheckpointError: it has a key that this version does not know, or lacks one that shapes the model.
    """
    try:
        config = config_of_values(meta.config, str(path))
    except ConfigError as error:
        raise CheckpointError(
            f"the checkpoint is of another version of this package: {error}", remedy=OTHER_VERSION
        ) from error
    missing = sorted(flatten(config.model_dump(mode="json")).keys() - flatten(meta.config).keys())
    missing = [key for key in missing if key.startswith("model.")]
    if missing:
        raise CheckpointError(
            "the checkpoint is of an earlier version of this package",
            where=path,
            expected=", ".join(missing),
            received="nothing of that name",
            remedy=OTHER_VERSION,
        )
    return config


def load_into(path: Path, parameters: dict[str, ms.Parameter], cells: Sequence[nn.Cell]) -> None:
    """Copy checkpoint parameters into the cells; every parameter of the cells must be there with its shape.

    Raises:
        CheckpointError: a parameter is missing or of another shape.
    """
    for cell in cells:
        for parameter in cell.get_parameters():
            stored = parameters.get(parameter.name)
            if stored is None:
                raise CheckpointError(
                    f"parameter {parameter.name} is missing",
                    where=path,
                    remedy="the checkpoint belongs to another configuration",
                )
            if tuple(stored.shape) != tuple(parameter.shape):
                raise CheckpointError(
                    f"parameter {parameter.name} has another shape",
                    where=path,
                    expected=tuple(parameter.shape),
                    received=tuple(stored.shape),
                    remedy="the checkpoint belongs to another configuration",
                )
        ms.load_param_into_net(cell, parameters)


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
