"""Composition of preprocessing: raw files -> data set directory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sparcode.config.arguments import PreprocessArguments
from sparcode.config.data_schema import DataConfig
from sparcode.data.dataset import Dataset, preprocess
from sparcode.data.dataset_directory import read_description
from sparcode.data.frames import Frames
from sparcode.errors import DataError
from sparcode.progress import Progress


def preprocess_run(arguments: PreprocessArguments) -> Dataset:
    """Make the data set directory that the configuration names.

    Raises:
        DataError: the raw files are missing or malformed.
        OutputError: the directory cannot be written.
    """
    with Progress(f"preprocessing {arguments.config.data.name}"):
        return preprocess(arguments.config.data)


def preprocess_frames(frames: Frames, config: DataConfig, base: str | None = None) -> None:
    """Make the data set directory that the configuration names of data frames.

    Args:
        frames: the rows.
        config: the data section, which describes them.
        base: directory of files that features name; None = the working directory.

    Raises:
        UsageError, ConfigError, DataError: see :meth:`sparcode.data.frames.Frames.read`.
        OutputError: the directory cannot be written.
    """
    with Progress(f"preprocessing {config.name}"):
        raw = frames.read(config.model_copy(update={"path": base or "."}))
        preprocess(config, raw)


def check_same_frames(frames: Frames, config: DataConfig, base: str | None = None) -> None:
    """Check that data frames are those that the data set directory was made of.

    Args:
        frames: the rows.
        config: the data section, whose data set directory exists.
        base: see :func:`preprocess_frames`.

    Raises:
        DataError: they are not; or as :func:`preprocess_frames`.
    """
    kept = read_description(Path(config.dataset_dir))["fingerprint"]
    with tempfile.TemporaryDirectory(prefix="sparcode-") as home:
        again = config.model_copy(update={"dataset_dir": str(Path(home) / "dataset")})
        preprocess_frames(frames, again, base)
        given = read_description(Path(again.dataset_dir))["fingerprint"]
    if kept != given:
        raise DataError(
            "the data frames are not those that the run was trained on",
            where=config.dataset_dir,
            expected=f"fingerprint {kept}",
            received=given,
            remedy="resume with the same data frames, or fit into another output_dir",
        )
