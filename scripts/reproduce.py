"""One table of the accuracy ladder from nothing: trains, evaluates, rewrites the tables."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import commands
import ladder
import reproduction_tables

QUICK_EVAL = ("eval.max_users=200", "eval.fidelity_queries=50", "eval.latency_queries=20")
QUICK = ("train.epochs=1", "train.batch_size=1024", "train.validation_users=100", *QUICK_EVAL)


def settings_of(arguments: argparse.Namespace, seed: int) -> list[str]:
    """Settings of a training."""
    settings = [f"seed={seed}", f"data.dataset_dir={arguments.work}/datasets/{arguments.dataset}"]
    if arguments.data:
        settings.append(f"data.path={arguments.data}")
    return settings + list(QUICK if arguments.quick else ()) + arguments.settings


def reproduce_row(arguments: argparse.Namespace, row: ladder.Row, seed: int) -> None:
    """Train what the row needs, unless an earlier row has, and evaluate it."""
    config = commands.ROOT / "configs" / arguments.dataset / f"{row.model}_{arguments.encoder}.yaml"
    if not config.is_file():
        print(f"{row.name}: not run, there is no {config.relative_to(commands.ROOT)}", flush=True)
        return
    table = ladder.label(arguments.dataset, arguments.encoder)
    run_dir = (
        arguments.work / f"runs{'-quick' if arguments.quick else ''}" / f"{table}-{row.model}-seed{seed}"
    )
    commands.train(config, run_dir, settings_of(arguments, seed))
    curve = arguments.results / f"{table}-{row.model}-training-seed{seed}.jsonl"
    shutil.copyfile(run_dir / "metrics.jsonl", curve)
    flags = commands.set_flags([*row.settings, *(QUICK_EVAL if arguments.quick else ())])
    if row.rescore:
        flags += ["--rescore", str(row.rescore)]
    report = arguments.results / ladder.report_name(table, row.name, seed)
    commands.evaluate(run_dir, row.retriever, report, *flags)


def main() -> None:
    parser = argparse.ArgumentParser(prog="reproduce.sh", description=__doc__)
    parser.add_argument("dataset", choices=tuple(ladder.ENCODERS))
    parser.add_argument("--seeds", default="0", help='seeds, for example "0 1 2" (default: 0)')
    parser.add_argument("--quick", action="store_true", help="one epoch, few users: tries the commands")
    parser.add_argument("--encoder", help="default: that of the headline table")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ladder.ROWS], help="default: all")
    parser.add_argument("--data", help="raw files (default: where the configurations expect them)")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="runs and data sets")
    parser.add_argument(
        "--results", type=Path, help="reports (default: docs/results; with --quick in --work)"
    )
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], help="one key of every training"
    )
    arguments = parser.parse_args()
    arguments.encoder = arguments.encoder or ladder.ENCODERS[arguments.dataset][0]
    if arguments.encoder not in ladder.ENCODERS[arguments.dataset]:
        parser.error(f"--encoder {arguments.encoder}: one of {', '.join(ladder.ENCODERS[arguments.dataset])}")
    try:
        seeds = [int(seed) for seed in arguments.seeds.split()]
    except ValueError:
        parser.error(f"--seeds {arguments.seeds!r} are not whole numbers")
    docs = commands.ROOT / "docs"
    document = docs / "reproduction.md"
    if arguments.quick:
        arguments.results = arguments.results or arguments.work / "results-quick"
    arguments.results = arguments.results or docs / "results"
    arguments.results.mkdir(parents=True, exist_ok=True)
    if arguments.results != docs / "results":
        document = shutil.copyfile(document, arguments.results / "reproduction.md")
    for seed in seeds:
        for row in ladder.ROWS:
            if arguments.rows is None or row.name in arguments.rows:
                reproduce_row(arguments, row, seed)
    reproduction_tables.rewrite(document, arguments.results)
    print(f"tables written to {document}")


if __name__ == "__main__":
    main()
