"""Turns raw files into a data set directory: ``python preprocess.py --help``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from sparcode.entry import run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, writes the data set directory and prints what is in it."""
    from sparcode.config.command_lines import parse_preprocess

    arguments = parse_preprocess(argv)

    if arguments.inspect:
        from sparcode.data.inspect_files import inspect_files

        found = inspect_files(arguments.inspect)
        for line in (*found.notes, *(f"warning: {warning}" for warning in found.warnings)):
            print(line, file=sys.stderr)
        print(found.yaml, end="")
        return

    from sparcode.pipeline.preprocess import preprocess_run

    dataset = preprocess_run(arguments)
    print(f"data set {dataset.name}, protocol {dataset.protocol}, in {arguments.config.data.dataset_dir}")
    print(format_counts(dataset.counts))


def format_counts(counts: Mapping[str, int]) -> str:
    """A table of counts, one a line, names to the left and numbers to the right."""
    names = [name.replace("_", " ") for name in counts]
    numbers = [f"{count:,}" for count in counts.values()]
    left = max(map(len, names), default=0)
    right = max(map(len, numbers), default=0)
    return "\n".join(
        f"  {name.ljust(left)}  {number.rjust(right)}" for name, number in zip(names, numbers, strict=True)
    )


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
