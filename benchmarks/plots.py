"""Figures of the benchmarks, drawn from their JSON reports; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MARKERS = "os^vD<>Pp*Xh"


def draw_search(report: dict[str, Any], path: Path) -> None:
    """Time of a query in a batch against recall, one panel per workload; one thread.

    Args:
        report: what ``bench_search.py --json`` writes.
        path: PNG or SVG file to write.
    """
    from matplotlib.figure import Figure

    works = report["workloads"]
    figure = Figure(figsize=(6.2 * len(works), 4.6), layout="constrained")
    for axes, work in zip(figure.subplots(1, len(works), squeeze=False)[0], works, strict=True):
        rows = [row for row in work["points"] if row["threads"] == 1]
        for place, engine in enumerate(dict.fromkeys(row["engine"] for row in rows)):
            own = [row for row in rows if row["engine"] == engine]
            axes.plot(
                [row["batch_us"] for row in own],
                [1.0 if row["recall"] is None else row["recall"] for row in own],
                marker=_MARKERS[place % len(_MARKERS)],
                linestyle="-" if len(own) > 2 and engine != "sparcode-kernel" else "",
                label=engine,
            )
        axes.set_xscale("log")
        axes.set_xlabel("microseconds a query, batch of 256, 1 thread")
        axes.set_ylabel(f"recall@{report['k']} against the engine's own model")
        axes.set_title(work["name"])
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=120)
