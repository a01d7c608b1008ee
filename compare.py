"""Compares trained runs on the same users: ``python compare.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, compares and prints the table."""
    from sparcode.config.compare_command import parse_compare

    arguments = parse_compare(argv)

    with loading():
        from sparcode.evaluation.comparison_report import render_comparison
        from sparcode.pipeline.compare import compare_runs

    print(render_comparison(compare_runs(arguments)))
    for path in filter(None, (arguments.json_path, arguments.plot_path)):
        print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
