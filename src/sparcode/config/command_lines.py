"""Command lines of the entry scripts, parsed into typed arguments.

Nothing here imports MindSpore, so ``--help`` and every refusal are instant. Wrong flags raise
``UsageError``; ``sparcode.entry`` prints it as one line and exits with code 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparcode.config.arguments import (
    EvalArguments,
    ExportArguments,
    InferArguments,
    PreprocessArguments,
    TrainArguments,
    UpdateArguments,
)
from sparcode.config.command_parser import (
    EntryParser,
    add_device_flags,
    build_parser,
    config_overrides,
    device_of,
    find_config,
    positive,
)
from sparcode.config.loader import load_config
from sparcode.config.retrievers import ALL_RETRIEVERS, suitable_retriever
from sparcode.config.run import load_run_config
from sparcode.config.run_choice import (
    LAST,
    chosen_run,
    new_bundle,
    new_run,
    newest_bundle,
    run_of_checkpoint,
    run_to_resume,
    the_only_one,
)
from sparcode.config.schema import Config
from sparcode.errors import UsageError

SPLITS = ("valid", "test")


def parse_preprocess(argv: Sequence[str]) -> PreprocessArguments:
    """Parses the command line of preprocess.py.

    Raises:
        UsageError: wrong flags.
        ConfigError: wrong configuration.
    """
    parser = build_parser("preprocess.py", "Turns raw files into a data set directory.")
    parser.add_argument("--input", metavar="RAW", help="raw file or directory; sets data.path")
    parser.add_argument("--output", metavar="DIR", help="data set directory; sets data.dataset_dir")
    parser.add_argument(
        "--inspect",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=(),
        help="print a configuration for these tables (interactions, items, users) and stop",
    )
    flags = parser.parse(argv)
    config = _config_of(flags, {"input": "data.path", "output": "data.dataset_dir"})
    return PreprocessArguments(config, tuple(flags.inspect))


def parse_train(argv: Sequence[str]) -> TrainArguments:
    """Parses the command line of train.py.

    Without a run directory the training chooses one, see ``run_choice.new_run``.

    Raises:
        UsageError: wrong flags.
        ConfigError: wrong configuration.
        OutputError: the directory that is chosen holds an unfinished run.
    """
    parser = build_parser("train.py", "Trains a model, with validation and early stopping.", "[RUN] [flags]")
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        type=Path,
        help="run directory to write (default: runs/<data.name>-<model.name>)",
    )
    parser.add_argument("--output_dir", metavar="RUN", type=Path, help="the same by a flag")
    parser.add_argument("--resume", action="store_true", help="continue exactly from RUN's last checkpoint")
    parser.add_argument(
        "--checkpoint_path", metavar="FILE", type=Path, help=f"RUN/{LAST} or RUN, which is resumed"
    )
    _add_plot(parser)
    flags = parser.parse(argv)
    _refuse_config_file(flags.run)
    config = _config_of(flags)
    resumed = run_of_checkpoint(flags.checkpoint_path, LAST)
    run_dir = the_only_one({"RUN": flags.run, "--output_dir": flags.output_dir, "--checkpoint_path": resumed})
    resume, finished = flags.resume or resumed is not None, False
    if run_dir is None and resume:
        run_dir = run_to_resume(config)
    elif run_dir is None:
        run_dir, finished = new_run(config)
    return TrainArguments(config, run_dir, resume, finished, flags.plot)


def parse_eval(argv: Sequence[str]) -> EvalArguments:
    """Parses the command line of eval.py.

    Without a run it takes the newest finished one below ``runs``.

    Raises:
        UsageError: wrong flags, no run, or a retriever that cannot serve the run's model.
        ConfigError: no run directory, or settings that contradict the run.
    """
    parser = _run_parser("eval.py", "Evaluates a run by ranking the whole catalogue for every user.")
    parser.add_argument("--split", choices=SPLITS, default="test", help="targets to find (default: test)")
    parser.add_argument(
        "--retriever",
        choices=ALL_RETRIEVERS,
        help="what ranks the items (default: index for sparcode, exact for the other models)",
    )
    parser.add_argument(
        "--rescore", metavar="R", type=positive, help="rescore the best R items of the search by the network"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to FILE")
    parser.add_argument(
        "--per_user", metavar="FILE", type=Path, help="write the metrics of every user to FILE, in Parquet"
    )
    _add_plot(parser)
    parser.add_argument("--verbose", action="store_true", help="print every figure of the results")
    flags = parser.parse(argv)
    run_dir, config = _run_of(flags, {"rescore": "eval.rescore"})
    retriever = suitable_retriever(config, flags.retriever, run_dir)
    return EvalArguments(
        config, run_dir, flags.split, retriever, flags.json, flags.plot, flags.verbose, flags.per_user
    )


def parse_export(argv: Sequence[str]) -> ExportArguments:
    """Parses the command line of export.py.

    Without a run it takes the newest finished one below ``runs``, without an output ``bundles/<run>``.

    Raises:
        UsageError: wrong flags, or no run.
        ConfigError: no run directory, or settings that contradict the run.
        OutputError: the place that is chosen is taken.
    """
    parser = _run_parser(
        "export.py", "Writes the deployment bundle of a run and verifies it by reloading it."
    )
    parser.add_argument(
        "--output",
        metavar="BUNDLE",
        type=Path,
        help="bundle directory to write or to replace (default: bundles/<name of the run>)",
    )
    parser.add_argument(
        "--file_format",
        choices=("MINDIR", "ONNX"),
        default="MINDIR",
        help="format of the networks; only MINDIR can be written",
    )
    parser.add_argument(
        "--with_histories",
        action="store_true",
        help="put user data into the bundle: ids, items and features of every user, for "
        '{"user": "u1"} and --all_users of infer.py',
    )
    parser.add_argument("--verbose", action="store_true", help="print every figure of the verification")
    flags = parser.parse(argv)
    if flags.file_format != "MINDIR":
        raise UsageError(
            "this version writes no ONNX", where="--file_format", expected="MINDIR", received="ONNX"
        )
    run_dir, config = _run_of(flags)
    output = flags.output or new_bundle(run_dir)
    return ExportArguments(config, run_dir, output, flags.verbose, flags.with_histories)


def parse_infer(argv: Sequence[str]) -> InferArguments:
    """Parses the command line of infer.py.

    Without a bundle it takes the newest one below ``bundles``.

    Raises:
        UsageError: wrong flags, or no bundle.
    """
    parser = _bundle_parser(
        "infer.py",
        "Recommends items from a deployment bundle alone. A query is a JSON object a line, such as "
        '{"query_id": "u1", "history": ["item", ...]}, oldest first; optional: "features": {...}, '
        '"exclude": [...], "allow": [...], "where": "year >= 1990"; or {"user": "u1"} where the bundle keeps '
        "histories.",
        "[BUNDLE] --input FILE|--all_users --output FILE [flags]",
    )
    parser.add_argument("--input", metavar="FILE", type=Path, help="queries, a JSON object a line")
    parser.add_argument(
        "--all_users",
        action="store_true",
        help="recommend to every user that the bundle keeps; writes Parquet, and continues after a kill",
    )
    parser.add_argument(
        "--dataset", metavar="DIR", type=Path, help="with --all_users: the users of this data set directory"
    )
    parser.add_argument(
        "--topk", metavar="K", type=positive, default=50, help="items per query (default: 50)"
    )
    parser.add_argument(
        "--where",
        metavar="PREDICATE",
        help="recommend only items with these attributes, for example "
        '\'genres in ("Action", "Comedy") and year >= 1990\' (docs/filters.md)',
    )
    parser.add_argument(
        "--rescore",
        metavar="R",
        type=positive,
        help="let the network rescore the best R items of the search",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="recommendations to write")
    add_device_flags(parser)
    flags = parser.parse(argv)
    _check_queries(flags)
    return InferArguments(
        _bundle_of(flags) or newest_bundle(),
        flags.input,
        flags.topk,
        flags.where,
        flags.rescore,
        flags.output,
        device_of(flags),
        flags.all_users,
        flags.dataset,
    )


def _check_queries(flags: argparse.Namespace) -> None:
    if (flags.input is None) != flags.all_users:
        raise UsageError(
            "both --input and --all_users" if flags.all_users else "no queries",
            where="infer.py",
            expected="--input FILE or --all_users",
        )
    if flags.dataset is not None and not flags.all_users:
        raise UsageError(
            "--dataset without --all_users", where="infer.py", expected="--all_users --dataset DIR"
        )


def parse_update(argv: Sequence[str]) -> UpdateArguments:
    """Parses the command line of update.py.

    Raises:
        UsageError: wrong flags, no bundle, or nothing to change.
    """
    parser = _bundle_parser(
        "update.py", "Adds, removes or rescores items of a deployment bundle.", "BUNDLE [flags]"
    )
    parser.add_argument(
        "--add",
        metavar="FILE",
        type=Path,
        help="items to add or to replace: CSV, TSV or Parquet with the columns of the item table, or a JSON "
        'object a line: {"item": "id", "title": "...", "features": {...}}; '
        "for items that were removed before the id alone is enough",
    )
    parser.add_argument(
        "--remove", metavar="FILE", type=Path, help="items to remove, an id a line; unknown ones are counted"
    )
    parser.add_argument("--strict", action="store_true", help="refuse to remove items that are not there")
    parser.add_argument(
        "--rescore",
        metavar="FILE",
        type=Path,
        help="items to rescore, an id a line, or as in --add with other features",
    )
    parser.add_argument(
        "--output",
        metavar="BUNDLE",
        type=Path,
        help="bundle directory to write (default: the one that is read)",
    )
    add_device_flags(parser)
    flags = parser.parse(argv)
    bundle = _bundle_of(flags)
    if bundle is None:
        raise UsageError("no bundle is named", where="update.py", expected="python update.py BUNDLE ...")
    if flags.add is None and flags.remove is None and flags.rescore is None:
        raise UsageError("nothing to change", where="update.py", expected="--add, --remove or --rescore")
    output = flags.output or bundle
    return UpdateArguments(
        bundle, flags.add, flags.remove, flags.rescore, output, device_of(flags), flags.strict
    )


def _run_parser(prog: str, description: str) -> EntryParser:
    parser = build_parser(
        prog,
        description,
        "[RUN] [flags]",
        config_help="YAML file that agrees with the run on model and data; its other keys win",
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", type=Path, help="run directory (default: the newest below runs)"
    )
    parser.add_argument("--run_dir", metavar="RUN", type=Path, help="the same by a flag")
    parser.add_argument(
        "--checkpoint_path", metavar="FILE", type=Path, help="the same by RUN/checkpoints/best.ckpt"
    )
    return parser


def _bundle_parser(prog: str, description: str, usage: str) -> EntryParser:
    parser = EntryParser(prog, description, usage)
    parser.add_argument("directory", metavar="BUNDLE", nargs="?", type=Path, help="bundle directory to read")
    parser.add_argument("--bundle", metavar="BUNDLE", type=Path, help="the same by a flag")
    return parser


def _add_plot(parser: EntryParser) -> None:
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw the training curves: .png, .svg or .pdf"
    )


def _refuse_config_file(run_dir: Path | None) -> None:
    if run_dir is not None and run_dir.suffix in (".yaml", ".yml"):
        raise UsageError(
            "a configuration file where a run directory is expected",
            where=run_dir,
            remedy=f"write --config_path {run_dir}",
        )


def _bundle_of(flags: argparse.Namespace) -> Path | None:
    return the_only_one({"BUNDLE": flags.directory, "--bundle": flags.bundle})


def _config_of(flags: argparse.Namespace, keys: Mapping[str, str] | None = None) -> Config:
    path = find_config(flags.config_path)
    return load_config(path, config_overrides(flags, keys or {}))


def _run_of(flags: argparse.Namespace, keys: Mapping[str, str] | None = None) -> tuple[Path, Config]:
    """The run that is meant, and its configuration with the settings of the command line."""
    path = None if flags.config_path is None else find_config(flags.config_path)
    settings = config_overrides(flags, keys or {})
    run_dir = chosen_run(
        {
            "RUN": flags.run,
            "--run_dir": flags.run_dir,
            "--checkpoint_path": run_of_checkpoint(flags.checkpoint_path),
        }
    )
    return run_dir, load_run_config(run_dir, settings, config_path=path)
