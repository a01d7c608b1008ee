"""SparCode on MindSpore: candidate matching with sparse retrievable cross-interactions.

The functions here are the public face, docs/python.md shows their use. Importing it loads neither MindSpore
nor NumPy: each function loads what it needs when it is called. They are quiet: ``verbose=True`` shows
progress, warnings arrive as ``sparcode.SparcodeWarning``, and errors that a user can mend are
``sparcode.SparcodeError``.

Example:
    >>> import sparcode
    >>> run = sparcode.fit(interactions, items=items, output_dir="runs/shop")
    >>> run.evaluate()
    >>> run.recommend(users=["u1"], k=10)
    >>> run.export("bundles/shop")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcode.errors import SparcodeError, SparcodeWarning

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

    from sparcode.api import BundleDirectory, Report, Run
    from sparcode.config import Config

__version__ = "0.1.0"
__all__ = [
    "SparcodeError",
    "SparcodeWarning",
    "__version__",
    "evaluate",
    "export",
    "fit",
    "load",
    "recommend",
]


def fit(
    interactions: Any = None,
    *,
    output_dir: str | PathLike[str],
    items: Any = None,
    users: Any = None,
    config: str | PathLike[str] | Config | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    rating: str | None = None,
    event: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> Run:
    """Train a model on data frames, or as train.py does on the data that a configuration names.

    A data frame is one of pandas, polars, or anything with the Arrow PyCapsule interface (pyarrow, DuckDB).
    What its columns are is guessed by their names and contents, unless ``config`` has ``data.table`` or the
    keywords below say it. The data set is kept in ``output_dir``; paths of files in ``config`` are not read.

    Args:
        interactions: a row for each event: user, item, and time if it is known. Or a configuration, as
            ``config``: then the data are those that it names.
        output_dir: run directory to write.
        items: a row for each item: its id and features. It is the catalogue: items nobody has met stay.
        users: a row for each user: id and features.
        config: configuration, or a YAML file with the keys that differ from the defaults; None = defaults.
        user: column of the interactions with user ids.
        item: column with item ids.
        time: column with times.
        rating: column with ratings.
        event: column with the kind of event.
        overrides: dotted key -> value, before what ``config`` says: ``{"train.epochs": 5}``.
        resume: continue from the last checkpoint in ``output_dir``, with the same data frames.
        verbose: show progress on stderr, or as bars in a notebook.

    Raises:
        SparcodeError: a configuration, data frame or directory that does not do; the error says which.

    Example:
        >>> run = sparcode.fit(views, items=products, output_dir="runs/shop", user="uid", item="sku")
        >>> run = sparcode.fit("configs/synthetic/sparcode.yaml", output_dir="runs/synthetic")
    """
    from sparcode.api.fitting import FitArguments, fit_run
    from sparcode.api.quiet import shown

    roles = {"user": user, "item": item, "time": time, "rating": rating, "event": event}
    arguments = FitArguments(
        interactions, items, users, roles, config, Path(output_dir), overrides or {}, resume
    )
    with shown(verbose):
        return fit_run(arguments)


def load(path: str | PathLike[str]) -> Run | BundleDirectory:
    """Open a run that has been trained, or a bundle that has been exported.

    Raises:
        ConfigError: there is neither in the directory.
        BundleError: the bundle's manifest is damaged.

    Example:
        >>> sparcode.load("runs/shop").evaluate()
        >>> sparcode.load("bundles/shop").load().recommend([{"history": ["a1"]}], k=10)
    """
    from sparcode.api import BundleDirectory, Run
    from sparcode.serving.manifest import is_bundle

    return BundleDirectory(path) if is_bundle(Path(path)) else Run(path)


def evaluate(
    run_dir: str | PathLike[str],
    *,
    split: str = "test",
    retriever: str | None = None,
    per_user: bool = False,
    baselines: bool = True,
    overrides: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> Report:
    """Evaluate a run by full ranking, see :meth:`sparcode.api.Run.evaluate`.

    Example:
        >>> sparcode.evaluate("runs/shop", split="valid").metrics["ndcg@10"]
    """
    from sparcode.api import Run

    return Run(run_dir).evaluate(
        split=split,
        retriever=retriever,
        per_user=per_user,
        baselines=baselines,
        overrides=overrides,
        verbose=verbose,
    )


def recommend(
    run_dir: str | PathLike[str],
    users: Iterable[str | int] | None = None,
    *,
    histories: Iterable[Sequence[str | int]] | None = None,
    k: int = 10,
    where: str | None = None,
    exclude_seen: bool = True,
    verbose: bool = False,
) -> pd.DataFrame:
    """Recommend from a run, see :meth:`sparcode.api.Run.recommend`, which keeps the index for later calls.

    Example:
        >>> sparcode.recommend("runs/shop", users=["u1"], k=5)
    """
    from sparcode.api import Run

    return Run(run_dir).recommend(
        users, histories=histories, k=k, where=where, exclude_seen=exclude_seen, verbose=verbose
    )


def export(
    run_dir: str | PathLike[str],
    output: str | PathLike[str],
    *,
    with_histories: bool = False,
    overrides: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> BundleDirectory:
    """Write the bundle of a run, see :meth:`sparcode.api.Run.export`.

    Example:
        >>> bundle = sparcode.export("runs/shop", "bundles/shop")
    """
    from sparcode.api import Run

    return Run(run_dir).export(output, with_histories=with_histories, overrides=overrides, verbose=verbose)
