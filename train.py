"""Trains a model into a run directory: ``python train.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv`` and trains."""
    from sparcode.config.command_lines import parse_train

    arguments = parse_train(argv)

    from sparcode.pipeline.train import train_run

    train_run(arguments)


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
