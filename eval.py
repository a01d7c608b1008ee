"""Evaluates a trained run by full ranking: ``python eval.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import is_first_process, loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, evaluates and prints the table."""
    from sparcode.config.command_lines import parse_eval

    arguments = parse_eval(argv)

    with loading():
        from sparcode.evaluation.report_text import render
        from sparcode.pipeline.evaluate import evaluate_run

    report = evaluate_run(arguments)
    if not is_first_process():
        return
    print(render(report, arguments.verbose))
    for path in filter(None, (arguments.json_path, arguments.per_user_path)):
        print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
