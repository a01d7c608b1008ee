"""Rewrites the ladder's tables and plots of docs/reproduction.md from the reports of eval.py.

``python scripts/reproduction_tables.py``; a table stands between ``<!-- ladder amazon-beauty -->`` and
``<!-- end -->``. Figures are means over seeds, with the standard deviation where there are several.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

import ladder

METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "recall@50", "ndcg@50")
COSTS = ("MB", "postings read, p50 / p99", "encode p50, ms", "search p50, ms", "seeds")
BLOCK = re.compile(r"(<!-- ladder ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def reports_of(results: Path, label: str, row: str) -> list[dict[str, Any]]:
    """Reports of a row, all seeds."""
    name = re.compile(re.escape(f"{label}-{row}-seed") + r"\d+\.json")
    paths = sorted(path for path in results.glob(f"{label}-{row}-seed*.json") if name.fullmatch(path.name))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def spread(values: list[float]) -> str:
    """Mean, and the standard deviation of a sample of several, without the leading zero."""
    text = f"{statistics.mean(values):.4f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.4f}"
    return text.replace("0.", ".")


def metrics_of(reports: list[dict[str, Any]]) -> list[str]:
    """Metrics that every report of a table has."""
    return [metric for metric in METRICS if all(metric in report["metrics"] for report in reports)]


def _cells(row: ladder.Row, reports: list[dict[str, Any]], metrics: list[str]) -> list[str]:
    if not reports:
        return [row.title, "not run", *[""] * (len(metrics) + len(COSTS) - 1)]
    cells = [row.title] + [spread([report["metrics"][metric] for report in reports]) for metric in metrics]
    sizes = [report["size_bytes"] / 1e6 for report in reports if report.get("size_bytes")]
    cells.append(f"{statistics.mean(sizes):.2f}" if sizes else "")
    lists = [report["index"] for report in reports if report.get("index")]
    reads = [[index[f"postings_read_p{part}"] for index in lists] for part in (50, 99)] if lists else []
    cells.append(" / ".join(f"{statistics.mean(values):,.0f}" for values in reads))
    for stages in (("encode_p50",), ("search_p50", "rescore_p50")):
        times = [
            sum(report["latency_ms"].get(stage, 0.0) for stage in stages)
            for report in reports
            if stages[0] in report.get("latency_ms", {})
        ]
        cells.append(f"{statistics.mean(times):.3f}" if times else "")
    return [*cells, str(len(reports))]


def table_of(results: Path, label: str) -> str:
    """The Markdown table of one data set."""
    found = [(row, reports_of(results, label, row.name)) for row in ladder.ROWS]
    metrics = metrics_of([report for _, reports in found for report in reports])
    lines = [["test split", *metrics, *COSTS], ["---"] * (1 + len(metrics) + len(COSTS))]
    lines += [_cells(row, reports, metrics) for row, reports in found if reports or label in ladder.ENCODERS]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def draw(results: Path, label: str, path: Path) -> bool:
    """NDCG of every row that was run; false without matplotlib or rows."""
    rows = [(row, reports_of(results, label, row.name)) for row in reversed(ladder.ROWS)]
    rows = [(row, reports) for row, reports in rows if reports]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no plots")
        return False
    if not rows:
        return False
    figure = Figure(figsize=(7.5, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [row.title.strip("*") for row, _ in rows]
    for metric, marker in (("ndcg@10", "o"), ("ndcg@50", "s")):
        values = [[report["metrics"][metric] for report in reports] for _, reports in rows]
        deviations = [statistics.stdev(own) if len(own) > 1 else 0.0 for own in values]
        means = [statistics.mean(own) for own in values]
        axes.errorbar(means, names, xerr=deviations, fmt=marker, capsize=3, label=metric)
    axes.set_title(f"{label}, test split", loc="left")
    axes.set_xlabel("NDCG, higher is better; bars: standard deviation over seeds")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    return True


def rewrite(document: Path, results: Path) -> None:
    """Replace every table between its markers.

    Raises:
        SystemExit: the document has no markers.
    """
    text = document.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        raise SystemExit(f"error: no '<!-- ladder NAME -->' in {document}")

    def block(match: re.Match[str]) -> str:
        label, plot = match[2], document.parent / f"ladder-{match[2]}.png"
        picture = f"\n![{label}]({plot.name})\n" if draw(results, label, plot) or plot.exists() else ""
        return f"{match[1]}{table_of(results, label)}{picture}{match[3]}"

    document.write_text(BLOCK.sub(block, text), encoding="utf-8")


def main() -> None:
    docs = Path(__file__).resolve().parents[1] / "docs"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=docs / "results", help="default: docs/results")
    parser.add_argument("--document", type=Path, default=docs / "reproduction.md")
    arguments = parser.parse_args()
    rewrite(arguments.document, arguments.results)


if __name__ == "__main__":
    main()
