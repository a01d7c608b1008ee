"""Composition of a tuning: a configuration and a search space -> trials, the best configuration, a table."""

from __future__ import annotations

import csv
import gc
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# sets MindSpore's environment variables: before anything that imports MindSpore
from sparcode.training import runtime  # isort: skip

from sparcode.config.arguments import TrainArguments
from sparcode.config.loader import flatten
from sparcode.config.run_choice import LAST
from sparcode.config.tune_command import TuneArguments
from sparcode.config.yaml_text import write_document
from sparcode.errors import ConfigError, TrainingError, UsageError
from sparcode.files import replacing_file, write_text
from sparcode.pipeline.decided import decided
from sparcode.pipeline.runs import load_data
from sparcode.pipeline.train import fit_run
from sparcode.training.study import ERROR, Outcome, TuningStudy, suggest

_LOG = logging.getLogger(__name__)

REPEATED = 3
"""Best trials that are repeated with other seeds, and whose checkpoints are kept until one is chosen."""

FAULTS = (TrainingError, ConfigError, RuntimeError, MemoryError)
"""What ends a trial and not the study: a loss that diverges, keys that contradict each other, memory."""

_SHOWN = 10
_COLUMNS = ("trial", "state", "value", "mean", "deviation", "seeds", "epochs", "seconds", "error")


def tune(arguments: TuneArguments) -> str:
    """Search for the configuration with the best validation metric; docs/comparing.md describes the files.

    The data set is prepared once. Trials and repetitions that a study in the directory has already are not
    done again; an interrupted trial is.

    Returns:
        The trials as a table.

    Raises:
        DependencyError: Optuna is not installed.
        UsageError: several workers, or a study of something else in the directory.
        TrainingError: no trial came to its end.
        ConfigError, DataError, OutputError: as of train.py.
    """
    config = arguments.config
    if runtime.configure(config.device, config.seed).size > 1:
        raise UsageError("tuning runs in one process", where="tune.py", remedy="start it without msrun")
    values = flatten(decided(config, load_data(config)).model_dump(mode="json"))
    belongs_to = {"config": config.model_dump(mode="json", exclude={"device"}), "space": _plain(arguments)}
    study = TuningStudy(arguments.output_dir, belongs_to, config.seed, max(config.train.epochs // 4, 1))
    for number in study.begin(values, arguments.space):
        shutil.rmtree(_run_dir(arguments, number), ignore_errors=True)
    try:
        _search(arguments, study, values)
        best = _repeat(arguments, study)
    except KeyboardInterrupt:
        _LOG.info("the same command continues the study in %s", arguments.output_dir)
        raise
    finally:
        _write_trials(arguments.output_dir / "trials.csv", study.outcomes())
    _keep_checkpoints(arguments, study, [best.number])
    write_text(arguments.output_dir / "best.yaml", _best_text(arguments, study, best))
    return _table(arguments, study, best, values)


def _search(arguments: TuneArguments, study: TuningStudy, values: dict[str, Any]) -> None:
    """The trials that are left to do.

    Raises:
        TrainingError: none came to its end.
    """
    import optuna

    def objective(trial: Any) -> float:
        chosen = suggest(trial, arguments.space, values)
        monitor = arguments.config.train.monitor
        _LOG.info("trial %d: %s", trial.number, ", ".join(f"{key} {_short(chosen[key])}" for key in chosen))

        def after_epoch(record: dict[str, Any]) -> None:
            if "valid" in record:
                trial.report(record["valid"][monitor], record["epoch"])
                if trial.should_prune():
                    _LOG.info("trial %d: pruned after epoch %d", trial.number, record["epoch"])
                    raise optuna.TrialPruned

        run_dir = _run_dir(arguments, trial.number)
        shutil.rmtree(run_dir, ignore_errors=True)
        try:
            run = TrainArguments(arguments.config_with(chosen), run_dir, resume=False)
            return fit_run(run, after_epoch).state.best
        except FAULTS as error:
            trial.set_user_attr(ERROR, str(error).partition("\n")[0] or type(error).__name__)
            _LOG.warning("trial %d failed: %s", trial.number, error)
            raise
        finally:
            gc.collect()

    def after_trial(*_: Any) -> None:
        _keep_checkpoints(arguments, study, [outcome.number for outcome in study.best(REPEATED)])

    left = arguments.trials - study.done()
    _LOG.info("%d of %d trials are left to do", max(left, 0), arguments.trials)
    if left > 0:
        study.study.optimize(
            objective, n_trials=left, timeout=arguments.timeout, catch=FAULTS, callbacks=[after_trial]
        )
    if not study.best(1):
        errors = [outcome.error for outcome in study.outcomes() if outcome.error]
        raise TrainingError(
            "no trial came to its end",
            where=arguments.output_dir,
            received=errors[-1] if errors else None,
            remedy="raise --trials or narrow the search space",
        )


def _repeat(arguments: TuneArguments, study: TuningStudy) -> Outcome:
    """Train the best trials with further seeds; the best of them on average, none of whose seeds failed."""
    first = arguments.config.seed
    for outcome in study.best(REPEATED):
        for seed in range(first + 1, first + arguments.repeat_seeds):
            if seed in outcome.seeds:
                continue
            _LOG.info("trial %d again with seed %d", outcome.number, seed)
            run_dir = _run_dir(arguments, outcome.number, seed)
            shutil.rmtree(run_dir, ignore_errors=True)
            value = None
            try:
                config = arguments.config_with({**outcome.params, "seed": seed})
                value = fit_run(TrainArguments(config, run_dir, resume=False)).state.best
            except FAULTS as error:
                _LOG.warning("trial %d failed with seed %d: %s", outcome.number, seed, error)
            study.record_seed(outcome, seed, value)
            shutil.rmtree(run_dir / LAST.parent, ignore_errors=True)
            gc.collect()
    return max(study.best(REPEATED), key=lambda outcome: -1.0 if outcome.score is None else outcome.score)


def _run_dir(arguments: TuneArguments, number: int, seed: int | None = None) -> Path:
    name = f"{number:04d}" if seed is None else f"{number:04d}-seed{seed}"
    return arguments.output_dir / "trials" / name


def _keep_checkpoints(arguments: TuneArguments, study: TuningStudy, kept: Sequence[int]) -> None:
    """Remove the checkpoints of all trials that have ended but some, of which the best one is kept."""
    for outcome in study.outcomes():
        run_dir = _run_dir(arguments, outcome.number)
        if outcome.number in kept:
            (run_dir / LAST).unlink(missing_ok=True)
        else:
            shutil.rmtree(run_dir / LAST.parent, ignore_errors=True)


def _plain(arguments: TuneArguments) -> list[dict[str, Any]]:
    """The search space as JSON has it."""
    return [
        {**vars(d), "origin": None, "choices": list(d.choices), "when": repr(d.when)} for d in arguments.space
    ]


def _best_text(arguments: TuneArguments, study: TuningStudy, best: Outcome) -> str:
    """A configuration for train.py, with its origin in a comment."""
    spread = (
        "" if best.deviation is None else f", deviation {best.deviation:.4f} over {1 + len(best.seeds)} seeds"
    )
    head = (
        f"# Trial {best.number} of {study.done()} of tune.py: mean valid {arguments.config.train.monitor} "
        f"{best.score or best.value:.4f}{spread}.\n"
    )
    return head + write_document(arguments.document_with(best.params))


def _write_trials(path: Path, outcomes: Sequence[Outcome]) -> None:
    """All trials as CSV: the columns of the table, then a column for each key that was searched."""
    keys = sorted({key for outcome in outcomes for key in outcome.params})
    with replacing_file(path) as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow([*_COLUMNS, *keys])
        for outcome in outcomes:
            rows.writerow(
                [
                    outcome.number,
                    outcome.state,
                    outcome.value,
                    outcome.score,
                    outcome.deviation,
                    1 + len(outcome.seeds),
                    outcome.epochs,
                    round(outcome.seconds, 1),
                    outcome.error,
                    *(outcome.params.get(key) for key in keys),
                ]
            )


def _table(arguments: TuneArguments, study: TuningStudy, best: Outcome, values: dict[str, Any]) -> str:
    """The best trials, and what the best one changes."""
    outcomes, monitor = study.outcomes(), arguments.config.train.monitor
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    lines = [
        f"{arguments.config.data.name}, {arguments.config.model.name}: {counts}; valid {monitor}",
        "",
        f"{'trial':>5} {'own seed':>9} {'mean':>8} {'deviation':>9} {'seeds':>5} {'epochs':>6} "
        f"{'seconds':>8}",
    ]
    for outcome in study.best(_SHOWN):
        deviation = "-" if outcome.deviation is None else f"{outcome.deviation:.4f}"
        score = "failed" if outcome.score is None else f"{outcome.score:.4f}"
        mark = "  best" if outcome.number == best.number else ""
        lines.append(
            f"{outcome.number:>5} {outcome.value:>9.4f} {score:>8} {deviation:>9} "
            f"{1 + len(outcome.seeds):>5} {outcome.epochs:>6} {outcome.seconds:>8.1f}{mark}"
        )
    changed = {key: value for key, value in best.params.items() if values.get(key) != value}
    lines += ["", "the best changes:" if changed else "the best is the configuration itself"]
    lines += [f"  {key}: {_short(values.get(key))} -> {_short(value)}" for key, value in changed.items()]
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
