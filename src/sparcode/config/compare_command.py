"""Command line of compare.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparcode.config.arguments import EvalArguments
from sparcode.config.command_lines import SPLITS
from sparcode.config.command_parser import (
    DEVICE_KEYS,
    EntryParser,
    add_device_flags,
    add_set_flag,
    named_overrides,
)
from sparcode.config.retrievers import suitable_retriever
from sparcode.config.run import load_run_config
from sparcode.errors import UsageError


@dataclass(frozen=True)
class CompareArguments:
    """Arguments of compare.py.

    Attributes:
        runs: what to evaluate of each run, by its default retriever; at least one, the directories differ.
        baseline: place in ``runs`` of the run that differences are taken from.
        exact: whether runs with an index are ranked by their exhaustive scores as well.
        metrics: names of the metrics to print, None = recall and NDCG at every cut-off.
        json_path: file for all figures, None = none.
        plot_path: image of accuracy against time, None = none.
    """

    runs: tuple[EvalArguments, ...]
    baseline: int
    exact: bool
    metrics: tuple[str, ...] | None
    json_path: Path | None
    plot_path: Path | None


def parse_compare(argv: Sequence[str]) -> CompareArguments:
    """Parses the command line of compare.py.

    Raises:
        UsageError: wrong flags, a run that is named twice, or a baseline that is no run.
        ConfigError: no run directory, or settings that contradict a run.
    """
    parser = EntryParser(
        "compare.py",
        "Compares runs on the same users: differences with confidence intervals, time and bytes.",
        "RUN [RUN ...] [flags]",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run directories of train.py")
    parser.add_argument(
        "--baseline", metavar="RUN", type=Path, help="run to take differences from (default: the first)"
    )
    parser.add_argument(
        "--exact", action="store_true", help="rank by exhaustive scores beside the index, too"
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="targets to find (default: test)")
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="metrics to print, such as ndcg@10,mrr@10 (default: recall and NDCG)",
    )
    add_set_flag(parser, "set a key of crosses, index or eval for all runs; may be repeated")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures to FILE")
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw accuracy against time (PNG, SVG, PDF)"
    )
    add_device_flags(parser)
    flags = parser.parse(argv)
    baseline = _baseline(flags.runs, flags.baseline)
    settings = [*flags.settings, *named_overrides(flags, DEVICE_KEYS)]
    runs = []
    for run_dir in flags.runs:
        config = load_run_config(run_dir, settings)
        retriever = suitable_retriever(config, None, run_dir)
        runs.append(EvalArguments(config, run_dir, flags.split, retriever, None))
    metrics = None if flags.metrics is None else tuple(name.strip() for name in flags.metrics.split(","))
    return CompareArguments(tuple(runs), baseline, flags.exact, metrics, flags.json, flags.plot)


def _baseline(runs: Sequence[Path], named: Path | None) -> int:
    places = [path.resolve() for path in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UsageError("a run is named twice", where="compare.py", received=runs[number])
    if named is None:
        return 0
    if named.resolve() not in places:
        raise UsageError(
            "the baseline is none of the runs",
            where="--baseline",
            expected=" | ".join(map(str, runs)),
            received=named,
        )
    return places.index(named.resolve())
