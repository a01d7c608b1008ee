"""The study of a tuning: trials on file, what they try next, which of them are best."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sparcode.config.search_space import Dimension
from sparcode.errors import DependencyError, UsageError

STUDY_FILE = "study.db"
ERROR = "error"
"""Attribute of a failed trial: why. One without it was interrupted."""

_BELONGS, _AGAIN = "belongs_to", "again"


@dataclass(frozen=True)
class Outcome:
    """A trial that was done.

    Attributes:
        number: of the trial, from 0.
        state: complete, pruned, failed or interrupted.
        params: dotted key -> value that was tried.
        value: best validation metric, None without one.
        epochs: after which the last metric was reported.
        seconds: that it took.
        error: why it failed.
        seeds: validation metric by further seed, None where training failed.
    """

    number: int
    state: str
    params: dict[str, Any]
    value: float | None
    epochs: int
    seconds: float
    error: str
    seeds: dict[int, float | None]

    @property
    def score(self) -> float | None:
        """Mean over all seeds; None without a value or where a seed failed."""
        values = [self.value, *self.seeds.values()]
        return None if None in values else mean(value for value in values if value is not None)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None with one."""
        values = [value for value in (self.value, *self.seeds.values()) if value is not None]
        return stdev(values) if len(values) > 1 else None


class TuningStudy:
    """An Optuna study in a directory, which every call continues.

    Args:
        directory: of the study; made.
        belongs_to: what is tuned in which space, plain data; a study on file must have the same.
        seed: of the sampler.
        warmup_epochs: before which no trial is pruned.

    Raises:
        DependencyError: Optuna is not installed.
        UsageError: the study in the directory is of another configuration or space.
    """

    def __init__(self, directory: Path, belongs_to: dict[str, Any], seed: int, warmup_epochs: int) -> None:
        if importlib.util.find_spec("optuna") is None:
            raise DependencyError(
                "tuning needs Optuna", where="tune.py", remedy="install it with pip install 'sparcode[tune]'"
            )
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial is no traceback
        directory.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=f"sqlite:///{directory / STUDY_FILE}",
            study_name="tune",
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup_epochs),
        )
        # a study that goes on must not draw its first trials once more
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
        text = json.dumps(belongs_to, sort_keys=True)
        if self.study.user_attrs.setdefault(_BELONGS, text) != text:
            raise UsageError(
                "the study there is of another configuration or search space",
                where=directory,
                remedy="continue it with the same, or choose another --output_dir",
            )
        self.study.set_user_attr(_BELONGS, text)

    def begin(self, values: Mapping[str, Any], space: Sequence[Dimension]) -> list[int]:
        """Enqueue what is to be tried first: the configuration itself, or else what was interrupted.

        Args:
            values: the configuration, dotted key -> value.
            space: what is searched.

        Returns:
            Numbers of the trials that were interrupted and have been enqueued again.
        """
        from optuna.trial import TrialState

        if not self.study.trials:
            searched = [d.including(values[d.key]) for d in space if d.applies(values)]
            stated = {d.key: values[d.key] for d in searched if d.contains(values[d.key])}
            self.study.enqueue_trial(stated)
            return []
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)  # its process is gone
        again = {trial.user_attrs.get(_AGAIN) for trial in self.study.trials}
        lost = [
            trial
            for trial in self.study.get_trials(states=(TrialState.FAIL,))
            if ERROR not in trial.user_attrs and trial.number not in again
        ]
        for trial in lost:
            self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})
        return [trial.number for trial in lost]

    def outcomes(self) -> list[Outcome]:
        """Trials that have ended, in their order."""
        found = []
        for trial in self.study.trials:
            if not trial.state.is_finished():
                continue
            error = trial.user_attrs.get(ERROR)
            state = trial.state.name.lower()
            if state == "fail":
                state = "interrupted" if error is None else "failed"
            seeds = self.study.user_attrs.get(f"seeds of {trial.number}", {})
            found.append(
                Outcome(
                    trial.number,
                    state,
                    trial.params,
                    trial.value if state in ("complete", "pruned") else None,
                    max(trial.intermediate_values, default=0),
                    trial.duration.total_seconds() if trial.duration else 0.0,
                    error or "",
                    {int(seed): value for seed, value in seeds.items()},
                )
            )
        return found

    def done(self) -> int:
        """Trials that came to an end by themselves."""
        return sum(outcome.state != "interrupted" for outcome in self.outcomes())

    def best(self, count: int) -> list[Outcome]:
        """The complete trials of the best values with their own seed, best first."""
        complete = [outcome for outcome in self.outcomes() if outcome.state == "complete"]
        return sorted(complete, key=lambda outcome: -(outcome.value or 0.0))[:count]

    def record_seed(self, outcome: Outcome, seed: int, value: float | None) -> None:
        """Keep the metric of a trial with another seed, None = the training failed."""
        key = f"seeds of {outcome.number}"
        seeds = self.study.user_attrs.get(key, {})
        self.study.set_user_attr(key, {**seeds, str(seed): value})


def suggest(trial: Any, space: Sequence[Dimension], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial tries: a value for every key that applies, in the order of the space.

    Args:
        trial: of Optuna.
        space: what is searched.
        values: the configuration, dotted key -> value; its values belong to the space.
    """
    chosen: dict[str, Any] = {}
    for stated in space:
        if not stated.applies({**values, **chosen}):
            continue
        dimension = stated.including(values[stated.key])
        if dimension.choices:
            chosen[dimension.key] = trial.suggest_categorical(dimension.key, list(dimension.choices))
        elif isinstance(dimension.low, int) and isinstance(dimension.high, int):
            chosen[dimension.key] = trial.suggest_int(
                dimension.key, dimension.low, dimension.high, log=dimension.log
            )
        else:
            chosen[dimension.key] = trial.suggest_float(
                dimension.key, dimension.low, dimension.high, log=dimension.log
            )
    return chosen
