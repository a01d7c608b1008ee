"""Tunes a configuration on its validation users: ``python tune.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, searches, and prints the trials and what to type next."""
    from sparcode.config.tune_command import parse_tune

    arguments = parse_tune(argv)

    from sparcode.pipeline.tune import tune

    print(tune(arguments))
    best = arguments.output_dir / "best.yaml"
    print(f"next:\n  python train.py --config_path {best}")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
