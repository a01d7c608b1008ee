"""The keys of the configuration as a table: for messages, ``--help_keys`` and the file of defaults."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparcode.config.schema import Config
from sparcode.config.section import Section
from sparcode.config.yaml_text import write_commented, write_value
from sparcode.errors import UsageError

_HEADER = """\
# Every configuration key with its default, its meaning and, in brackets, the values it takes.
# A file given with --config_path states only what differs; --set section.key=value goes before the file.
# Written by scripts/write_default_config.py from src/sparcode/config/schema.py.

"""


@dataclass(frozen=True)
class KeyInfo:
    """One key of the configuration.

    Attributes:
        path: dotted path, such as ``train.batch_size``.
        default: default value as plain data; None for a section.
        allowed: type and range in words.
        description: meaning in one line.
        is_section: whether the key holds further keys.
    """

    path: str
    default: Any
    allowed: str
    description: str
    is_section: bool = False


def iter_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[KeyInfo]:
    """All keys in the order of the schema, each section before its own keys."""
    properties = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        inner = section_class(field.annotation)
        if inner is not None:
            summary = (inner.__doc__ or "").partition("\n")[0].rstrip(".")
            yield KeyInfo(path, None, "section", summary, is_section=True)
            yield from iter_keys(inner, f"{path}.")
        else:
            schema = properties[name]
            yield KeyInfo(path, schema["default"], describe_allowed(schema), field.description or "")


def section_class(annotation: Any) -> type[Section] | None:
    """The section that a field holds, None for a plain value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def describe_allowed(schema: dict[str, Any]) -> str:
    """Words for the JSON schema of one field, such as ``integer > 0`` or ``CPU | GPU | Ascend``."""
    if "anyOf" in schema:
        return " or ".join(describe_allowed(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema["type"]
    if kind in ("integer", "number"):
        return f"{kind}{_range(schema)}"
    if kind == "array":
        return f"list of {describe_allowed(schema['items'])}" + (
            ", not empty" if "minItems" in schema else ""
        )
    if kind == "string":
        if "pattern" in schema:
            return f"text matching {schema['pattern']}"
        return "text, not empty" if schema.get("minLength") else "text"
    return {"boolean": "true | false", "null": "null"}[kind]


def _range(schema: dict[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    has_low, has_high = (low is not None or above is not None), (high is not None or below is not None)
    if has_low and has_high:
        left = f"[{low:g}" if low is not None else f"({above:g}"
        right = f"{high:.10g}]" if high is not None else f"{below:.10g})"
        return f" in {left}, {right}"
    if has_low:
        return f" >= {low:g}" if low is not None else f" > {above:g}"
    if has_high:
        return f" <= {high:g}" if high is not None else f" < {below:g}"
    return ""


def render_defaults() -> str:
    """Text of ``default_config.yaml``: every key, its default and a comment."""
    comments = {
        key.path: key.description if key.is_section else f"{key.description} [{key.allowed}]"
        for key in iter_keys()
    }
    return _HEADER + write_commented(Config().model_dump(mode="json"), comments)


def render_help(section: str = "") -> str:
    """The keys for ``--help_keys``: path, default, allowed values and meaning.

    Args:
        section: dotted path of the section, or the key, to describe; empty = all.

    Raises:
        UsageError: there is no such section or key.
    """
    every = list(iter_keys())
    keys = [key for key in every if not section or f"{key.path}.".startswith(f"{section}.")]
    if not keys:
        sections = [key.path for key in every if key.is_section]
        near = difflib.get_close_matches(section, [key.path for key in every], n=1)
        raise UsageError(
            f"there is no section {section}",
            where="--help_keys",
            expected=" | ".join(sections),
            remedy=f"did you mean {near[0]}?" if near else None,
        )
    lines = ["configuration keys, for the file and for --set (key = default [allowed values]):"]
    for key in keys:
        if not key.is_section:
            lines.append(f"  {key.path} = {write_value(key.default)}  [{key.allowed}]")
            lines.append(f"      {key.description}")
    return "\n".join(lines) + "\n"
