"""Evaluates a trained run by full ranking: ``python eval.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import is_first_process, loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, evaluates and prints the table."""
    from sparcode.config.command_lines import parse_eval

    arguments = parse_eval(argv)
    if arguments.plot_path is not None:
        from sparcode.evaluation.training_curves import check_plot, plot_training

        check_plot(arguments.plot_path)

    with loading():
        from sparcode.evaluation.report_text import render
        from sparcode.pipeline.evaluate import evaluate_run

    report = evaluate_run(arguments)
    if not is_first_process():
        return
    print(render(report, arguments.verbose))
    for path in filter(None, (arguments.json_path, arguments.per_user_path)):
        print(f"written to {path}")
    if arguments.plot_path is not None:
        plot_training(arguments.run_dir, arguments.plot_path, arguments.config.train.monitor)
        print(f"training curves in {arguments.plot_path}")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
