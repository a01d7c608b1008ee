"""What the command lines of all entries have in common."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sparcode.config.keys import render_help
from sparcode.config.loader import Override, build_config, flatten, parse_override
from sparcode.config.schema import DeviceConfig
from sparcode.config.yaml_text import Document
from sparcode.errors import ConfigError, UsageError

DEFAULT_CONFIG_NAME = "default_config.yaml"
DEVICE_TARGETS = ("Ascend", "GPU", "CPU")
DEVICE_KEYS = {"device_target": "device.target", "device_id": "device.id"}
"""Flags of the device -> the configuration keys that they set."""


class EntryParser(argparse.ArgumentParser):
    """Raises ``UsageError`` instead of leaving the process, and suggests the nearest flag or choice.

    Args:
        prog: name of the script, for messages.
        description: what the script does, in one sentence.
        usage: the usual arguments, such as ``[RUN] [flags]``.
    """

    def __init__(self, prog: str, description: str, usage: str) -> None:
        super().__init__(
            prog=prog,
            usage=f"python {prog} {usage}",
            description=description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26),
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The flags of a command line.

        Raises:
            UsageError: an unknown flag, a wrong value, or a flag that is missing.
        """
        known = list(self._option_string_actions)
        for argument in argv:
            flag = argument.partition("=")[0]
            if flag.startswith("--") and flag != "--" and flag not in known:
                raise UsageError(f"unknown flag {flag}", where=self.prog, remedy=self._nearest(flag, known))
        return self.parse_args(argv)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a wrong command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, where=self.prog, remedy=self._help())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse for a value of an argument with choices.

        Raises:
            UsageError: it is none of them.
        """
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            raise UsageError(
                f"{'/'.join(action.option_strings) or action.dest} has no choice {value!r}",
                where=self.prog,
                expected=" | ".join(choices),
                remedy=self._nearest(str(value), choices),
            )

    def _nearest(self, given: str, known: Sequence[str]) -> str:
        by_lower = {name.lower(): name for name in known}
        near = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.5)
        return f"did you mean {by_lower[near[0]]}?" if near else self._help()

    def _help(self) -> str:
        return f"see python {self.prog} --help"


class _HelpKeys(argparse.Action):
    """Prints the configuration keys, all or those below a section, and ends as ``--help`` does."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: object, section: object, _option: object = None
    ) -> NoReturn:
        text = render_help("" if section is None else str(section))
        if sys.stdout.isatty():
            text = "\n".join(map(_folded, text.splitlines())) + "\n"
        sys.stdout.write(text)
        parser.exit()


def _folded(line: str) -> str:
    """A line of the list of keys within the width of the terminal, further lines indented under it."""
    width = shutil.get_terminal_size().columns
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False)


def build_parser(
    prog: str, description: str, usage: str = "[flags]", *, config_help: str | None = None
) -> EntryParser:
    """A parser with the flags common to all entries that take a configuration.

    Args:
        prog: name of the script, for messages.
        description: what the script does, in one sentence.
        usage: the usual arguments.
        config_help: meaning of ``--config_path``, when it is not the file with all settings.
    """
    parser = EntryParser(prog, description, usage)
    parser.add_argument(
        "--config_path",
        metavar="FILE",
        type=Path,
        help=config_help or f"YAML file of what differs from the defaults (default: {DEFAULT_CONFIG_NAME})",
    )
    add_set_flag(parser, "set a key such as train.epochs=3, before the file; may be repeated")
    parser.add_argument(
        "--data_path", metavar="PATH", help="raw data (data.path), or a data set directory (data.dataset_dir)"
    )
    add_device_flags(parser)
    parser.add_argument(
        "--help_keys",
        metavar="SECTION",
        nargs="?",
        action=_HelpKeys,
        help="list the keys, all or those of a section, with default and meaning",
    )
    return parser


def add_set_flag(parser: EntryParser, help_text: str) -> None:
    """``--set``, as ``settings``."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="append", default=[], help=help_text
    )


def add_device_flags(parser: EntryParser) -> None:
    """``--device_target`` and ``--device_id``."""
    parser.add_argument("--device_target", choices=DEVICE_TARGETS, help="device that runs the networks")
    parser.add_argument("--device_id", metavar="N", type=natural, help="its number, of several")


def device_of(flags: argparse.Namespace) -> DeviceConfig:
    """The device that the flags of a script without a configuration name; CPU if they name none.

    Raises:
        ConfigError: there is no such device.
    """
    overrides = named_overrides(flags, DEVICE_KEYS)
    return build_config(Document({}, {}), overrides, "command line").device


def natural(text: str) -> int:
    """An integer from 0 on, for argparse."""
    return _integer_from(text, 0)


def positive(text: str) -> int:
    """An integer from 1 on, for argparse."""
    return _integer_from(text, 1)


def _integer_from(text: str, least: int) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is not at least {least}")
    return value


natural.__name__, positive.__name__ = "natural number", "positive integer"  # argparse names the type


def config_overrides(flags: argparse.Namespace, keys: Mapping[str, str]) -> list[str | Override]:
    """All settings of a command line, those of ``--set`` first.

    Args:
        flags: parsed, with ``settings``, ``device_target``, ``device_id`` and ``data_path``.
        keys: further flags, without dashes -> the configuration key that each sets.

    Raises:
        UsageError: two flags, or a flag and ``--set``, give a key different values.
    """
    overrides = named_overrides(flags, {**DEVICE_KEYS, **keys})
    if flags.data_path is not None:
        prepared = (Path(flags.data_path) / "dataset.json").is_file()
        overrides.append(
            _named("data.dataset_dir" if prepared else "data.path", "data_path", flags.data_path)
        )
    _refuse_contradictions([*_single_settings(flags.settings), *overrides], overrides)
    return [*flags.settings, *overrides]


def named_overrides(flags: argparse.Namespace, keys: Mapping[str, str]) -> list[Override]:
    """What flags set that were given: name of the flag, without dashes -> configuration key."""
    given = {name: getattr(flags, name) for name in keys}
    return [_named(keys[name], name, value) for name, value in given.items() if value is not None]


def _named(key: str, flag: str, value: Any) -> Override:
    return Override(key, value, f"--{flag} {value}")


def _single_settings(settings: Iterable[str]) -> list[Override]:
    """What ``--set`` sets, key by key; the last one counts, as everywhere."""
    found = {}
    for setting in settings:
        override = parse_override(setting)
        for key, value in flatten(override.value, override.key).items():
            found[key] = Override(key, value, override.origin)
    return list(found.values())


def _refuse_contradictions(every: Sequence[Override], flags: Sequence[Override]) -> None:
    for flag in flags:
        for other in every:
            if other.key == flag.key and other.value != flag.value:
                first, second = sorted((other, flag), key=every.index)
                raise UsageError(
                    f"{first.origin} and {second.origin} contradict each other",
                    where=flag.key,
                    remedy="give one of them",
                )


def find_config(given: Path | None) -> Path:
    """The file as named from the working directory, or else from the directory of the entry script.

    Raises:
        ConfigError: it is in neither.
    """
    path = given or Path(DEFAULT_CONFIG_NAME)
    beside_script = script_directory() / path
    for candidate in (path, beside_script):
        if candidate.is_file():
            return candidate
    raise ConfigError(
        "configuration file not found",
        where=path,
        expected=f"a file there or at {beside_script}",
        remedy="name it with --config_path FILE",
    )


def script_directory() -> Path:
    """Where the entry script is; the working directory without one."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Path.cwd() if script is None else Path(script).resolve().parent
