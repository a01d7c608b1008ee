"""The space that tune.py searches: which keys, and which values they may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from sparcode.config.loader import Override, build_config, flatten, read_config_file
from sparcode.config.schema import Config
from sparcode.config.yaml_text import Document
from sparcode.errors import ConfigError

COMMON = "common"
"""Section of a space for all models; the others have the name of one."""

_FIELDS = {"choices", "low", "high", "log", "when"}
_FIXED = ("seed", "device", "data", "index", "eval", "export", "model.name")
_FIXED_TRAINING = ("train.monitor", "train.validation_users", "train.validate_every")


@dataclass(frozen=True)
class Dimension:
    """One key of a space: choices, or a range.

    Attributes:
        key: of the configuration.
        origin: file and line, for messages.
        choices: values to choose from; empty for a range.
        low: least value of a range.
        high: largest value of a range; whole numbers only if both are.
        log: whether a range is searched evenly by order of magnitude.
        when: other keys -> the values of which each must have one.
    """

    key: str
    origin: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the key is searched for a configuration, given as dotted key -> value."""
        return self.key in values and all(values.get(key) in allowed for key, allowed in self.when)

    def including(self, value: Any) -> Dimension:
        """The same with another value that belongs to it, as far as a range can have it."""
        if self.choices:
            return self if value in self.choices else replace(self, choices=(value, *self.choices))
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))

    def contains(self, value: Any) -> bool:
        """Whether the value belongs to the space."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    def ends(self) -> tuple[Any, ...]:
        """Values that show whether the configuration takes all of them."""
        return self.choices or (self.low, self.high)


def read_space(path: Path, model: str) -> list[Dimension]:
    """The dimensions of a model: those of ``common``, then its own, which go before.

    Args:
        path: YAML file, see configs/search_space.yaml.
        model: name of the model.

    Raises:
        ConfigError: the file cannot be read, a section or key of it is wrong, or nothing is left to search.
    """
    document = read_config_file(path)
    found: dict[str, Dimension] = {}
    for section in (COMMON, model):
        keys = document.values.get(section) or {}
        if not isinstance(keys, dict):
            raise ConfigError("not a section of keys", where=_where(path, document, section))
        for key, entry in keys.items():
            found[key] = _dimension(key, entry, _where(path, document, f"{section}.{key}"))
    if not found:
        raise ConfigError(
            f"the search space has nothing for a {model} model", where=path, expected=f"{COMMON} or {model}"
        )
    return list(found.values())


def _where(path: Path, document: Document, key: str) -> str:
    return f"{key} ({path}, line {document.lines[key]})"


def _dimension(key: str, entry: Any, where: str) -> Dimension:
    if key in _FIXED_TRAINING or any(f"{key}.".startswith(f"{fixed}.") for fixed in _FIXED):
        raise ConfigError(
            f"{key} cannot be tuned: trials would not be measured alike, or the key is not of training",
            where=where,
            expected="a key of model, train or crosses",
        )
    if not isinstance(entry, dict) or entry.keys() - _FIELDS:
        raise ConfigError("wrong entry", where=where, expected="choices, or low and high; log; when")
    when = entry.get("when") or {}
    if not isinstance(when, dict):
        raise ConfigError("wrong condition", where=where, expected="when: {key: value}", received=when)
    allowed = tuple((k, tuple(v) if isinstance(v, list) else (v,)) for k, v in when.items())
    if "choices" in entry:
        choices = entry["choices"]
        if not isinstance(choices, list) or not choices or entry.keys() & {"low", "high", "log"}:
            raise ConfigError("wrong entry", where=where, expected="choices alone, a list that is not empty")
        return Dimension(key, where, tuple(choices), when=allowed)
    low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
    if not (_is_number(low) and _is_number(high) and isinstance(log, bool)):
        raise ConfigError("wrong entry", where=where, expected="numbers low and high; log: true or false")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
        raise ConfigError(
            "wrong range",
            where=where,
            expected="low below high, and above 0 with log",
            received=f"{low} to {high}",
        )
    return Dimension(key, where, low=low, high=high, log=log, when=allowed)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_space(space: list[Dimension], document: Document, source: str, config: Config) -> None:
    """Try the ends of every dimension in the configuration that is to be tuned.

    Raises:
        ConfigError: a key is unknown, or it does not take one of its values.
    """
    values = flatten(config.model_dump(mode="json"))
    for dimension in space:
        if not dimension.applies(values) and dimension.when:
            continue
        for value in dimension.ends():
            build_config(document, [Override(dimension.key, value, dimension.origin)], source)
