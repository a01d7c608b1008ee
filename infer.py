"""Recommends items from a deployment bundle alone: ``python infer.py --help``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sparcode.entry import loading, run_entry
from sparcode.errors import UsageError

if TYPE_CHECKING:
    from sparcode.config.arguments import InferArguments
    from sparcode.serving import Retriever


def main(argv: list[str]) -> None:
    """Parses ``argv``, answers every query of the input and prints how many there were."""
    from sparcode.config.command_lines import parse_infer

    arguments = parse_infer(argv)

    with loading():
        from sparcode.training.runtime import configure

        configure(arguments.device, seed=0)

    from sparcode.serving import Retriever
    from sparcode.serving.offline import OfflineOptions, recommend_file

    retriever = Retriever.load(arguments.bundle, num_threads=len(os.sched_getaffinity(0)))
    if arguments.input_path is None:
        recommend_to_all(retriever, arguments)
        return
    options = OfflineOptions(k=arguments.topk, where=arguments.where, rescore=arguments.rescore)
    report = recommend_file(retriever, arguments.input_path, arguments.output_path, options)
    print(f"{report.num_queries} queries answered in {report.seconds:.1f} s: {arguments.output_path}")
    if report.num_fallbacks:
        print(f"  {report.num_fallbacks} with nothing known, answered by popularity")


def recommend_to_all(retriever: Retriever, arguments: InferArguments) -> None:
    """Recommends items to every user of the bundle's histories, or of a data set."""
    from sparcode.serving.all_users import AllUsersOptions, recommend_all

    histories = retriever.bundle.histories
    if arguments.dataset is not None:
        from sparcode.data.dataset import Dataset
        from sparcode.serving.export.dataset_histories import histories_for_bundle

        histories = histories_for_bundle(Dataset.load(arguments.dataset), retriever.bundle)
    if histories is None:
        raise UsageError(
            "the bundle keeps no users",
            where="--all_users",
            remedy="name a data set by --dataset, or export the bundle with --with_histories",
        )
    options = AllUsersOptions(k=arguments.topk, where=arguments.where, rescore=arguments.rescore)
    report = recommend_all(retriever, histories, arguments.output_path, options)
    resumed = f", {report.num_resumed:,} of them before" if report.num_resumed else ""
    print(f"{report.num_users:,} users answered in {report.seconds:.1f} s{resumed}: {arguments.output_path}")
    if report.num_fallbacks:
        print(f"  {report.num_fallbacks:,} with nothing known, answered by popularity")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
