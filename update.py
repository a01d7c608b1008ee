"""Adds, removes or rescores items of a deployment bundle: ``python update.py --help``."""

from __future__ import annotations

import sys

from sparcode.entry import loading, run_entry


def main(argv: list[str]) -> None:
    """Parses ``argv``, applies the changes and writes the bundle."""
    from sparcode.config.command_lines import parse_update

    arguments = parse_update(argv)

    with loading():
        from sparcode.training.runtime import configure

        configure(arguments.device, seed=0)

    from sparcode.serving.bundle import open_bundle
    from sparcode.serving.updated_bundle import save_bundle
    from sparcode.serving.updates import BundleUpdater, Changes, read_change_file

    files = (arguments.remove, arguments.add, arguments.rescore)
    changes = Changes(*[[] if file is None else read_change_file(file) for file in files])
    updater = BundleUpdater(open_bundle(arguments.bundle))
    updater.apply(changes)
    save_bundle(updater.bundle, arguments.output)
    print(
        f"{len(changes.add)} items added, {len(changes.remove)} removed, {len(changes.rescore)} rescored: "
        f"{arguments.output} holds {updater.num_live:,} items"
    )


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
