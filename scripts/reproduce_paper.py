"""The paper's tables: trains and evaluates every configuration of one of its data sets, and compares."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import commands

MODELS = ("two_tower", "sparcode", "all_to_all")
METRICS = ("precision@50", "recall@50", "ndcg@50")
QUICK = ("train.epochs=1", "train.validation_users=200", "eval.max_users=500", "eval.fidelity_queries=100")

# Percent, from the tables of the paper (SIGIR 2023): precision, recall and NDCG at 50.
PUBLISHED: dict[tuple[str, str, str], tuple[float, float, float]] = {
    ("deezer-svd", "popularity", ""): (8.92, 3.01, 9.72),
    ("deezer-svd", "two_tower", "dnn"): (10.40, 3.79, 10.54),
    ("deezer-svd", "sparcode", "dnn"): (17.80, 6.53, 19.37),
    ("deezer-svd", "two_tower", "attention"): (11.22, 4.11, 11.33),
    ("deezer-svd", "sparcode", "attention"): (19.08, 6.85, 20.72),
    ("deezer-svd", "all_to_all", "attention"): (19.17, 6.96, 20.75),
    ("deezer-mf", "popularity", ""): (8.92, 3.01, 9.72),
    ("deezer-mf", "two_tower", "dnn"): (17.42, 6.09, 18.60),
    ("deezer-mf", "sparcode", "dnn"): (23.45, 8.41, 25.20),
    ("deezer-mf", "two_tower", "attention"): (19.39, 6.93, 21.15),
    ("deezer-mf", "sparcode", "attention"): (24.13, 8.69, 25.99),
    ("deezer-mf", "all_to_all", "attention"): (26.35, 9.65, 28.23),
    ("ml-10m", "two_tower", "dnn"): (8.124, 26.534, 17.690),
    ("ml-10m", "two_tower", "gru4rec"): (8.356, 28.261, 18.473),
    ("ml-10m", "two_tower", "sasrec"): (8.754, 29.828, 19.202),
    ("ml-10m", "sparcode", "dnn"): (8.393, 27.184, 18.295),
    ("ml-10m", "sparcode", "gru4rec"): (8.888, 29.492, 20.050),
    ("ml-10m", "sparcode", "sasrec"): (9.020, 30.142, 20.480),
    ("ml-10m", "all_to_all", "sasrec"): (9.378, 31.946, 21.950),
}


@dataclass(frozen=True)
class Variant:
    """One data set of the paper.

    Attributes:
        name: in reports and run directories.
        configs: directory of the configurations.
        encoders: encoders with configurations there.
        settings: what is set besides.
        raw_file: whose presence tells that the raw data are there.
        raw_path: where the configurations expect them.
    """

    name: str
    configs: str
    encoders: tuple[str, ...]
    settings: tuple[str, ...]
    raw_file: str
    raw_path: str


DEEZER_ENCODERS = ("dnn", "attention")
SONGS = "song_embeddings.parquet"
VARIANTS = {
    "deezer": (
        Variant("deezer-svd", "deezer", DEEZER_ENCODERS, (), SONGS, "raw/deezer"),
        Variant("deezer-mf", "deezer", DEEZER_ENCODERS, ("data.deezer.embeddings=mf",), SONGS, "raw/deezer"),
    ),
    "ml-10m": (
        Variant("ml-10m", "ml-10m", ("dnn", "gru4rec", "sasrec"), (), "ratings.dat", "raw/ml-10m/ml-10M100K"),
    ),
}  # fmt: skip


def raw_data(arguments: argparse.Namespace, variant: Variant) -> Path:
    """Directory of the raw files; generated ones if asked for.

    Raises:
        SystemExit: they are not there.
    """
    if arguments.sample is None:
        raw = Path(arguments.data or variant.raw_path)
        if not (raw / variant.raw_file).is_file():
            raise SystemExit(
                f"error: no {variant.raw_file} in {raw}: run 'bash scripts/download_data.sh "
                f"{arguments.dataset} raw/{arguments.dataset}', name the directory with --data, or try the "
                "commands with --sample 0.02"
            )
        return raw
    raw = Path(arguments.work) / f"{variant.name}-sample-{arguments.sample:g}"
    if not (raw / commands.FINISHED).exists():
        flags = (
            ["--embeddings", variant.name.removeprefix("deezer-")] if arguments.dataset == "deezer" else []
        )
        commands.run(
            "scripts/make_paper_sample.py",
            arguments.dataset,
            str(raw),
            "--scale",
            str(arguments.sample),
            *flags,
        )
        (raw / commands.FINISHED).touch()
    return raw


def settings_of(arguments: argparse.Namespace, variant: Variant, raw: Path) -> list[str]:
    """Settings of training and preprocessing, from where the data lie."""
    label = variant.name if arguments.sample is None else raw.name
    settings = [*variant.settings, f"data.path={raw}", f"data.dataset_dir={arguments.work}/datasets/{label}"]
    if arguments.sample is not None:
        settings.append(f"data.name={label}")
    if arguments.quick:
        settings += QUICK
    return settings + (arguments.settings or [])


def reproduce(arguments: argparse.Namespace, variant: Variant) -> list[dict[str, str]]:
    """Preprocess, train and evaluate; rows of the table."""
    raw = raw_data(arguments, variant)
    settings = settings_of(arguments, variant, raw)
    configs = commands.ROOT / "configs" / variant.configs
    first = configs / f"two_tower_{variant.encoders[0]}.yaml"
    usage = commands.run("preprocess.py", "--config_path", str(first), *commands.set_flags(settings))
    print(
        f"preprocess.py: {usage.seconds:.0f} s, {usage.cpu_seconds:.0f} s of processor time, "
        f"{usage.peak_gb:.2f} GB"
    )
    rows = []
    work = Path(arguments.work) / f"runs{'-quick' if arguments.quick else ''}" / raw.name / variant.name
    for encoder in [name for name in variant.encoders if name in arguments.encoders]:
        for model in arguments.models:
            run_dir = work / f"{model}-{encoder}"
            commands.train(configs / f"{model}_{encoder}.yaml", run_dir, settings)
            retriever = "index" if model == "sparcode" else "exact"
            started = run_dir / f"{retriever}.json"
            report = commands.evaluate(run_dir, retriever, started)
            rows.append(_row(arguments, variant, model, encoder, report["metrics"], run_dir))
            if not rows[1:]:
                report = commands.evaluate(run_dir, "popularity", run_dir / "popularity.json")
                rows.insert(0, _row(arguments, variant, "popularity", "", report["metrics"], None))
    return rows


def _row(
    arguments: argparse.Namespace,
    variant: Variant,
    model: str,
    encoder: str,
    metrics: dict[str, float],
    run_dir: Path | None,
) -> dict[str, str]:
    row = {"data": variant.name, "model": model, "encoder": encoder}
    published = PUBLISHED.get((variant.name, model, encoder))
    for place, metric in enumerate(METRICS):
        row[metric] = f"{100 * metrics[metric]:.2f}"
        if arguments.sample is None:
            row[f"paper {metric}"] = f"{published[place]:.2f}" if published else ""
    if run_dir is not None:
        usage = commands.training_usage(run_dir)
        row["training, min"] = f"{usage['seconds'] / 60:.1f}"
        row["processor, min"] = f"{usage['cpu_seconds'] / 60:.1f}"
        row["peak, GB"] = f"{usage['peak_gb']:.2f}"
    return row


def print_rows(rows: list[dict[str, str]]) -> None:
    """A Markdown table, columns in the order of the longest row."""
    columns = list(max(rows, key=len))
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row.get(column, "") for column in columns) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="reproduce_paper.sh", description=__doc__)
    parser.add_argument("dataset", choices=tuple(VARIANTS))
    parser.add_argument(
        "--data", help="directory of the raw files (default: where download_data.sh puts them)"
    )
    parser.add_argument(
        "--sample", type=float, help="use generated files of this scale, 1 = that of the data"
    )
    parser.add_argument("--quick", action="store_true", help="one epoch, few users, to try the commands")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--encoders", nargs="+", default=["dnn", "attention", "gru4rec", "sasrec"])
    parser.add_argument("--variants", nargs="+", help="deezer-svd, deezer-mf (default: both)")
    parser.add_argument("--work", default="runs/paper", help="directory for runs, data sets, generated files")
    parser.add_argument("--set", dest="settings", action="append", help="set one key of every configuration")
    arguments = parser.parse_args()
    rows = []
    for variant in VARIANTS[arguments.dataset]:
        if arguments.variants is None or variant.name in arguments.variants:
            rows += reproduce(arguments, variant)
    if arguments.sample is not None:
        print("\nGenerated data: these figures show that the commands work, and nothing else.")
    print_rows(rows)


if __name__ == "__main__":
    main()
