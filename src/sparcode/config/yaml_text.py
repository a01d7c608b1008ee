"""YAML as the configuration reads and writes it: plain data in the notation of YAML 1.2.

``1e-3`` is a number, ``010`` is ten, ``no`` and ``2020-01-01`` are text. A repeated key is an error, not
the last one wins; merge keys (``<<``) and tags beyond plain data are not supported.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.resolver import VersionedResolver

from sparcode.errors import ConfigError

_PLAIN = ("null", "bool", "int", "float")


class _PlainResolver(VersionedResolver):
    """Neither dates nor merge keys: what looks like one is text."""

    @property
    def versioned_resolver(self) -> dict[Any, list[tuple[str, Any]]]:
        """First character -> (tag, pattern) of the scalars that are no text."""
        return {
            first: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] in _PLAIN]
            for first, found in super().versioned_resolver.items()
        }


def _yaml(kind: str = "safe", flow: bool = False) -> YAML:
    yaml: Any = YAML(typ=kind, pure=True)  # its hints know only the defaults of what is set here
    yaml.Resolver = _PlainResolver
    yaml.default_flow_style = flow
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 10**6  # never fold a line
    configured: YAML = yaml
    return configured


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
        node = _yaml().compose(text)
        if node is None:
            raise ConfigError(
                "the file holds no keys", where=f"{source}, line 1", expected="a mapping of sections to keys"
            )
        if not isinstance(node, MappingNode):
            raise ConfigError(
                "the file is not a mapping",
                where=f"{source}, line {_line(node)}",
                expected="section: and key: value lines",
                received="a list" if isinstance(node, SequenceNode) else "a single value",
            )
        lines: dict[str, int] = {}
        _collect_lines(node, "", source, lines, frozenset())
        return Document(_yaml().load(text), lines)


def read_value(text: str, source: str) -> Any:
    """Reads one YAML value as given on the command line; empty text is null.

    Raises:
        ConfigError: invalid YAML, or a mapping with repeated keys.
    """
    with _yaml_errors(source):
        node = _yaml().compose(text)
        if node is None:
            return None
        _collect_lines(node, "", source, {}, frozenset())
        return _yaml().load(text)


def write_value(value: Any) -> str:
    """YAML of a scalar or list on one line."""
    return _dumped(_yaml(flow=True), value).removesuffix("...\n").strip()


def write_document(values: dict[str, Any]) -> str:
    """YAML of nested plain data; keys keep their order. ``read_document`` reads the same values back."""
    return _dumped(_yaml(), values)


def _dumped(yaml: YAML, value: Any) -> str:
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


@contextmanager
def _yaml_errors(source: str) -> Iterator[None]:
    """Turns whatever the parser raises on bad text into ``ConfigError``."""
    try:
        yield
    except YAMLError as error:
        raise _syntax_error(error, source) from error
    except ValueError as error:  # a number with an explicit tag, or of absurd length
        raise ConfigError("invalid YAML value", where=source, received=str(error)) from error
    except RecursionError as error:
        raise ConfigError("YAML nested too deeply", where=source) from error


def _syntax_error(error: YAMLError, source: str) -> ConfigError:
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
    node: Node, prefix: str, source: str, lines: dict[str, int], parents: frozenset[int]
) -> None:
    """Notes the line of every key below ``node``; refuses repeated, non-text and self-referring ones."""
    if id(node) in parents:
        raise ConfigError("an alias refers to itself", where=f"{source}, line {_line(node)}")
    if isinstance(node, SequenceNode):
        for item in node.value:
            _collect_lines(item, f"{prefix}[]", source, {}, parents | {id(node)})
    if not isinstance(node, MappingNode):
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


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
