"""SparCode on MindSpore: candidate matching with sparse retrievable cross-interactions.

The functions here are the public face. Importing it loads neither MindSpore nor NumPy: each function loads
what it needs when it is called. Recommending from an exported bundle is :class:`sparcode.serving.Retriever`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from sparcode.api import Run
    from sparcode.config import Config
    from sparcode.serving.export.exporter import BundleReport

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "export", "fit", "load"]


def fit(
    config: str | PathLike[str] | Config | None = None,
    *,
    output_dir: str | PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> Run:
    """Train a model as train.py does; the data set is made when its directory is missing.

    Args:
        config: configuration, or a YAML file with the keys that differ from the defaults; None = defaults.
        output_dir: run directory to write.
        overrides: dotted key -> value, before what ``config`` says: ``{"train.epochs": 5}``.
        resume: continue from the last checkpoint in ``output_dir``.

    Raises:
        SparcodeError: a configuration, data or directory that does not do; the error says which.
    """
    from sparcode.api import fit_run

    return fit_run(config, output_dir, overrides or {}, resume)


def load(run_dir: str | PathLike[str]) -> Run:
    """A run that has been trained before.

    Raises:
        ConfigError: there is no run in the directory.
    """
    from sparcode.api import Run

    return Run(run_dir)


def evaluate(
    run_dir: str | PathLike[str],
    *,
    split: str = "test",
    retriever: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate a run by full ranking, see :meth:`sparcode.api.Run.evaluate`."""
    return load(run_dir).evaluate(split=split, retriever=retriever, overrides=overrides)


def export(
    run_dir: str | PathLike[str],
    output: str | PathLike[str],
    *,
    overrides: Mapping[str, Any] | None = None,
) -> BundleReport:
    """Write the bundle of a run, see :meth:`sparcode.api.Run.export`."""
    return load(run_dir).export(output, overrides=overrides)
