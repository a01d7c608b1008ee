"""Writes the deployment bundle of a run and verifies it by reloading it: ``python export.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, writes the bundle and prints what is in it."""
    from sparcode.config.command_lines import parse_export

    arguments = parse_export(argv)

    with loading():
        from sparcode.pipeline.export import export_run

    verified = export_run(arguments)
    if verified is not None:
        print(verified.text(arguments.verbose))


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
