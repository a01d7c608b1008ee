"""What the command lines of the entry scripts come to, as typed values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparcode.config.schema import Config, DeviceConfig


@dataclass(frozen=True)
class PreprocessArguments:
    """Arguments of preprocess.py; ``--input`` and ``--output`` are already in ``config.data``.

    Attributes:
        config: with the raw data and the data set directory.
        inspect: tables to guess a configuration for, in place of preprocessing.
    """

    config: Config
    inspect: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TrainArguments:
    """Arguments of train.py.

    Attributes:
        config: the configuration to train.
        output_dir: run directory to write.
        resume: continue from the last checkpoint in ``output_dir``.
        finished: whether ``output_dir`` holds the finished run of this configuration: nothing is to be done.
        plot_path: image of the training curves, None = none.
    """

    config: Config
    output_dir: Path
    resume: bool
    finished: bool = False
    plot_path: Path | None = None


@dataclass(frozen=True)
class EvalArguments:
    """Arguments of eval.py.

    Attributes:
        config: the run's configuration with the overrides that evaluation allows.
        run_dir: run directory written by train.py.
        split: ``valid`` or ``test``.
        retriever: what ranks the items, see ``retrievers.RETRIEVERS``.
        json_path: file for the results, None = only the table on stdout.
        plot_path: image of the training curves, None = none.
        verbose: whether the table is followed by every figure of the report.
        per_user_path: Parquet file for the metrics of every user, None = none.
    """

    config: Config
    run_dir: Path
    split: str
    retriever: str
    json_path: Path | None
    plot_path: Path | None = None
    verbose: bool = False
    per_user_path: Path | None = None


@dataclass(frozen=True)
class ExportArguments:
    """Arguments of export.py.

    Attributes:
        config: the run's configuration with the overrides that export allows.
        run_dir: run directory written by train.py.
        output: bundle directory to write.
        verbose: whether every figure of the comparison is printed.
        with_histories: whether the bundle keeps the items and features of every user.
    """

    config: Config
    run_dir: Path
    output: Path
    verbose: bool = False
    with_histories: bool = False


@dataclass(frozen=True)
class InferArguments:
    """Arguments of infer.py, which needs no configuration.

    Attributes:
        bundle: bundle directory written by export.py.
        input_path: queries, one JSON object a line; None with ``all_users``.
        topk: items per query, at least 1.
        where: predicate that all recommended items must fulfil, as text; None = none.
        rescore: best items of the search that the scorer rescores; None = none.
        output_path: recommendations, one JSON object a line; Parquet with ``all_users``.
        device: that encodes the queries.
        all_users: recommend to every user of the bundle's histories, or of ``dataset``.
        dataset: data set directory; None = the users that the bundle keeps.
    """

    bundle: Path
    input_path: Path | None
    topk: int
    where: str | None
    rescore: int | None
    output_path: Path
    device: DeviceConfig
    all_users: bool = False
    dataset: Path | None = None


@dataclass(frozen=True)
class UpdateArguments:
    """Arguments of update.py, which needs no configuration beside the bundle.

    Attributes:
        bundle: bundle directory to read.
        add, remove, rescore: files of items, None = no items.
        output: bundle directory to write, possibly ``bundle`` itself.
        device: that scores the items.
        strict: whether it is an error to remove an item that is not there.
    """

    bundle: Path
    add: Path | None
    remove: Path | None
    rescore: Path | None
    output: Path
    device: DeviceConfig
    strict: bool = False
