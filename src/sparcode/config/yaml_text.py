"""YAML as the configuration reads and writes it.

Scalars follow the YAML 1.2 core schema instead of PyYAML's 1.1: ``1e-3`` is a number, ``010`` is ten,
``no`` and ``2020-01-01`` are text. A repeated key is an error instead of the last one winning; merge keys
(``<<``) and tags beyond plain data are not supported. PyYAML's own loaders are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from sparcode.errors import ConfigError

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
# PyYAML looks up resolvers by first character; ``None`` is tried for every text, "" for the empty one.
_ANY_TEXT = [
    ("tag:yaml.org,2002:null", _NULL),
    ("tag:yaml.org,2002:bool", _BOOL),
    ("tag:yaml.org,2002:int", _INT),
    ("tag:yaml.org,2002:float", _FLOAT),
]
_CORE_RESOLVERS: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {None: _ANY_TEXT}


class _CoreLoader(yaml.SafeLoader):
    """Plain data only, YAML 1.2 scalars."""

    yaml_implicit_resolvers = _CORE_RESOLVERS

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(str(self.construct_scalar(node)), 10)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


_CoreLoader.yaml_constructors = {
    "tag:yaml.org,2002:null": yaml.SafeLoader.construct_yaml_null,
    "tag:yaml.org,2002:bool": yaml.SafeLoader.construct_yaml_bool,
    "tag:yaml.org,2002:int": _CoreLoader.construct_decimal,
    "tag:yaml.org,2002:float": _CoreLoader.construct_number,
    "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
    "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
    "tag:yaml.org,2002:map": yaml.SafeLoader.construct_yaml_map,
    None: yaml.SafeLoader.construct_undefined,
}


class _CoreDumper(yaml.SafeDumper):
    """Quotes exactly the texts that ``_CoreLoader`` would not read back as text."""

    yaml_implicit_resolvers = _CORE_RESOLVERS


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML.

    Attributes:
        values: nested plain data with text keys.
        lines: dotted key -> line (from 1) of every key.
    """

    values: dict[str, Any]
    lines: dict[str, int]


def read_document(text: str, source: str) -> Document:
    """Reads one YAML mapping.

    Args:
        text: YAML text.
        source: name of the file, for messages.

    Raises:
        ConfigError: invalid YAML, nothing in it, not a mapping, a repeated key or a key that is not text;
            with the line.
    """
    with _yaml_errors(source):
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(
                "the file holds no keys", where=f"{source}, line 1", expected="a mapping of sections to keys"
            )
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                "the file is not a mapping",
                where=f"{source}, line {_line(node)}",
                expected="section: and key: value lines",
                received="a list" if isinstance(node, yaml.SequenceNode) else "a single value",
            )
        lines: dict[str, int] = {}
        _collect_lines(node, "", source, lines, frozenset())
        return Document(loader.construct_document(node), lines)


def read_value(text: str, source: str) -> Any:
    """Reads one YAML value as given on the command line; empty text is null.

    Raises:
        ConfigError: invalid YAML, or a mapping with repeated keys.
    """
    with _yaml_errors(source):
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _collect_lines(node, "", source, {}, frozenset())
        return loader.construct_document(node)


def write_value(value: Any) -> str:
    """YAML of a scalar or list on one line."""
    text = yaml.dump(value, Dumper=_CoreDumper, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()


def write_document(values: dict[str, Any]) -> str:
    """YAML of nested plain data; keys keep their order. ``read_document`` reads the same values back."""
    return yaml.dump(values, Dumper=_CoreDumper, sort_keys=False, default_flow_style=False, width=10**6)


@contextmanager
def _yaml_errors(source: str) -> Iterator[None]:
    """Turns whatever PyYAML raises on bad text into ``ConfigError``."""
    try:
        yield
    except yaml.YAMLError as error:
        raise _syntax_error(error, source) from error
    except ValueError as error:  # a number with an explicit tag, or of absurd length
        raise ConfigError("invalid YAML value", where=source, received=str(error)) from error
    except RecursionError as error:
        raise ConfigError("YAML nested too deeply", where=source) from error


def _syntax_error(error: yaml.YAMLError, source: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = source if mark is None else f"{source}, line {mark.line + 1}, column {mark.column + 1}"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return ConfigError(
        "invalid YAML",
        where=where,
        received=problem,
        remedy="quote texts with special characters and indent with spaces",
    )


def _collect_lines(
    node: yaml.Node, prefix: str, source: str, lines: dict[str, int], parents: frozenset[int]
) -> None:
    """Notes the line of every key below ``node``; refuses repeated, non-text and self-referring ones."""
    if id(node) in parents:
        raise ConfigError("an alias refers to itself", where=f"{source}, line {_line(node)}")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _collect_lines(item, f"{prefix}[]", source, {}, parents | {id(node)})
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        where = f"{source}, line {_line(key_node)}"
        if key_node.tag != "tag:yaml.org,2002:str":
            raise ConfigError("a key is not text", where=where, received=repr(key_node.value))
        key = key_node.value
        dotted = f"{prefix}.{key}" if prefix else key
        if key in seen:
            raise ConfigError(
                f"{dotted} is given twice", where=where, remedy=f"the first is in line {seen[key]}"
            )
        seen[key] = lines[dotted] = _line(key_node)
        _collect_lines(value_node, dotted, source, lines, parents | {id(node)})


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
