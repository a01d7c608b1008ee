"""Which retrievers can serve which model."""

from __future__ import annotations

import shlex
from pathlib import Path

from sparcode.config.schema import Config
from sparcode.errors import UsageError

RETRIEVERS = {
    "sparcode": ("index", "exact", "crosses", "popularity"),
    "two_tower": ("exact", "hnsw", "ivf", "crosses", "popularity"),
    "max_sim": ("exact", "crosses", "popularity"),
    "mol": ("exact", "crosses", "popularity"),
    "all_to_all": ("exact", "crosses", "popularity"),
}
"""Retrievers that can serve a model, the default first. An ANN index (hnsw, ivf) needs dot products, the
inverted index needs codes; exhaustive scoring (exact) and the popularity baseline work for every model.
``crosses`` ranks by the crosses of the configuration alone, a baseline as well."""

RESCORED = {"sparcode": ("index",), "two_tower": ("exact", "hnsw", "ivf")}
"""Of these, the ones whose best items the network can rescore."""

EXPORTED = ("sparcode", "two_tower")
"""Models that have a deployment bundle."""

ALL_RETRIEVERS = ("index", "exact", "hnsw", "ivf", "crosses", "popularity")


def suitable_retriever(config: Config, asked: str | None, run_dir: Path) -> str:
    """The retriever that was asked for, or the default of the model.

    Args:
        config: of the run.
        asked: value of ``--retriever``, None = not given.
        run_dir: of the run, for messages.

    Raises:
        UsageError: it cannot serve the model, or there is nothing to rescore in what it finds.
    """
    model = config.model.name
    able = RETRIEVERS.get(model, ("exact", "popularity"))  # what works for every model
    retriever = asked or able[0]
    if retriever not in able:
        raise UsageError(
            f"--retriever {retriever} cannot serve a {model} model",
            where=run_dir,
            expected=" | ".join(able),
        )
    rescored = RESCORED.get(model, ())
    if config.eval.rescore and retriever not in rescored:
        raise UsageError(
            f"what --retriever {retriever} finds for a {model} model cannot be rescored",
            where="eval.rescore",
            expected=f"--retriever {' | '.join(rescored)}" if rescored else "0",
            received=config.eval.rescore,
        )
    return retriever


def next_commands(run_dir: Path, config: Config) -> list[str]:
    """What to type after a training: how to evaluate the run, and how to export it.

    A run that is not exported is compared with popularity instead.
    """
    run = shlex.quote(str(run_dir))
    exports = config.model.name in EXPORTED
    second = f"python export.py {run}" if exports else f"python eval.py {run} --retriever popularity"
    return [f"python eval.py {run}", second]
