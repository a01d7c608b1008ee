"""Composition of a comparison: runs -> evaluations on the same users -> differences, time and bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.config.arguments import EvalArguments
from sparcode.config.compare_command import CompareArguments
from sparcode.config.loader import flatten
from sparcode.config.run_choice import BEST
from sparcode.config.schema import Config
from sparcode.data.dataset import relevant_section
from sparcode.errors import DataError, SparcodeError, UsageError
from sparcode.evaluation.comparison import CONFIDENCE, NUM_RESAMPLES, SEED, PairedBootstrap
from sparcode.evaluation.comparison_plot import draw_comparison
from sparcode.evaluation.metrics import RANKING_METRICS
from sparcode.evaluation.per_user import PerUser, read_per_user, write_per_user
from sparcode.extras import import_extra
from sparcode.files import check_writable, write_json
from sparcode.pipeline.evaluate import identity, measure
from sparcode.pipeline.runs import open_run
from sparcode.training.checkpoint import read_checkpoint

_LOG = logging.getLogger(__name__)

PER_USER = "per_user"
"""Directory in a run for the metrics of every user."""

SAME_USERS = ("max_users", "first_items", "exclude_seen", "ks")
"""Keys of the eval section that say which queries are ranked for, and how far."""


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: for people; no other system has it.
        run: place of its run in the arguments.
        arguments: what is evaluated.
    """

    name: str
    run: int
    arguments: EvalArguments


def compare_runs(arguments: CompareArguments) -> dict[str, Any]:
    """Compare runs and write ``--json`` and ``--plot``; docs/comparing.md describes the result.

    Metrics of every user are taken from the files of a run where they belong to its checkpoint and settings;
    else they are measured, and kept there.

    Raises:
        UsageError: the runs were not trained on the same data, or are evaluated on other users; a metric that
            is not measured.
        DependencyError: ``--plot`` without matplotlib.
        CheckpointError, DataError, OutputError: as of eval.py.
    """
    for path in (arguments.json_path, arguments.plot_path):
        if path is not None:
            check_writable(path)
    if arguments.plot_path is not None:
        import_extra("matplotlib", "plot")
    fingerprints = [read_checkpoint(run.run_dir / BEST)[1].fingerprint for run in arguments.runs]
    _check_comparable(arguments.runs, fingerprints)
    names = _metric_names(arguments)
    systems = _systems(arguments)
    evaluations: dict[str, PerUser] = {}
    for number, run in enumerate(arguments.runs):
        wanted = [system for system in systems if system.run == number]
        evaluations |= _evaluations(run, wanted, fingerprints[number])
    result = _result(arguments, systems, [evaluations[system.name] for system in systems])
    result["shown"] = names
    if arguments.json_path is not None:
        write_json(arguments.json_path, result)
    if arguments.plot_path is not None:
        draw_comparison(result, names[-1], arguments.plot_path)
    return result


def _check_comparable(runs: Sequence[EvalArguments], fingerprints: Sequence[str]) -> None:
    """Raises UsageError unless all runs have the same data, split and users."""
    first = runs[0]
    for run, fingerprint in zip(runs[1:], fingerprints[1:], strict=True):
        if fingerprint != fingerprints[0]:
            mine, other = relevant_section(run.config.data), relevant_section(first.config.data)
            keys = [key for key in {**other, **mine} if mine.get(key) != other.get(key)]
            differing = ", ".join(
                f"data.{key} ({other.get(key)!r} there, {mine.get(key)!r} here)" for key in keys
            )
            raise UsageError(
                f"the run has another data set, or another split of it, than {first.run_dir}",
                where=run.run_dir,
                received=differing or f"fingerprint {fingerprint} instead of {fingerprints[0]}",
                remedy="compare runs of one data set",
            )
        for key in SAME_USERS:
            mine, other = getattr(run.config.eval, key), getattr(first.config.eval, key)
            if mine != other:
                raise UsageError(
                    f"the run is evaluated with another eval.{key} than {first.run_dir}",
                    where=run.run_dir,
                    expected=other,
                    received=mine,
                    remedy=f"give all runs the same with --set eval.{key}=...",
                )


def _metric_names(arguments: CompareArguments) -> list[str]:
    """Metrics to show, by default recall and NDCG at every cut-off."""
    ks = arguments.runs[0].config.eval.ks
    if arguments.metrics is None:
        return [f"{name}@{k}" for k in ks for name in ("recall", "ndcg")]
    known = [f"{name}@{k}" for k in ks for name in RANKING_METRICS]
    for name in arguments.metrics:
        if name not in known:
            raise UsageError("not measured", where="--metrics", expected=" | ".join(known), received=name)
    return list(arguments.metrics)


def _systems(arguments: CompareArguments) -> list[System]:
    """Popularity, the crosses alone (of each kind that a run has), then every run."""
    runs = arguments.runs
    names = [run.run_dir.resolve().name for run in runs]
    names = [
        name if names.count(name) == 1 else str(run.run_dir) for name, run in zip(names, runs, strict=True)
    ]
    systems = [_baseline("popularity", 0, runs[0], "popularity")]
    found: list[Any] = []
    for number, run in enumerate(runs):
        section = _cross_section(run.config)
        if section is not None and section not in found:
            name = "crosses" if not found else f"crosses of {names[number]}"
            systems.append(_baseline(name, number, run, "crosses"))
            found.append(section)
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        rescored = ", rescored" if run.config.eval.rescore else ""
        systems.append(System(f"{name} ({run.retriever}{rescored})", number, run))
        if arguments.exact and run.retriever != "exact":
            systems.append(_baseline(f"{name} (exact)", number, run, "exact"))
    return systems


def _baseline(name: str, number: int, run: EvalArguments, retriever: str) -> System:
    """A system of a run with another retriever than the run's own; nothing is rescored."""
    section = run.config.eval.model_copy(update={"rescore": 0})
    config = run.config.model_copy(update={"eval": section})
    return System(name, number, replace(run, retriever=retriever, config=config))


def _cross_section(config: Config) -> dict[str, Any] | None:
    """All that the ranking by crosses alone depends on; None without crosses."""
    if config.crosses.kind == "none":
        return None
    section = config.crosses.model_dump(exclude={"top_l", "weight"})
    return {**section, "max_history": config.crosses.max_history or config.data.max_history}


def _evaluations(run: EvalArguments, systems: Sequence[System], fingerprint: str) -> dict[str, PerUser]:
    """Evaluations of one run by name of the system: those on file, and the others measured and put there."""
    directory, opened = run.run_dir / PER_USER, None
    found: dict[str, PerUser] = {}
    stored = _stored(directory)
    for system in systems:
        belongs_to = identity(system.arguments, fingerprint)
        evaluation = next((other for other in stored if other.belongs_to == belongs_to), None)
        if evaluation is None:
            opened = opened or open_run(run.config, run.run_dir)
            evaluation = measure(replace(opened, config=system.arguments.config), system.arguments)
            write_per_user(directory / f"{run.split}-{system.arguments.retriever}.parquet", evaluation)
        else:
            _LOG.info("%s: metrics of %s", system.name, directory)
        found[system.name] = evaluation
    return found


def _stored(directory: Path) -> list[PerUser]:
    """What is on file; a file that cannot be read is passed over with a warning."""
    found = []
    for path in sorted(directory.glob("*.parquet")):
        try:
            found.append(read_per_user(path))
        except SparcodeError as error:
            _LOG.warning("%s", error)
    return found


def _result(
    arguments: CompareArguments, systems: Sequence[System], evaluations: Sequence[PerUser]
) -> dict[str, Any]:
    first = evaluations[0]
    for system, evaluation in zip(systems, evaluations, strict=True):
        if evaluation.users != first.users:
            raise DataError(
                f"{system.name} was evaluated for other users than {systems[0].name}",
                where=arguments.runs[system.run].run_dir,
                remedy=f"delete {PER_USER} in the run directory and compare again",
            )
    metrics = list(first.metrics)
    values = np.array([[evaluation.metrics[name] for evaluation in evaluations] for name in metrics])
    bootstrap = PairedBootstrap(values)
    baseline = next(
        place
        for place, system in enumerate(systems)
        if system.arguments is arguments.runs[arguments.baseline]
    )
    rows = []
    for place, (system, evaluation) in enumerate(zip(systems, evaluations, strict=True)):
        figures = {
            name: {
                **asdict(bootstrap.mean(number, place)),
                "difference": asdict(bootstrap.difference(number, place, baseline)),
            }
            for number, name in enumerate(metrics)
        }
        rows.append({**_row(system, evaluation.report), "metrics": figures})
    return {
        "dataset": first.report["dataset"],
        "split": first.report["split"],
        "num_queries": len(first.users),
        "num_items": first.report["num_items"],
        "baseline": systems[baseline].name,
        "confidence": CONFIDENCE,
        "num_resamples": NUM_RESAMPLES,
        "bootstrap_seed": SEED,
        "runs": [str(run.run_dir) for run in arguments.runs],
        "systems": rows,
        "differing_keys": _differing_keys([run.config for run in arguments.runs]),
    }


def _row(system: System, report: dict[str, Any]) -> dict[str, Any]:
    latency = report["latency_ms"]
    return {
        "name": system.name,
        "run_dir": str(system.arguments.run_dir),
        "model": report["model"],
        "retriever": report["retriever"],
        "seed": report["seed"],
        "microseconds": {
            stage: 1e3 * latency[f"{stage}_p50"]
            for stage in ("encode", "search", "rescore")
            if f"{stage}_p50" in latency
        },
        "size_bytes": report["size_bytes"],
        "postings_read": report["index"].get("postings_read_p50"),
        "beyond_accuracy": report["beyond_accuracy"],
    }


def _differing_keys(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """Keys of different values -> value in each run, None in a run whose model has no such key.

    Keys that one run alone has are options of its model, and where data lie makes no difference.
    """
    flat = [flatten(config.model_dump(mode="json")) for config in configs]
    keys = dict.fromkeys(key for values in flat for key in values)
    places = ("data.path", "data.dataset_dir")
    differing = {}
    for key in keys:
        values = [own[key] for own in flat if key in own]
        if key not in places and any(value != values[0] for value in values[1:]):
            differing[key] = [own.get(key) for own in flat]
    return differing
