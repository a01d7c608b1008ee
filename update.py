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

    from sparcode.pipeline.item_tables import read_items
    from sparcode.serving.bundle import open_bundle
    from sparcode.serving.item_changes import Changes
    from sparcode.serving.updated_bundle import save_bundle
    from sparcode.serving.updates import BundleUpdater

    bundle = open_bundle(arguments.bundle)
    files = (arguments.remove, arguments.add, arguments.rescore)
    changes = Changes(*[[] if file is None else read_items(bundle, file) for file in files])
    updater = BundleUpdater(bundle, arguments.strict)
    report = updater.apply(changes)
    save_bundle(updater.bundle, arguments.output)
    print(f"{report.text()}: {arguments.output} holds {updater.num_live:,} items")


if __name__ == "__main__":
    sys.exit(run_entry(main, sys.argv[1:]))
