"""Which run, and which bundle, a command line means: named in one of several ways, or chosen."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from sparcode.config.by_size import filled_from
from sparcode.config.loader import config_differences, load_config
from sparcode.config.run import RUN_CONFIG_NAME
from sparcode.config.schema import Config
from sparcode.errors import OutputError, SparcodeError, UsageError

RUNS, BUNDLES = Path("runs"), Path("bundles")
"""Where runs and bundles lie unless the command line says otherwise."""

FINISHED_NAME = "finished.json"
"""File that a training leaves in its run directory when it is done."""

BEST, LAST = Path("checkpoints/best.ckpt"), Path("checkpoints/last.ckpt")
"""Checkpoints of a run directory."""

_DEPTH = 3  # of runs below RUNS: the quick start has directories of its own there

_LOG = logging.getLogger(__name__)


def is_finished(run_dir: Path) -> bool:
    """Whether a training came to its end there."""
    return (run_dir / FINISHED_NAME).is_file() and (run_dir / BEST).is_file()


def new_run(config: Config) -> tuple[Path, bool]:
    """Where a training goes that names no directory, and whether it is finished there already.

    It is ``runs/<data.name>-<model.name>``, with a number behind it when that holds a finished run of another
    configuration.

    Raises:
        OutputError: there is a run that was not finished.
    """
    for run_dir in _numbered(config):
        if not is_finished(run_dir):
            break
        if _is_run_of(run_dir, config):
            return run_dir, True
        _LOG.info("%s holds a run of another configuration", run_dir)
    if (run_dir / LAST).exists():
        raise OutputError(
            "the run in it is not finished",
            where=run_dir,
            remedy="add --resume to continue it, or name another directory with --output_dir",
        )
    _LOG.info("training into %s", run_dir)
    return run_dir, False


def run_to_resume(config: Config) -> Path:
    """The last run that a training without a named directory has left unfinished.

    Raises:
        UsageError: there is none.
    """
    found = None
    for run_dir in _numbered(config):
        if not run_dir.exists():
            break
        if (run_dir / LAST).exists() and not is_finished(run_dir):
            found = run_dir
    if found is None:
        raise UsageError(
            "no run to resume",
            where=next(_numbered(config)),
            expected="a run that was interrupted",
            remedy="name it with --output_dir RUN, or leave out --resume",
        )
    _LOG.info("resuming %s", found)
    return found


def _numbered(config: Config) -> Iterator[Path]:
    name = re.sub(r"[^\w.-]+", "-", f"{config.data.name}-{config.model.name}")
    yield RUNS / name
    for number in count(2):
        yield RUNS / f"{name}-{number}"


def _is_run_of(run_dir: Path, config: Config) -> bool:
    """Whether the run has this configuration, on whatever device, and whatever it leaves to the data."""
    try:
        stored = load_config(run_dir / RUN_CONFIG_NAME)
        wanted = filled_from(config, stored)
    except SparcodeError:  # of another version, say
        return False
    return all(key.startswith("device.") for key in config_differences(stored, wanted))


def chosen_run(named: Mapping[str, Path | None]) -> Path:
    """The run that a command line names, or else the newest finished one below ``runs``.

    Args:
        named: how it was named -> the directory, None = not so.

    Raises:
        UsageError: different ones are named, or there is none to choose.
    """
    run_dir = the_only_one(named)
    if run_dir is None:
        return newest_run()
    if not run_dir.exists():
        near = difflib.get_close_matches(run_dir.name, _names_beside(run_dir), n=1)
        raise UsageError(
            "no such run directory",
            where=run_dir,
            remedy=f"did you mean {run_dir.with_name(near[0])}?" if near else "train.py writes one",
        )
    return run_dir


def the_only_one(named: Mapping[str, Path | None]) -> Path | None:
    """The directory that is named, however often; None if none is.

    Raises:
        UsageError: different ones are named.
    """
    given = {name: path for name, path in named.items() if path is not None}
    if len({path.resolve() for path in given.values()}) > 1:
        pairs = " and ".join(f"{name} {path}" for name, path in given.items())
        raise UsageError(f"{pairs} contradict each other", remedy="name one directory")
    return next(iter(given.values()), None)


def newest_run() -> Path:
    """The finished run below ``runs`` whose training ended last.

    Raises:
        UsageError: there is none.
    """
    ends = [
        path.parent
        for depth in range(1, _DEPTH + 1)
        for path in RUNS.glob("/".join([*["*"] * depth, FINISHED_NAME]))
        if is_finished(path.parent)
    ]
    if not ends:
        raise UsageError(
            "no finished run",
            where=RUNS.resolve(),
            remedy="train one with python train.py, or name a run directory: python eval.py RUN",
        )
    newest = max(ends, key=lambda path: ((path / FINISHED_NAME).stat().st_mtime_ns, path))
    _LOG.info("newest finished run: %s", newest)
    return newest


def run_of_checkpoint(path: Path | None, wanted: Path = BEST) -> Path | None:
    """The run directory of a checkpoint file, or of itself.

    Args:
        path: value of ``--checkpoint_path``; None = not given.
        wanted: the checkpoint of a run that the script reads.

    Raises:
        UsageError: there is no such file, or the script does not read it.
    """
    if path is None or path.is_dir():
        return path.parent if path is not None and path.name == wanted.parent.name else path
    if not path.exists():
        raise UsageError("no such checkpoint", where="--checkpoint_path", received=path)
    if path.name != wanted.name or path.absolute().parent.name != wanted.parent.name:
        raise UsageError(
            "another checkpoint than the one that is read",
            where="--checkpoint_path",
            expected=f"RUN/{wanted} or RUN",
            received=path,
        )
    return path.parent.parent


def new_bundle(run_dir: Path) -> Path:
    """Where the bundle of a run goes that names no directory.

    Raises:
        OutputError: there is something already.
    """
    path = BUNDLES / run_dir.resolve().name
    if path.exists():
        raise OutputError(
            "exists already", where=path, remedy=f"add --output {path} to replace it, or name another place"
        )
    _LOG.info("exporting to %s", path)
    return path


def newest_bundle() -> Path:
    """The bundle below ``bundles`` that was written last.

    Raises:
        UsageError: there is none.
    """
    found = [path.parent for path in BUNDLES.glob("*/manifest.json")]
    if not found:
        raise UsageError(
            "no bundle",
            where=BUNDLES.resolve(),
            remedy="write one with python export.py, or name a bundle: python infer.py BUNDLE",
        )
    newest = max(found, key=lambda path: ((path / "manifest.json").stat().st_mtime_ns, path))
    _LOG.info("newest bundle: %s", newest)
    return newest


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
