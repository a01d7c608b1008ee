"""The report of an evaluation as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_FIRST_ROWS = ("recall", "ndcg")
_CUTS_IN_A_ROW = 6  # cut-offs side by side in 80 columns
_PARTS = ("metrics", "beyond_accuracy", "fidelity", "index", "latency_ms")


def render(report: dict[str, Any], verbose: bool = False) -> str:
    """The report as text, in lines of at most 80 characters where its names are not longer.

    Args:
        report: of ``evaluate_run``; parts may be missing or empty.
        verbose: every figure of the report follows, one a line, by its name in ``--json``.
    """
    blocks = [list(_head(report)), *_grids(report["metrics"]), list(_facts(report))]
    if verbose:
        blocks.append(list(_figures(report)))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(report: dict[str, Any]) -> Iterator[str]:
    rescored = f", best {report['rescore']:,} rescored" if report.get("rescore") else ""
    yield f"{report['dataset']}, {report['split']} split: {report['num_queries']:,} queries, " + (
        f"{report['num_items']:,} items"
    )
    model = f"{report['model']} ({report['encoder']}), seed {report['seed']}"
    yield f"{model}, by {report['retriever']}{rescored}"


def _grids(metrics: dict[str, float]) -> Iterator[list[str]]:
    """A row for each metric, a column for each cut-off."""
    keys = [key.split("@") for key in metrics if "@" in key]
    names = sorted(dict.fromkeys(name for name, _ in keys), key=lambda name: name not in _FIRST_ROWS)
    cuts = sorted({int(cut) for _, cut in keys})
    left = max(map(len, names), default=0)
    for start in range(0, len(cuts), _CUTS_IN_A_ROW):
        part = cuts[start : start + _CUTS_IN_A_ROW]
        rows = [" " * left + "".join(f"{f'@{cut}':>11}" for cut in part)]
        for name in names:
            cells = [metrics.get(f"{name}@{cut}") for cut in part]
            text = "".join(" " * 11 if cell is None else f"{cell:>11.4f}" for cell in cells)
            rows.append(f"{name.ljust(left)}{text}".rstrip())
        yield rows


def _facts(report: dict[str, Any]) -> Iterator[str]:
    """What is recommended, size and reads of the index, how true it is to the model, time of a query."""
    yield from _recommended(report.get("beyond_accuracy") or {})
    index, fidelity, times = (report.get(part) or {} for part in ("index", "fidelity", "latency_ms"))
    size = report.get("size_bytes")
    if index.get("num_postings") is not None:
        reads = f", a query reads {index['postings_read_p50']:,}" if "postings_read_p50" in index else ""
        yield f"index: {byte_text(index['size_bytes'])}, {index['num_postings']:,} postings{reads}"
    elif size is not None:
        yield f"size: {byte_text(size)}"
    recalls = {key.partition("@")[2]: value for key, value in fidelity.items() if "index_recall@" in key}
    for k, value in recalls.items():
        change = fidelity.get(f"ndcg_change@{k}")
        cost = "" if change is None else f", NDCG@{k} {change:+.4f}"
        yield f"against scoring every item: {100 * value:.1f} % of the top {k} found{cost}"
    if times:
        stages = [
            f"{name} {times[f'{name}_p50']:.3g} ms"
            for name in ("encode", "search", "rescore")
            if f"{name}_p50" in times
        ]
        yield f"time of a query, median: {', '.join(stages)}"


def _recommended(figures: dict[str, Any]) -> Iterator[str]:
    cuts = [int(name.partition("@")[2]) for name in figures if name.startswith("coverage@")]
    if cuts:
        k = max(cuts)
        coverage, percentile = figures[f"coverage@{k}"], figures[f"popularity_percentile@{k}"]
        yield f"top {k} of all: {100 * coverage:.1f} % of the items, popularity percentile {percentile:.0f}"


def _figures(report: dict[str, Any]) -> Iterator[str]:
    for part in _PARTS:
        for name, value in _flat(report.get(part) or {}, part):
            if value is not None:
                yield f"{name} = {_short(value)}"


def _flat(part: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The figures of a part, those of its groups as ``part.group.name``."""
    for name, value in part.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def byte_text(size: int) -> str:
    """Bytes with a decimal unit: ``1.5 MB``."""
    value, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{size:,} bytes" if units[0] == "bytes" else f"{value:.3g} {units[0]}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
