"""What a trained model is worth beside popularity and crosses alone: a table, and a warning below either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

POPULARITY, CROSSES = "popularity", "crosses alone"
MODEL, WITH_CROSSES, INDEX = "network, exact", "with crosses, exact", "from the index"

Rows = Mapping[str, Mapping[str, float]]
"""Metrics by row; the last row is what is served."""


def table_of_rows(rows: Rows, metrics: Sequence[str]) -> list[str]:
    """Lines of a table with one column for each metric."""
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"{name:>12}" for name in metrics)]
    for name, values in rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{values[metric]:>12.4f}" for metric in metrics))
    return lines


def below_baseline(rows: Rows, metric: str, best_epoch: int, epochs: int) -> str | None:
    """One line when what is served, or the network alone, is below a baseline; None if nothing is.

    Args:
        rows: of the same users.
        metric: that checkpoints are chosen by.
        best_epoch: epoch of the best checkpoint, from 1.
        epochs: of the training.
    """
    values = {name: row[metric] for name, row in rows.items()}
    baselines = {name: values[name] for name in (POPULARITY, CROSSES) if name in values}
    best = max(baselines, key=lambda name: baselines[name])
    served, exact = list(values)[-1], WITH_CROSSES if WITH_CROSSES in values else MODEL
    if values[served] < baselines[best]:
        what, baseline = served, best
    elif values[MODEL] < values[POPULARITY]:
        what, baseline = MODEL, POPULARITY
    else:
        return None
    if what == INDEX and values[exact] >= baselines[best]:
        remedy = "exact scores are not: raise index.top_l or eval.rescore"
    else:
        remedy = _training_remedy(best_epoch, epochs)
    return f"{what}: below {baseline} ({metric} {values[what]:.4f} against {values[baseline]:.4f}): {remedy}"


def _training_remedy(best_epoch: int, epochs: int) -> str:
    if best_epoch >= 0.9 * epochs:
        return f"the last epochs were the best, train longer (train.epochs, now {epochs})"
    if best_epoch <= 0.5 * epochs:
        return f"epoch {best_epoch} of {epochs} was the best, lower train.learning_rate"
    return "lower train.learning_rate, or raise train.loss.num_negatives"
