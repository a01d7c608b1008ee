"""Figures of the benchmarks, drawn from their JSON reports; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MARKERS = "os^vD<>Pp*Xh"


def draw_update(report: dict[str, Any], path: Path) -> None:
    """Time of a search after each step, and time of the step itself; one thread.

    Args:
        report: what ``bench_update.py --json`` writes.
        path: PNG or SVG file to write.
    """
    from matplotlib.figure import Figure

    rows = report["steps"]
    names = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    searches, steps = figure.subplots(2, 1, sharex=True)
    for column, label in (("single_us", "single call"), ("batch_us", "in a batch of 256")):
        searches.plot(names, [row[column] for row in rows], marker="o", label=label)
    searches.set_ylim(bottom=0)
    searches.set_ylabel("microseconds a query")
    searches.legend()
    steps.bar(names, [row["seconds"] for row in rows])
    steps.set_ylabel(f"seconds of the step ({report['items_a_step']:,} items)")
    steps.tick_params(axis="x", rotation=60)
    for axes in (searches, steps):
        axes.grid(alpha=0.3)
    searches.set_title(f"{report['shape']['num_items']:,} items, {report['shape']['num_terms']:,} terms")
    figure.savefig(path, dpi=120)


def draw_filter(report: dict[str, Any], path: Path) -> None:
    """Time of a filtered query over that of an unfiltered one, against the share of permitted items.

    Args:
        report: what ``bench_filter.py --json`` writes.
        path: PNG or SVG file to write.
    """
    from matplotlib.figure import Figure

    rows = [row for row in report["predicates"] if row["predicate"].startswith("rank <")]
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.subplots()
    shares = [100 * row["share"] for row in rows]
    for column, label in (("ratio", "filtered"), ("fill_ratio", "filtered, always k results")):
        axes.plot(shares, [row[column] for row in rows], marker="o", label=label)
    axes.axhline(1.5, linestyle="--", color="grey", label="target at 1 %")
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("items permitted, %")
    axes.set_ylabel("time relative to an unfiltered search")
    axes.set_title(f"{report['num_items']:,} items, batch of {report['batch']}, 1 thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def draw_scale(report: dict[str, Any], path: Path) -> None:
    """Accuracy on held-out items against time of a query: one column per size, single queries and batches.

    Args:
        report: what ``bench_scale.py --json`` writes.
        path: PNG or SVG file to write.
    """
    from matplotlib.figure import Figure

    sizes = report["sizes"]
    figure = Figure(figsize=(5.6 * len(sizes) + 2.6, 8.4), layout="constrained")
    grid = figure.subplots(2, len(sizes), squeeze=False, sharey="col")
    times = {"single_us": "one query at a time", "batch_us": "in a batch of 256"}
    for panels, (column, label) in zip(grid, times.items(), strict=True):
        for axes, result in zip(panels, sizes, strict=True):
            rows = [row for row in result["rows"] if row.get("single_us") and row["engine"] != "popularity"]
            _draw_engines(axes, rows, column)
            axes.set_xlabel(f"microseconds a query, {label}, 1 thread")
            axes.set_ylabel("NDCG@50 on held-out items")
            axes.set_title(f"{result['num_items']:,} items")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    figure.savefig(path, dpi=120)


def _draw_engines(axes: Any, rows: list[dict[str, Any]], column: str) -> None:
    """One line for each engine; a dashed line for the accuracy of the exact search."""
    for place, engine in enumerate(dict.fromkeys(row["engine"] for row in rows)):
        own = [row for row in rows if row["engine"] == engine]
        axes.plot(
            [row[column] for row in own],
            [row["ndcg@50"] for row in own],
            marker=_MARKERS[place],
            linewidth=2.5 if engine.startswith("sparcode") else 1.2,
            label=engine if engine != "two-tower" else "two-tower, exact",
        )
        if engine == "two-tower":
            axes.axhline(own[0]["ndcg@50"], linestyle="--", linewidth=1, color="grey", zorder=0)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.annotate(
        "better",
        xy=(0.02, 0.98),
        xytext=(0.16, 0.84),
        xycoords="axes fraction",
        va="center",
        arrowprops={"arrowstyle": "->", "color": "grey"},
        color="grey",
    )
