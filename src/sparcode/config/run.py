"""The configuration of a trained run, with the few settings that may differ afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparcode.config.by_size import filled_from
from sparcode.config.loader import (
    Override,
    build_config,
    config_differences,
    flatten,
    parse_override,
    read_config_file,
)
from sparcode.config.schema import Config
from sparcode.config.yaml_text import Document
from sparcode.errors import ConfigError

RUN_CONFIG_NAME = "config.yaml"
"""File of a run directory with the resolved configuration."""

RUN_DATASET_NAME = "dataset"
"""Directory of a run directory with the data set, where that was made of data frames."""

OPEN_KEYS = ("device", "crosses", "index", "eval", "export", "data.path", "data.dataset_dir")
"""Sections and keys that do not change what was trained by gradients."""


def load_run_config(
    run_dir: Path, overrides: Sequence[str | Override] = (), config_path: Path | None = None
) -> Config:
    """Loads ``RUN/config.yaml`` and lays the settings over it that evaluation and export may change.

    Args:
        run_dir: run directory written by train.py.
        overrides: settings below ``OPEN_KEYS``; they go before both files.
        config_path: a configuration that must agree with the run on model and data; what it states below
            ``OPEN_KEYS`` goes before the run's values.

    Raises:
        ConfigError: no run directory; an override or a file that would describe another model or data set;
            anything that ``load_config`` refuses.
    """
    path = run_dir / RUN_CONFIG_NAME
    if not path.is_file():
        raise ConfigError(
            f"no {RUN_CONFIG_NAME} in the run directory",
            where=run_dir,
            expected="a directory written by train.py --output_dir",
        )
    run = read_config_file(path)
    layers: list[str | Override] = []
    if config_path is not None:
        layers += _agreeing_settings(config_path, build_config(run, (), str(path)), run_dir)
    layers += [_open_override(item) for item in overrides]
    return _with_data_found(build_config(run, layers, str(path)), run_dir)


def _with_data_found(config: Config, run_dir: Path) -> Config:
    """Relative paths of the data as named from the working directory, or else from one above the run.

    A run is most often used where it was trained, and otherwise lies below that directory. One that was
    trained on data frames holds its data set, and says so by the same path twice.
    """
    data, found = config.data, {}
    own = run_dir / RUN_DATASET_NAME
    if data.path == data.dataset_dir and own.is_dir():
        return config.model_copy(update={"data": data.model_copy(update={"dataset_dir": str(own)})})
    for parent in run_dir.resolve().parents:
        prepared, raw = parent / data.dataset_dir, None if data.path is None else parent / data.path
        if not (prepared / "dataset.json").is_file() and (raw is None or not raw.exists()):
            continue
        if not Path(data.dataset_dir).exists():
            found["dataset_dir"] = str(prepared)
        if raw is not None and raw.exists() and not Path(str(data.path)).exists():
            found["path"] = str(raw)
        break
    return config.model_copy(update={"data": data.model_copy(update=found)}) if found else config


def check_data_found(config: Config, run_dir: Path) -> None:
    """The data set of a run exists, or can be made.

    Raises:
        ConfigError: neither it nor the raw data are where the configuration says.
    """
    data = config.data
    if data.path is None or Path(data.dataset_dir).exists() or Path(data.path).exists():
        return
    raise ConfigError(
        "the data of the run are not found",
        where=run_dir,
        expected=f"{data.dataset_dir} or {data.path} in {Path.cwd()} or in a directory above the run",
        remedy="start from the directory where it was trained, or name the data set directory "
        "with --set data.dataset_dir=DIR",
    )


def _open_override(item: str | Override) -> Override:
    override = item if isinstance(item, Override) else parse_override(item)
    if not is_open(override.key):
        raise ConfigError(
            f"{override.key} cannot be set after training: the result would not be the trained model",
            where=override.origin,
            expected=f"a key of {', '.join(OPEN_KEYS)}",
            remedy="train another run with it",
        )
    return override


def _agreeing_settings(config_path: Path, run: Config, run_dir: Path) -> list[Override]:
    """What the file states below ``OPEN_KEYS``, once its model and data are known to be the run's."""
    document = read_config_file(config_path)
    given = filled_from(build_config(document, (), str(config_path)), run)
    differing = [
        key
        for key in config_differences(run, given)
        if key.startswith(("model.", "data.")) and not is_open(key)
    ]
    if differing:
        left, right = flatten(run.model_dump()), flatten(given.model_dump())
        pairs = ", ".join(f"{key} ({left.get(key)!r} there, {right.get(key)!r} here)" for key in differing)
        raise ConfigError(
            f"the configuration is not that of the run {run_dir}",
            where=config_path,
            received=f"different {pairs}",
            remedy="leave out --config_path to use the run's own configuration",
        )
    return _stated_open_settings(document, str(config_path))


def _stated_open_settings(document: Document, source: str) -> list[Override]:
    return [
        Override(key, value, f"{source}, line {document.lines[key]}")
        for key, value in flatten(document.values).items()
        if is_open(key) and value is not None
    ]


def is_open(key: str) -> bool:
    """Whether evaluation and export may set the key."""
    return any(key == opened or key.startswith(f"{opened}.") for opened in OPEN_KEYS)
