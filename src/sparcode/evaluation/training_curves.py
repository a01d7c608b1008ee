"""Training curves of a run as an image, from its ``metrics.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparcode.errors import DataError, UsageError
from sparcode.extras import import_extra
from sparcode.files import check_writable

FORMATS = (".png", ".svg", ".pdf")
"""Endings of an image file."""


def check_plot(target: Path) -> None:
    """See before the work that an image can be written after it.

    Raises:
        UsageError: the ending names no format.
        DependencyError: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    if target.suffix.lower() not in FORMATS:
        raise UsageError("unknown format of an image", where=target, expected=" | ".join(FORMATS))
    import_extra("matplotlib.figure", "plot")
    check_writable(target)


def plot_training(run_dir: Path, target: Path, monitor: str) -> None:
    """Draw loss, validation metrics and, of a model with codes, their use over the epochs.

    Args:
        run_dir: run directory.
        target: image to write, ending in one of ``FORMATS``.
        monitor: metric that picks the best checkpoint; drawn thick, with a mark at its best epoch.

    Raises:
        DataError: the run has no record of an epoch, or a damaged one.
    """
    records = _read_records(run_dir / "metrics.jsonl")
    with_codes = [record for record in records if record.get("codebook")]
    figure = import_extra("matplotlib.figure", "plot").Figure(
        figsize=(4.5 * (3 if with_codes else 2), 3.6), layout="constrained"
    )
    panels = figure.subplots(1, 3 if with_codes else 2)
    panels[0].plot(*_series(records, "loss"), marker=".")
    panels[0].set_title("training loss")
    _draw_metrics(panels[1], [record for record in records if record.get("valid")], monitor)
    if with_codes:
        codebooks = [{"epoch": record["epoch"], **record["codebook"]} for record in with_codes]
        panels[2].plot(*_series(codebooks, "perplexity"), marker=".", label="perplexity")
        panels[2].set_title("perplexity of the codes")
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.grid(alpha=0.3)
        if with_codes:
            panel.axvline(with_codes[0]["epoch"] - 0.5, color="grey", linestyle=":")
    figure.suptitle(run_dir.resolve().name)
    figure.savefig(target)


def _draw_metrics(panel: Any, records: Sequence[dict[str, Any]], monitor: str) -> None:
    """Recall and NDCG of every validation, and the monitored metric."""
    panel.set_title("validation")
    if not records:
        return
    valid = [{"epoch": record["epoch"], **record["valid"]} for record in records]
    names = [name for name in valid[0] if name.startswith(("recall@", "ndcg@")) and name != monitor]
    for name in names:
        panel.plot(*_series(valid, name), marker=".", alpha=0.6, label=name)
    epochs, values = _series(valid, monitor)
    panel.plot(epochs, values, marker=".", linewidth=2.5, label=monitor)
    best = max(range(len(values)), key=values.__getitem__)
    panel.plot(epochs[best], values[best], marker="o", markersize=9, fillstyle="none", color="black")
    panel.legend(fontsize="small")


def _series(records: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    kept = [record for record in records if name in record]
    return [record["epoch"] for record in kept], [record[name] for record in kept]


def _read_records(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError("no metrics of a training", where=path, received=error.strerror) from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            complete = isinstance(record, dict) and {"epoch", "loss"} <= record.keys()
        except ValueError:
            complete = False
        if complete:
            records.append(record)
        elif number < len(lines):  # the last one may be being written
            raise DataError("not the record of an epoch", where=f"{path}, line {number}")
    if not records:
        raise DataError("no epoch is finished yet", where=path)
    return records
