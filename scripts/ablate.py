"""What an index costs and gives: its size, search time and accuracy at many settings of a trained run.

With ``--train CONFIG`` the trained ablations as well: tokens, codebooks, quantization, item length, scorers
and negatives, each trained from nothing with one thing changed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands

from sparcode.config.loader import load_config
from sparcode.config.run import is_open

PROBES = (1, 2, 4, 8)
PACKINGS = ("float32", "float16", "uint8")
TOP_LS = (0, 2000, 800, 400, 200)
PLAIN = "crosses.kind=none"
"""Crosses have lists of their own: without them the curves show those of the tokens."""

FEW_NEGATIVES = ("train.loss.negatives=uniform", "train.loss.num_negatives=64")
"""For networks whose pairs cost too much to score the whole catalogue at every step."""

TRAINED: dict[str, tuple[str, ...]] = {
    "as configured": (),
    "4 tokens of width 16": ("model.num_query_tokens=4", "model.token_size=16"),
    "8 tokens of width 8": ("model.num_query_tokens=8", "model.token_size=8"),
    "32 tokens of width 2": ("model.num_query_tokens=32", "model.token_size=2"),
    "64 codewords": ("model.quantizer.codebook_size=64",),
    "1,024 codewords": ("model.quantizer.codebook_size=1024",),
    "2 codebooks of 16": ("model.quantizer.num_codebooks=2", "model.quantizer.codebook_size=16"),
    "2 codebooks of 32": ("model.quantizer.num_codebooks=2", "model.quantizer.codebook_size=32"),
    "one set of codebooks for all tokens": ("model.quantizer.shared=true",),
    "every query quantized": ("train.quantized_share=1",),
    "every query, from the start": ("train.quantize_from=0", "train.quantized_share=1"),
    "items of any length": ("model.item_length=0",),
    "64 negatives": FEW_NEGATIVES,
    "64 negatives, scorer mlp": (
        "model.scorer.name=mlp", "train.quantized_share=1", *FEW_NEGATIVES,
    ),
    "64 negatives, relu of every score": ("model.signed_scores=false", *FEW_NEGATIVES),
}  # fmt: skip
"""Settings over those of the configuration; the index is that of the configuration, without crosses.

What the configuration says already is not trained twice.
"""

METRICS = ("recall@10", "ndcg@10", "recall@50", "ndcg@50")
BLOCK = "<!-- {kind} {name} -->\n"
END = "<!-- end -->"


def points() -> Iterator[dict[str, Any]]:
    """Settings to evaluate: probes and scores of complete lists, then the length of 8-bit lists."""
    for packing in PACKINGS:
        for probes in PROBES:
            yield {"packing": packing, "probes": probes, "top_l": 0}
    for top_l in TOP_LS[1:]:
        for probes in (1, 4):
            yield {"packing": "uint8", "probes": probes, "top_l": top_l}


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
        **{metric: found["metrics"][metric] for metric in METRICS},
        "search_p50_ms": found["latency_ms"]["search_p50"],
    }


def ablate_index(arguments: argparse.Namespace, chosen: list[str]) -> list[dict[str, Any]]:
    """A row for every point, evaluated with the chosen settings as well."""
    rows = []
    for point in points():
        name = "index-{packing}-probes-{probes}-top-{top_l}.json".format(**point)
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
    if name == "top_l" and not value:
        return "all"
    if name in METRICS:
        return f"{value:.4f}".lstrip("0")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(rows: list[dict[str, Any]], name: str, path: Path) -> None:
    """NDCG@10 against size of the index and against search time; needs matplotlib.

    Lines go through growing numbers of probes or lengths of lists.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["top_l"] == 0:
            series.setdefault(f"{row['packing']}, complete lists", []).append(row)
        if row["packing"] == "uint8" and row["probes"] in (1, 4):
            series.setdefault(f"uint8, {row['probes']} probe(s), cut lists", []).append(row)
    for axes, key, label in zip(
        panels, ("mb", "search_p50_ms"), ("index, MB", "search p50, ms"), strict=True
    ):
        for title, own in series.items():
            own = sorted(own, key=lambda row: (row["probes"], row["top_l"] or math.inf))
            axes.plot([row[key] for row in own], [row["ndcg@10"] for row in own], marker="o", label=title)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("NDCG@10, test split")
    panels[0].legend(fontsize="small")
    figure.suptitle(name)
    figure.savefig(path, dpi=120)


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
