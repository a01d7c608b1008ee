"""What the command lines of all entries have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from sparcode.config.keys import render_help
from sparcode.errors import UsageError

DEFAULT_CONFIG_NAME = "default_config.yaml"
DEVICE_TARGETS = ("Ascend", "GPU", "CPU")


class EntryParser(argparse.ArgumentParser):
    """Raises ``UsageError`` instead of leaving the process."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a wrong command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, where=self.prog, remedy=f"see python {self.prog} --help")


class _HelpKeys(argparse.Action):
    """Prints the configuration keys, all or those below a section, and ends as ``--help`` does."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: object, section: object, _option: object = None
    ) -> NoReturn:
        sys.stdout.write(render_help("" if section is None else str(section)))
        parser.exit()


def build_parser(prog: str, description: str, *, config_help: str | None = None) -> EntryParser:
    """A parser with the flags common to all entries that take a configuration.

    Args:
        prog: name of the script, for messages.
        description: what the script does, in one sentence.
        config_help: meaning of ``--config_path``, when it is not the file with all settings.
    """
    parser = EntryParser(prog, description)
    parser.add_argument(
        "--config_path",
        metavar="FILE",
        type=Path,
        help=config_help
        or f"YAML file with the keys that differ from the defaults (default: {DEFAULT_CONFIG_NAME})",
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="set one key, in YAML; goes before the file; may be repeated",
    )
    parser.add_argument("--device_target", choices=DEVICE_TARGETS, help="same as --set device.target=...")
    parser.add_argument(
        "--help_keys",
        metavar="SECTION",
        nargs="?",
        action=_HelpKeys,
        help="list the configuration keys, all or those of a section, with default and meaning",
    )
    return parser
