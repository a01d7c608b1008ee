"""Training from Python: data frames or a configuration -> a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from sparcode.api.run import Run, overrides_of
from sparcode.config.arguments import TrainArguments
from sparcode.config.loader import Override, build_config, read_config_file
from sparcode.config.run import RUN_DATASET_NAME
from sparcode.config.run_choice import LAST
from sparcode.config.schema import Config
from sparcode.config.yaml_text import Document
from sparcode.errors import CheckpointError, OutputError, UsageError

ConfigLike = str | PathLike[str] | Config


@dataclass(frozen=True)
class FitArguments:
    """Arguments of :func:`sparcode.fit`.

    Attributes:
        interactions: data frame; None = the configuration names the data.
        items, users: data frames or None.
        roles: columns of the interactions by role, None = not named.
        config: see ``fit``.
        output_dir: run directory.
        overrides: dotted key -> value.
        resume: continue from the last checkpoint.
    """

    interactions: Any
    items: Any
    users: Any
    roles: Mapping[str, str | None]
    config: ConfigLike | None
    output_dir: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False


def fit_run(arguments: FitArguments) -> Run:
    """See :func:`sparcode.fit`."""
    arguments = _without_config_as_data(arguments)
    document, source = _document(arguments.config)
    run_dir = arguments.output_dir
    _check_directory(run_dir, arguments.resume)
    if arguments.interactions is None:
        given = [name for name in ("items", "users") if getattr(arguments, name) is not None]
        given += [name for name, column in arguments.roles.items() if column is not None]
        if given:
            raise UsageError(
                f"{given[0]}= belongs to a data frame of interactions, and none is given", where="fit"
            )
        config = build_config(document, overrides_of(arguments.overrides), source)
    else:
        config = _fit_frames(arguments, document, source)

    from sparcode.pipeline.train import train_run

    train_run(TrainArguments(config, run_dir, arguments.resume))
    return Run(run_dir)


def _without_config_as_data(arguments: FitArguments) -> FitArguments:
    """A configuration may be given in the place of the data frame."""
    first = arguments.interactions
    if not isinstance(first, str | PathLike | Config):
        return arguments
    if arguments.config is not None:
        raise UsageError(
            "two configurations are given",
            where="fit",
            expected="a data frame as the first argument, or a configuration alone",
            received=f"{first!r} and config=",
        )
    if isinstance(first, str | PathLike) and Path(first).suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(
            "neither a data frame nor a configuration",
            where="fit",
            expected="a data frame, or a .yaml file",
            received=repr(str(first)),
            remedy="read the table first, or let preprocess.py --inspect write a configuration for it",
        )
    return FitArguments(**{**vars(arguments), "interactions": None, "config": first})


def _document(config: ConfigLike | None) -> tuple[Document, str]:
    """What a configuration states, and its name for messages."""
    if config is None:
        return Document({}, {}), "defaults"
    if isinstance(config, Config):
        return Document(config.model_dump(mode="json"), {}), "config"
    return read_config_file(Path(config)), str(config)


def _check_directory(run_dir: Path, resume: bool) -> None:
    """Refuse a directory that holds a run, or to resume one that does not."""
    last = run_dir / LAST
    if last.exists() and not resume:
        raise OutputError(
            "the run directory already holds a run",
            where=run_dir,
            remedy="choose another output_dir, delete it, or continue it with resume=True; "
            "sparcode.load opens it",
        )
    if resume and not last.exists():
        raise CheckpointError("there is no run to resume", where=run_dir, remedy="leave out resume=True")


def _fit_frames(arguments: FitArguments, document: Document, source: str) -> Config:
    """Make the data set in the run directory; the configuration that trains on it."""
    from sparcode.data.frames import Frames
    from sparcode.pipeline.preprocess import check_same_frames, preprocess_frames

    frames = Frames.of(arguments.interactions, arguments.items, arguments.users, arguments.roles)
    stated = document.values.get("data") or {}
    run_dir = arguments.output_dir
    place = str(run_dir / RUN_DATASET_NAME)
    section = {"name": run_dir.resolve().name, **frames.section(stated)}
    # the same path twice says that the data set belongs to the run, see config.run
    fixed = {"data.source": "table", "data.path": place, "data.dataset_dir": place}
    config = build_config(
        Document({**document.values, "data": section}, document.lines),
        [
            *overrides_of(arguments.overrides),
            *(Override(key, value, "data frames") for key, value in fixed.items()),
        ],
        source,
    )
    make = check_same_frames if arguments.resume else preprocess_frames
    make(frames, config.data, stated.get("path"))
    return config
