"""Command lines of the entry scripts, parsed into typed arguments.

Nothing here imports MindSpore, so ``--help`` and every refusal are instant. Wrong flags raise
``UsageError``; ``sparcode.entry`` prints it as one line and exits with code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparcode.config.command_parser import DEFAULT_CONFIG_NAME, DEVICE_TARGETS, EntryParser, build_parser
from sparcode.config.loader import Override, load_config
from sparcode.config.retrievers import ALL_RETRIEVERS, suitable_retriever
from sparcode.config.run import load_run_config
from sparcode.config.schema import Config
from sparcode.errors import ConfigError, UsageError

SPLITS = ("valid", "test")


@dataclass(frozen=True)
class PreprocessArguments:
    """Arguments of preprocess.py; ``--input`` and ``--output`` are already in ``config.data``."""

    config: Config


@dataclass(frozen=True)
class TrainArguments:
    """Arguments of train.py.

    Attributes:
        config: the configuration to train.
        output_dir: run directory to write.
        resume: continue from the last checkpoint in ``output_dir``.
    """

    config: Config
    output_dir: Path
    resume: bool


@dataclass(frozen=True)
class EvalArguments:
    """Arguments of eval.py.

    Attributes:
        config: the run's configuration with the overrides that evaluation allows.
        run_dir: run directory written by train.py.
        split: ``valid`` or ``test``.
        retriever: what ranks the items, see ``retrievers.RETRIEVERS``.
        json_path: file for the results, None = only the table on stdout.
    """

    config: Config
    run_dir: Path
    split: str
    retriever: str
    json_path: Path | None


@dataclass(frozen=True)
class ExportArguments:
    """Arguments of export.py.

    Attributes:
        config: the run's configuration with the overrides that export allows.
        run_dir: run directory written by train.py.
        output: bundle directory to write.
    """

    config: Config
    run_dir: Path
    output: Path


@dataclass(frozen=True)
class InferArguments:
    """Arguments of infer.py, which needs no configuration.

    Attributes:
        bundle: bundle directory written by export.py.
        input_path: queries, one JSON object a line.
        topk: items per query, at least 1.
        where: predicate that all recommended items must fulfil, as text; None = none.
        rescore: best items of the search that the scorer rescores; None = none.
        output_path: recommendations, one JSON object a line.
        device_target: device that encodes the queries.
    """

    bundle: Path
    input_path: Path
    topk: int
    where: str | None
    rescore: int | None
    output_path: Path
    device_target: str


@dataclass(frozen=True)
class UpdateArguments:
    """Arguments of update.py, which needs no configuration beside the bundle.

    Attributes:
        bundle: bundle directory to read.
        add, remove, rescore: files of items, None = no items.
        output: bundle directory to write, possibly ``bundle`` itself.
        device_target: device that scores the items.
    """

    bundle: Path
    add: Path | None
    remove: Path | None
    rescore: Path | None
    output: Path
    device_target: str


def parse_preprocess(argv: Sequence[str]) -> PreprocessArguments:
    """Parses the command line of preprocess.py.

    Raises:
        UsageError: wrong flags.
        ConfigError: wrong configuration.
    """
    parser = build_parser("preprocess.py", "Turns raw files into a data set directory.")
    parser.add_argument("--input", metavar="RAW", help="raw file or directory; same as --set data.path=RAW")
    parser.add_argument(
        "--output", metavar="DIR", help="data set directory; same as --set data.dataset_dir=DIR"
    )
    flags = parser.parse_args(argv)
    overrides = []
    if flags.input is not None:
        overrides.append(Override("data.path", flags.input, f"--input {flags.input}"))
    if flags.output is not None:
        overrides.append(Override("data.dataset_dir", flags.output, f"--output {flags.output}"))
    return PreprocessArguments(_config_of(flags, overrides))


def parse_train(argv: Sequence[str]) -> TrainArguments:
    """Parses the command line of train.py.

    Raises:
        UsageError: wrong flags.
        ConfigError: wrong configuration.
    """
    parser = build_parser("train.py", "Trains a model, with validation and early stopping.")
    parser.add_argument(
        "--output_dir", metavar="RUN", type=Path, required=True, help="run directory to write"
    )
    parser.add_argument("--resume", action="store_true", help="continue exactly from RUN's last checkpoint")
    flags = parser.parse_args(argv)
    return TrainArguments(_config_of(flags), flags.output_dir, flags.resume)


def parse_eval(argv: Sequence[str]) -> EvalArguments:
    """Parses the command line of eval.py.

    Raises:
        UsageError: wrong flags, or a retriever that cannot serve the run's model.
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
        "--rescore",
        metavar="R",
        type=_positive,
        help="rescore the best R items of the search by the network; same as --set eval.rescore=R",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to FILE")
    flags = parser.parse_args(argv)
    overrides = []
    if flags.rescore is not None:
        overrides.append(Override("eval.rescore", flags.rescore, f"--rescore {flags.rescore}"))
    config = _run_config_of(flags, overrides)
    retriever = suitable_retriever(config, flags.retriever, flags.run_dir)
    return EvalArguments(config, flags.run_dir, flags.split, retriever, flags.json)


def parse_export(argv: Sequence[str]) -> ExportArguments:
    """Parses the command line of export.py.

    Raises:
        UsageError: wrong flags.
        ConfigError: no run directory, or settings that contradict the run.
    """
    parser = _run_parser(
        "export.py", "Writes the deployment bundle of a run and verifies it by reloading it."
    )
    parser.add_argument(
        "--output", metavar="BUNDLE", type=Path, required=True, help="bundle directory to write"
    )
    flags = parser.parse_args(argv)
    return ExportArguments(_run_config_of(flags), flags.run_dir, flags.output)


def parse_infer(argv: Sequence[str]) -> InferArguments:
    """Parses the command line of infer.py.

    Raises:
        UsageError: wrong flags.
    """
    parser = EntryParser("infer.py", "Recommends items from a deployment bundle alone.")
    parser.add_argument(
        "--bundle", metavar="BUNDLE", type=Path, required=True, help="bundle directory to read"
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        type=Path,
        required=True,
        help='queries, a JSON object a line: {"query_id": "u1", "history": ["item", ...]}, oldest first; '
        'optional "features": {...}, "exclude": [...], "allow": [...], "where": "year >= 1990"',
    )
    parser.add_argument(
        "--topk", metavar="K", type=_positive, default=50, help="items per query (default: 50)"
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
        type=_positive,
        help="let the network rescore the best R items of the search",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="recommendations to write")
    parser.add_argument(
        "--device_target", choices=DEVICE_TARGETS, default="CPU", help="device that encodes (default: CPU)"
    )
    flags = parser.parse_args(argv)
    return InferArguments(
        flags.bundle,
        flags.input,
        flags.topk,
        flags.where,
        flags.rescore,
        flags.output,
        flags.device_target,
    )


def parse_update(argv: Sequence[str]) -> UpdateArguments:
    """Parses the command line of update.py.

    Raises:
        UsageError: wrong flags, or nothing to change.
    """
    parser = EntryParser("update.py", "Adds, removes or rescores items of a deployment bundle.")
    parser.add_argument(
        "--bundle", metavar="BUNDLE", type=Path, required=True, help="bundle directory to read"
    )
    parser.add_argument(
        "--add",
        metavar="FILE",
        type=Path,
        help='items to add, a JSON object a line: {"item": "id", "features": {...}}; '
        "for items that were removed before the id alone is enough",
    )
    parser.add_argument("--remove", metavar="FILE", type=Path, help="items to remove, an id a line")
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
    parser.add_argument(
        "--device_target", choices=DEVICE_TARGETS, default="CPU", help="device that scores (default: CPU)"
    )
    flags = parser.parse_args(argv)
    if flags.add is None and flags.remove is None and flags.rescore is None:
        raise UsageError("nothing to change", where="update.py", expected="--add, --remove or --rescore")
    output = flags.output or flags.bundle
    return UpdateArguments(flags.bundle, flags.add, flags.remove, flags.rescore, output, flags.device_target)


def _run_parser(prog: str, description: str) -> EntryParser:
    parser = build_parser(
        prog,
        description,
        config_help="YAML file that must agree with the run on model and data; its index, eval, export and "
        "device keys go before the run's (default: the run's own configuration alone)",
    )
    parser.add_argument(
        "--run_dir", metavar="RUN", type=Path, required=True, help="run directory of train.py"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


_positive.__name__ = "positive integer"  # argparse names the type in its message


def _config_of(flags: argparse.Namespace, overrides: Sequence[Override] = ()) -> Config:
    path = _find_config(flags.config_path)
    return load_config(path, [*flags.settings, *overrides, *_device_override(flags)])


def _run_config_of(flags: argparse.Namespace, overrides: Sequence[Override] = ()) -> Config:
    path = None if flags.config_path is None else _find_config(flags.config_path)
    settings = [*flags.settings, *overrides, *_device_override(flags)]
    return load_run_config(flags.run_dir, settings, config_path=path)


def _device_override(flags: argparse.Namespace) -> list[Override]:
    if flags.device_target is None:
        return []
    return [Override("device.target", flags.device_target, f"--device_target {flags.device_target}")]


def _find_config(given: Path | None) -> Path:
    """The file as named from the working directory, or else from the directory of the entry script."""
    path = given or Path(DEFAULT_CONFIG_NAME)
    beside_script = _script_directory() / path
    for candidate in (path, beside_script):
        if candidate.is_file():
            return candidate
    raise ConfigError(
        "configuration file not found",
        where=path,
        expected=f"a file there or at {beside_script}",
        remedy="name it with --config_path FILE",
    )


def _script_directory() -> Path:
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Path.cwd() if script is None else Path(script).resolve().parent
