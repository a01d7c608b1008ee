"""Accuracy of compared systems against the time of a query, as an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparcode.errors import OutputError, UsageError

_MARKERS = "os^vD<>Pp*Xh"


def draw_comparison(result: dict[str, Any], metric: str, path: Path) -> None:
    """Mean of a metric, with its confidence interval, against the median time of a query.

    Args:
        result: of ``compare_runs``; systems whose time was not measured are left out.
        metric: such as ``ndcg@50``.
        path: image to write, of a format that matplotlib knows by the suffix.

    Raises:
        UsageError: no time was measured, or an unknown suffix.
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = [row for row in result["systems"] if row["microseconds"]]
    if not rows:
        raise UsageError("no time was measured", where="--plot", remedy="set eval.latency_queries")
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        figures = row["metrics"][metric]
        value = figures["value"]
        axes.errorbar(
            sum(row["microseconds"].values()),
            value,
            yerr=[[max(value - figures["low"], 0.0)], [max(figures["high"] - value, 0.0)]],
            marker=_MARKERS[number % len(_MARKERS)],
            capsize=3,
            linestyle="none",
            label=row["name"],
        )
    axes.set_xscale("log")
    axes.set_xlabel("microseconds a query, median, encoding and search (\N{LEFTWARDS ARROW} less is better)")
    axes.set_ylabel(
        f"{metric}, {100 * result['confidence']:g} % interval (\N{RIGHTWARDS ARROW} more is better)"
    )
    axes.set_title(f"{result['dataset']}, {result['split']}: {result['num_queries']:,} users")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:  # an unknown suffix
        raise UsageError(
            "unknown format of images", where="--plot", expected=".png, .svg or .pdf", received=path
        ) from error
    except OSError as error:
        raise OutputError("cannot write the plot", where=path, received=error.strerror) from error
