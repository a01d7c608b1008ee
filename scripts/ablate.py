"""What each setting of an index costs and gives: one at a time around a base, on a trained run.

With ``--train CONFIG`` the trained ablations as well: codes, tokens, joint training, scorers and negatives,
each trained from nothing with one thing changed.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands

from sparcode.config.loader import load_config
from sparcode.config.run import is_open

BASE = {"top_l": 200, "probes": 4, "probe_temperature": 1.0, "prior_strength": "null", "packing": "uint8"}
VARIED: dict[str, tuple[Any, ...]] = {
    "top_l": (25, 50, 100, 200, 400, 800),
    "probes": (1, 2, 4, 8, 16),
    "probe_temperature": (0.2, 0.5, 1.0, 2.5),
    "prior_strength": (30.0, 100.0, 300.0, 1000.0, "null"),
    "packing": ("uint8", "float32"),
}
PLAIN = "crosses.kind=none"
"""Crosses have lists of their own: without them the curves show those of the tokens."""

FEW_NEGATIVES = ("train.loss.negatives=uniform", "train.loss.num_negatives=64")
"""For networks whose pairs cost too much to score the whole catalogue at every step."""

TRAINED: dict[str, tuple[str, ...]] = {
    "as configured": (),
    "1,024 codes": ("model.quantizer.codebook_size=1024",),
    "2,048 codes": ("model.quantizer.codebook_size=2048",),
    "16,384 codes": ("model.quantizer.codebook_size=16384",),
    "2 tokens": ("model.num_query_tokens=2",),
    "16 tokens of width 4, 256 codes each": (
        "model.num_query_tokens=16", "model.token_size=4", "model.quantizer.codebook_size=256",
    ),
    "trained with codes, half of the queries": ("train.quantize_from=0.5", "train.quantized_share=0.5"),
    "trained with codes, every query": ("train.quantize_from=0.5",),
    "items of any length": ("model.item_length=0",),
    "64 negatives": FEW_NEGATIVES,
    "64 negatives, scorer mlp": ("model.scorer.name=mlp", "train.quantize_from=0.5", *FEW_NEGATIVES),
}  # fmt: skip
"""Settings over those of the configuration; the index is that of the configuration, without crosses.

What the configuration says already is not trained twice.
"""

METRICS = ("recall@10", "ndcg@10", "recall@50", "ndcg@50")
BLOCK = "<!-- {kind} {name} -->\n"
END = "<!-- end -->"


def points() -> Iterator[dict[str, Any]]:
    """Settings to evaluate: the base, and the base with one of them changed."""
    yield dict(BASE)
    for name, values in VARIED.items():
        for value in values:
            if value != BASE[name]:
                yield {**BASE, name: value}


def evaluation_settings(arguments: argparse.Namespace) -> list[str]:
    """Settings of the evaluations of a trained run: all but those that only its trainings can have.

    Without a training every setting is one of an evaluation, which refuses what it cannot take.
    """
    settings: list[str] = arguments.settings
    if arguments.train is None:
        return settings
    return [setting for setting in settings if is_open(setting.partition("=")[0])]


def measured(run_dir: Path, report: Path, settings: list[str]) -> dict[str, Any]:
    """The figures of one setting of a run's index."""
    found = commands.evaluate(run_dir, "index", report, *commands.set_flags([PLAIN, *settings]))
    return {
        "mb": found["index"]["size_bytes"] / 1e6,
        "postings_read": found["index"]["postings_read_p50"],
        **{metric: found["metrics"][metric] for metric in METRICS},
        "search_p50_ms": found["latency_ms"]["search_p50"],
    }


def ablate_index(arguments: argparse.Namespace, chosen: list[str]) -> list[dict[str, Any]]:
    """A row for every point, evaluated with the chosen settings as well."""
    rows = []
    for point in points():
        name = "index-" + "-".join(f"{key}-{value}" for key, value in point.items()) + ".json"
        settings = [*(f"index.{key}={value}" for key, value in point.items()), *chosen]
        rows.append(
            {**point, **measured(arguments.run_dir, arguments.work / arguments.name / name, settings)}
        )
    return rows


def ablate_training(arguments: argparse.Namespace, chosen: list[str]) -> list[dict[str, Any]]:
    """A row for every trained ablation, trained with the chosen settings as well."""
    rows = []
    plain = load_config(arguments.train, [])
    for title, settings in TRAINED.items():
        if settings and load_config(arguments.train, settings) == plain:
            continue
        run_dir = arguments.work / f"{arguments.name}-trained" / re.sub(r"\W+", "-", title)
        commands.train(arguments.train, run_dir, [*settings, *chosen])
        figures = measured(run_dir, run_dir / "index.json", [])
        minutes = commands.training_usage(run_dir)["cpu_seconds"] / 60
        rows.append({"what": title, **figures, "training, processor min": minutes})
    return rows


def table_of(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows with the same keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(name, value) for name, value in row.items()] for row in rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _cell(name: str, value: Any) -> str:
    if name == "postings_read":
        return f"{value:,}"
    if name in METRICS:
        return f"{value:.4f}".lstrip("0")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(rows: list[dict[str, Any]], name: str, path: Path) -> None:
    """A panel for each setting that takes numbers: NDCG@10 against its values; needs matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    varied = [key for key in VARIED if key != "packing"]
    figure = Figure(figsize=(3.2 * len(varied), 3.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(varied), sharey=True), varied, strict=True):
        own = [row for row in rows if all(row[other] == BASE[other] for other in BASE if other != key)]
        own.sort(key=lambda row: VARIED[key].index(row[key]))
        axes.plot(range(len(own)), [row["ndcg@10"] for row in own], marker="o")
        axes.set_xticks(range(len(own)), [_tick(row, key) for row in own], fontsize="x-small")
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(f"index.{key}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("NDCG@10, higher is better")
    figure.suptitle(f"{name}: one setting at a time; below each value the postings that a query reads")
    figure.savefig(path, dpi=120)


def _tick(row: dict[str, Any], key: str) -> str:
    value = "network" if row[key] == "null" else f"{row[key]:g}"
    return f"{value}\n{row['postings_read']:,}"


def rewrite(document: Path, kind: str, name: str, text: str) -> None:
    """Replace the text between the markers of a table, or add the table at the end.

    Args:
        document: Markdown file.
        kind: ``index`` or ``trained``.
        name: of the run.
        text: what stands between.
    """
    start = BLOCK.format(kind=kind, name=name)
    whole = document.read_text(encoding="utf-8")
    if start in whole:
        before, _, rest = whole.partition(start)
        after = rest.partition(END)[2]
    else:
        before, after = f"{whole}\n", "\n"
    document.write_text(f"{before}{start}{text}{END}{after}", encoding="utf-8")


def main() -> None:
    docs = commands.ROOT / "docs"
    parser = argparse.ArgumentParser(prog="ablate.sh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_dir", type=Path, help="run directory of a sparcode model")
    parser.add_argument("--name", help="of tables and files (default: that of the run directory)")
    parser.add_argument("--train", type=Path, metavar="CONFIG", help="train the ablations of CONFIG as well")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        help="one key of every training; of every evaluation too if it can be set there",
    )
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="runs and single reports")
    parser.add_argument("--docs", type=Path, default=docs, help="directory with ablation.md (default: docs)")
    arguments = parser.parse_args()
    if not (arguments.run_dir / "config.yaml").is_file():
        parser.error(f"{arguments.run_dir} is not a run directory")
    arguments.name = arguments.name or arguments.run_dir.resolve().name
    document = arguments.docs / "ablation.md"
    if not document.exists():
        document.write_text("# Ablations\n", encoding="utf-8")
    kinds = [("index", ablate_index, evaluation_settings(arguments))]
    if arguments.train:
        kinds.append(("trained", ablate_training, arguments.settings))
    for kind, ablate, chosen in kinds:
        rows = ablate(arguments, chosen)
        report = arguments.docs / "results" / f"{arguments.name}-ablation-{kind}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        text = table_of(rows)
        if kind == "index":
            picture = arguments.docs / f"ablation-{arguments.name}.png"
            draw(rows, arguments.name, picture)
            text += f"\n![{arguments.name}]({picture.name})\n"
        if chosen:
            text += f"\nWith `{shlex.join(commands.set_flags(chosen))}`.\n"
        rewrite(document, kind, arguments.name, text)
    print(f"tables written to {document}")


if __name__ == "__main__":
    main()
