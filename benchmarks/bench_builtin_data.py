"""What every term of the built-in data is worth, and to whom: terms are switched off one by one.

``python benchmarks/bench_builtin_data.py``: one row for each world, one column for each model, NDCG@50 on the
test split. Models are two-towers of configs/synthetic/two_tower.yaml, with another encoder or without
features; ``crosses`` is the ranking by them alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reporting import add_output_options, machine, print_table, write_report

from sparcode.config.command_lines import EvalArguments, TrainArguments
from sparcode.config.loader import load_config
from sparcode.config.schema import Config
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.pipeline.train import train_run

ROOT = Path(__file__).resolve().parents[1]
METRIC = "ndcg@50"
WORLDS = {
    "all terms": [],
    "no popularity": ["data.synthetic.popularity=0.0"],
    "no followers": ["data.synthetic.followers=0.0"],
    "no sessions": ["data.synthetic.session_stay=0.0"],
    "features tell nothing": ["data.synthetic.telling_features=0.0"],
}
IDS_ALONE = ["data.use_user_features=false", "data.use_item_features=false"]
NO_ITEM_FEATURES, NO_USER_FEATURES = ["data.use_item_features=false"], ["data.use_user_features=false"]
DNN = ["model.encoder.name=dnn", "model.encoder.hidden_size=128"]
MODELS = {
    "dnn": DNN,
    "sasrec, ids": IDS_ALONE,
    "sasrec, ids, user features": NO_ITEM_FEATURES,
    "sasrec, item features": NO_USER_FEATURES,
    "sasrec": [],
}
SMALL = [
    *("data.synthetic.num_users=200", "data.synthetic.num_items=100", "train.epochs=1"),
    *("eval.fidelity_queries=0", "train.validate_every=1"),
]


def main() -> None:
    """Print the table."""
    arguments = _arguments()
    worlds, models = list(WORLDS.items()), MODELS
    if arguments.small:
        worlds, models = worlds[:2], {name: MODELS[name] for name in ("dnn", "sasrec")}
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for number, (world, settings) in enumerate(worlds):
            place = Path(directory) / str(number)
            common = [*settings, f"data.dataset_dir={place / 'dataset'}", "eval.latency_queries=0"]
            common += [*(SMALL if arguments.small else []), *arguments.set]
            row = {"world": world, **dict(_figures(arguments.config_path, common, place, models))}
            rows.append({name: round(value, 4) if name != "world" else value for name, value in row.items()})
            print_table(rows, list(rows[0]))
    write_report(arguments.json, {"machine": machine(), "metric": METRIC, "rows": rows})


def _figures(
    path: Path, common: list[str], place: Path, models: dict[str, list[str]]
) -> Iterator[tuple[str, float]]:
    """NDCG@50 of every ranking in one world."""
    for name, settings in models.items():
        config = load_config(path, [*common, *settings])
        run_dir = place / name.replace(", ", "-").replace(" ", "_")
        train_run(TrainArguments(config, run_dir, resume=False))
        if name == "dnn":
            yield "popularity", _evaluate(config, run_dir, "popularity")
            yield "crosses", _evaluate(config, run_dir, "crosses")
        yield name, _evaluate(load_config(path, [*common, *settings, "crosses.kind=none"]), run_dir, "exact")
    yield "sasrec + crosses", _evaluate(config, run_dir, "exact")


def _evaluate(config: Config, run_dir: Path, retriever: str) -> float:
    return float(evaluate_run(EvalArguments(config, run_dir, "test", retriever, None))["metrics"][METRIC])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config_path", type=Path, default=ROOT / "configs/synthetic/two_tower.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    add_output_options(parser, plot=False)
    return parser.parse_args()


if __name__ == "__main__":
    main()
