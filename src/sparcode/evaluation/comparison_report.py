"""A comparison as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WIDEST_NAME = 34


def render_comparison(result: dict[str, Any]) -> str:
    """The result of ``compare_runs`` as a table: metrics with differences, time and bytes, differing keys."""
    width = min(max(len(row["name"]) for row in result["systems"]), _WIDEST_NAME)
    lines = [
        f"{result['dataset']}, {result['split']} split: {result['num_queries']:,} users, "
        f"{result['num_items']:,} items",
        f"differences from {result['baseline']}, {100 * result['confidence']:g} % intervals of a paired "
        f"bootstrap",
    ]
    for name in result["shown"]:
        lines += ["", f"{name:<{width}} {'value':>8} {'difference':>11} {'interval':>20} {'p':>7}"]
        for row in result["systems"]:
            lines.append(
                f"{_named(row, width)} {_metric(row['metrics'][name], row['name'] == result['baseline'])}"
            )
    head = f"{'p50 of a query':<{width}} {'encode us':>10} {'search us':>10} {'reads':>9} {'bytes':>13}"
    lines += ["", head]
    lines += [f"{_named(row, width)} {_cost(row)}" for row in result["systems"]]
    return "\n".join([*lines, *_keys(result["differing_keys"], result["runs"])])


def _named(row: dict[str, Any], width: int) -> str:
    name = row["name"]
    return f"{name if len(name) <= width else '...' + name[3 - width :]:<{width}}"


def _metric(figures: dict[str, Any], is_baseline: bool) -> str:
    if is_baseline:
        return f"{figures['value']:>8.4f}"
    difference = figures["difference"]
    interval = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
    return f"{figures['value']:>8.4f} {difference['value']:>+11.4f} {interval:>20} {difference['p']:>7.4f}"


def _cost(row: dict[str, Any]) -> str:
    times = row["microseconds"]
    search = times["search"] + times.get("rescore", 0.0) if "search" in times else None
    columns = (
        (times.get("encode"), 10, ",.1f"),
        (search, 10, ",.1f"),
        (row["postings_read"], 9, ","),
        (row["size_bytes"], 13, ","),
    )
    return " ".join(
        f"{'-' if value is None else format(value, form):>{width}}" for value, width, form in columns
    )


def _keys(differing: dict[str, list[Any]], runs: Sequence[str]) -> list[str]:
    if len(runs) < 2:
        return []
    if not differing:
        return ["", "the runs have the same configuration"]
    lines = ["", f"keys that differ ({' | '.join(runs)}):"]
    for key, values in differing.items():
        lines.append(f"  {key}: {' | '.join('-' if value is None else str(value) for value in values)}")
    return lines
