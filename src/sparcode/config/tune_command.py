"""Command line of tune.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparcode.config.command_parser import (
    build_parser,
    config_overrides,
    find_config,
    positive,
)
from sparcode.config.loader import Override, build_config, overlaid, parse_override, read_config_file
from sparcode.config.schema import Config
from sparcode.config.search_space import Dimension, check_space, read_space
from sparcode.config.yaml_text import Document

SPACE = Path("configs/search_space.yaml")
TUNING = Path("tuning")
"""Where a study lies unless the command line says otherwise."""


@dataclass(frozen=True)
class TuneArguments:
    """Arguments of tune.py.

    Attributes:
        document: the configuration file.
        overrides: settings of the command line that go before it.
        source: name of the file.
        config: what both come to.
        space: what is searched.
        trials: of the whole study, those of earlier calls included.
        timeout: seconds after which no trial begins, None = no limit.
        repeat_seeds: seeds that the best three are trained with, 1 = their own alone.
        output_dir: directory of the study.
    """

    document: Document
    overrides: tuple[str | Override, ...]
    source: str
    config: Config
    space: tuple[Dimension, ...]
    trials: int
    timeout: int | None
    repeat_seeds: int
    output_dir: Path

    def config_with(self, values: Mapping[str, object]) -> Config:
        """The configuration with some dotted keys set.

        Raises:
            ConfigError: the values contradict each other or the configuration.
        """
        return build_config(self.document, self._with(values), self.source)

    def document_with(self, values: Mapping[str, object]) -> dict[str, object]:
        """What the file would have to state for this configuration: nested plain data."""
        return overlaid(self.document, self._with(values))

    def _with(self, values: Mapping[str, object]) -> list[Override]:
        given = [item if isinstance(item, Override) else parse_override(item) for item in self.overrides]
        return [*given, *(Override(key, value, "tune.py") for key, value in values.items())]


def parse_tune(argv: Sequence[str]) -> TuneArguments:
    """Parses the command line of tune.py.

    Raises:
        UsageError: wrong flags.
        ConfigError: wrong configuration or search space.
    """
    parser = build_parser(
        "tune.py",
        "Searches for the configuration with the best validation metric. The same command again continues.",
        "--config_path FILE --trials N [flags]",
    )
    parser.add_argument("--trials", metavar="N", type=positive, default=20, help="trials (default: 20)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=positive, help="begin no trial after so many seconds"
    )
    parser.add_argument(
        "--repeat_seeds",
        metavar="S",
        type=positive,
        default=3,
        help="seeds that the best three are trained with (default: 3)",
    )
    parser.add_argument("--space", metavar="FILE", type=Path, help=f"search space (default: {SPACE})")
    parser.add_argument(
        "--output_dir", metavar="DIR", type=Path, help=f"default: {TUNING}/<data.name>-<model.name>"
    )
    flags = parser.parse(argv)
    path = find_config(flags.config_path)
    document = read_config_file(path)
    overrides = tuple(config_overrides(flags, {}))
    config = build_config(document, overrides, str(path))
    space = read_space(find_config(flags.space or SPACE), config.model.name)
    check_space(space, document, str(path), config)
    output = flags.output_dir or TUNING / f"{config.data.name}-{config.model.name}"
    return TuneArguments(
        document,
        overrides,
        str(path),
        config,
        tuple(space),
        flags.trials,
        flags.timeout,
        flags.repeat_seeds,
        output,
    )
