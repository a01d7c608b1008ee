"""Recommends items from a deployment bundle alone: ``python infer.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, answers every query of the input and prints how many there were."""
    from sparcode.config.command_lines import parse_infer

    arguments = parse_infer(argv)

    with loading():
        from sparcode.training.runtime import configure

        configure(arguments.device, seed=0)

    from sparcode.serving import Retriever
    from sparcode.serving.offline import OfflineOptions, recommend_file

    retriever = Retriever.load(arguments.bundle)
    options = OfflineOptions(k=arguments.topk, where=arguments.where, rescore=arguments.rescore)
    report = recommend_file(retriever, arguments.input_path, arguments.output_path, options)
    print(f"{report.num_queries} queries answered in {report.seconds:.1f} s: {arguments.output_path}")
    if report.num_fallbacks:
        print(f"  {report.num_fallbacks} with nothing known, answered by popularity")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
