"""Trains a model into a run directory: ``python train.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import is_first_process, loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, trains, and prints what to type next."""
    from sparcode.config.command_lines import parse_train
    from sparcode.config.retrievers import next_commands

    arguments = parse_train(argv)
    if arguments.plot_path is not None:
        from sparcode.evaluation.training_curves import check_plot, plot_training

        check_plot(arguments.plot_path)
    if arguments.finished:
        print(f"{arguments.output_dir} is trained already, with this configuration")
    else:
        with loading():
            from sparcode.pipeline.train import train_run

        train_run(arguments)
    if is_first_process():
        if arguments.plot_path is not None:
            plot_training(arguments.output_dir, arguments.plot_path, arguments.config.train.monitor)
            print(f"training curves in {arguments.plot_path}")
        print("next:", *next_commands(arguments.output_dir, arguments.config), sep="\n  ")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
