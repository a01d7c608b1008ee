"""From a YAML file and command-line overrides to a checked ``Config``, and back.

A file states only what differs from the defaults of the schema; overrides go before the file. Whatever is
wrong is refused by one ``ConfigError`` that names the key, the value, where it was set and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparcode.config.keys import KeyInfo, iter_keys, section_classes
from sparcode.config.schema import Config
from sparcode.config.section import Section
from sparcode.config.yaml_text import Document, read_document, read_value, write_document
from sparcode.errors import ConfigError, UsageError

_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_DOTTED = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Override:
    """A value that goes before the file.

    Attributes:
        key: dotted path, such as ``train.batch_size``, or a section with a mapping as value.
        value: plain data.
        origin: where it was given, for messages: ``--set train.batch_size=64``.
    """

    key: str
    value: Any
    origin: str


def parse_override(setting: str) -> Override:
    """Reads ``section.key=value``; the value is YAML, nothing after ``=`` is null.

    Raises:
        UsageError: not of that form.
        ConfigError: the value is not valid YAML.
    """
    key, equals, text = setting.partition("=")
    origin = f"--set {setting}"
    if not equals or not _KEY.fullmatch(key.strip()):
        raise UsageError(f"cannot read --set {setting!r}", expected="--set section.key=value")
    return Override(key.strip(), read_value(text, origin), origin)


def load_config(path: Path, overrides: Sequence[str | Override] = ()) -> Config:
    """Loads and checks a configuration.

    Args:
        path: YAML file with the keys that differ from the defaults.
        overrides: ``section.key=value`` texts or ready ``Override`` objects; later ones go before earlier.

    Raises:
        ConfigError: the file is missing, empty or not a YAML mapping; a key is unknown, repeated, of the
            wrong type or out of range; keys contradict each other.
        UsageError: an override is not of the form ``section.key=value``.
    """
    return build_config(read_config_file(path), overrides, str(path))


def read_config_file(path: Path) -> Document:
    """Reads a configuration file without checking its keys.

    Raises:
        ConfigError: the file cannot be read or is not a YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError("configuration file not found", where=path) from error
    except OSError as error:
        raise ConfigError(
            "cannot read the configuration file", where=path, received=error.strerror
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the configuration file is not UTF-8 text", where=path) from error
    return read_document(text, str(path))


def build_config(document: Document, overrides: Sequence[str | Override], source: str) -> Config:
    """Lays overrides over a document and checks the result.

    Args:
        document: what the file states.
        overrides: see ``load_config``.
        source: name of the file, for messages.

    Raises:
        ConfigError, UsageError: as ``load_config``.
    """
    read = [item if isinstance(item, Override) else parse_override(item) for item in overrides]
    values = overlaid(document, read)
    origins = {key: f"{source}, line {line}" for key, line in document.lines.items()}
    for override in read:
        for key in {override.key, *flatten(override.value, override.key)}:
            origins[key] = override.origin
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _config_error(error, origins, source) from error


def overlaid(document: Document, overrides: Sequence[Override]) -> dict[str, Any]:
    """What a document states with overrides laid over it, as nested plain data; nothing is checked."""
    values = _without_empty_sections(document.values, Config)
    for override in overrides:
        nested = override.value
        for name in reversed(override.key.split(".")):
            nested = {name: nested}
        values = _merged(_without_other_options(values, nested, [Config]), nested)
    return values


def config_of_values(values: Mapping[str, Any], source: str) -> Config:
    """A configuration from plain data, such as JSON, that was written by ``model_dump``.

    Args:
        values: nested by section.
        source: where they come from, for messages.

    Raises:
        ConfigError: a key is unknown, of the wrong type or out of range; keys contradict each other.
    """
    try:
        return Config.model_validate(values, strict=False)
    except ValidationError as error:
        raise _config_error(error, {}, source) from error


def dump_config(config: Config) -> str:
    """YAML text with every key; ``load_config`` reads an equal configuration from it."""
    return write_document(config.model_dump(mode="json"))


def config_differences(a: Config, b: Config) -> list[str]:
    """Dotted keys whose values differ, in the order of the schema."""
    left, right = flatten(a.model_dump()), flatten(b.model_dump())
    missing = object()  # a key of options that only one of them has
    return [key for key in {**left, **right} if left.get(key, missing) != right.get(key, missing)]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted key -> value; a value that is no mapping is returned under ``prefix``."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _merged(base: Any, top: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(top, dict)):
        return top
    return {**base, **{key: _merged(base.get(key), value) for key, value in top.items()}}


def _without_empty_sections(values: dict[str, Any], *sections: type[Section]) -> dict[str, Any]:
    """Reads ``train:`` with nothing below it as a section that states nothing, not as null."""
    kept = dict(values)
    for name, inner in _inner_sections(sections).items():
        if name not in kept:
            continue
        if kept[name] is None:
            kept[name] = {}
        elif isinstance(kept[name], dict):
            kept[name] = _without_empty_sections(kept[name], *inner)
    return kept


def _inner_sections(sections: Iterable[type[Section]]) -> dict[str, list[type[Section]]]:
    """Sections inside of any of the given ones, by key."""
    inner: dict[str, list[type[Section]]] = {}
    for section in sections:
        for name, field in section.model_fields.items():
            for found in section_classes(field.annotation):
                inner.setdefault(name, []).append(found)
    return inner


def _without_other_options(values: Any, override: Any, sections: Iterable[type[Section]]) -> Any:
    """The values without keys that lose their meaning when the override chooses another ``name``.

    ``--set model.name=two_tower`` over a file for another model leaves out what the file says about tokens
    and codes, which a two-tower does not have; what an override itself says is never left out.
    """
    if not (isinstance(values, dict) and isinstance(override, dict)):
        return values
    kept = dict(values)
    for name, inner in _inner_sections(sections).items():
        if name not in kept or not isinstance(override.get(name), dict) or not isinstance(kept[name], dict):
            continue
        chosen = [
            c for c in inner if c.model_fields.get("name") and _is_called(c, override[name].get("name"))
        ]
        if chosen:
            known = {key for section in chosen for key in section.model_fields}
            kept[name] = {key: value for key, value in kept[name].items() if key in known}
        kept[name] = _without_other_options(kept[name], override[name], chosen or inner)
    return kept


def _is_called(section: type[Section], name: Any) -> bool:
    field = section.model_fields.get("name")
    return field is not None and isinstance(name, str) and field.default == name


def _config_error(error: ValidationError, origins: Mapping[str, str], source: str) -> ConfigError:
    """The first fault in full; further ones by key."""
    faults = error.errors(include_url=False)
    keys = {key.path: key for key in iter_keys()}
    first = _fault_error(faults[0], keys, origins, source)
    others = [_path(_keys_of(fault["loc"])) for fault in faults[1:]]
    if not others:
        return first
    also = f"also wrong: {', '.join(path or 'the whole' for path in others)}"
    return ConfigError(
        first.what,
        where=first.where,
        expected=first.expected,
        received=first.received,
        remedy=f"{first.remedy}; {also}" if first.remedy else also,
    )


def _fault_error(
    fault: Mapping[str, Any], keys: Mapping[str, KeyInfo], origins: Mapping[str, str], source: str
) -> ConfigError:
    path = _path(_keys_of(fault["loc"]))
    mapping = _mapping_around(path, keys)
    if mapping is not None:
        return ConfigError(
            "wrong entry of the mapping",
            where=f"{path} ({_origin(path, origins) or source})",
            expected=mapping.allowed,
            received=_shown(fault["input"]),
            remedy=str(fault["ctx"]["error"]) if fault["type"] == "value_error" else None,
        )
    if fault["type"] == "union_tag_invalid":
        path += ".name"
        fault = {**fault, "input": fault["ctx"]["tag"]}
    if fault["type"] == "value_error":  # a cross-key rule of the schema
        message = str(fault["ctx"]["error"])
        return ConfigError(message, where=_origins_of(_DOTTED.findall(message), origins) or source)
    where = f"{path} ({_origin(path, origins) or source})"
    if fault["type"] == "extra_forbidden":
        return ConfigError(
            "unknown configuration key",
            where=where,
            received=_shown(fault["input"]),
            remedy=_suggestion(path, keys),
        )
    key = keys.get(path.partition("[")[0])
    if key is None or key.is_section:
        return ConfigError(
            "wrong value", where=where, expected="a section of keys", received=_shown(fault["input"])
        )
    remedy = None
    if isinstance(fault["input"], str):
        near = difflib.get_close_matches(str(fault["input"]), key.allowed.split(" | "), n=1)
        remedy = f"did you mean {near[0]}?" if near else None
    return ConfigError(
        "wrong value", where=where, expected=key.allowed, received=_shown(fault["input"]), remedy=remedy
    )


def _mapping_around(path: str, keys: Mapping[str, KeyInfo]) -> KeyInfo | None:
    """The key whose value is a mapping that ``path`` is an entry of."""
    parent = path.rpartition(".")[0]
    while parent and parent not in keys:
        parent = parent.rpartition(".")[0]
    key = keys.get(parent)
    return key if key is not None and not key.is_section else None


def _keys_of(location: Sequence[str | int]) -> list[str | int]:
    """A place in the configuration without the names of the options classes that pydantic adds to it."""
    kept: list[str | int] = []
    sections: list[type[Section]] = [Config]
    tags: dict[str, type[Section]] = {}
    for part in location:
        if isinstance(part, str) and part in tags:
            sections, tags = [tags[part]], {}
            continue
        kept.append(part)
        sections = _inner_sections(sections).get(str(part), [])
        tags = {c.model_fields["name"].default: c for c in sections} if len(sections) > 1 else {}
    return kept


def _path(location: Iterable[str | int]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _origin(path: str, origins: Mapping[str, str]) -> str | None:
    """Where ``path``, or else the nearest section around it, was set."""
    path = path.partition("[")[0]
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return None


def _origins_of(paths: Iterable[str], origins: Mapping[str, str]) -> str:
    found = [f"{path} ({origins[path]})" for path in dict.fromkeys(paths) if path in origins]
    return ", ".join(found)


def _suggestion(path: str, keys: Mapping[str, KeyInfo]) -> str:
    """The closest name within the section, the same name elsewhere, or else what the section knows."""
    if path in keys:
        return f"the key needs {keys[path].needs}"
    parent, _, name = path.rpartition(".")
    siblings = [key for key in keys if key.rpartition(".")[0] == parent]
    names = difflib.get_close_matches(name, [key.rpartition(".")[2] for key in siblings], n=1)
    matches = [f"{parent}.{names[0]}" if parent else names[0]] if names else []
    matches = matches or [key for key in keys if key.rpartition(".")[2] == name]
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"known keys here: {', '.join(siblings)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
