"""The keys of the configuration as a table: for messages, ``--help_keys`` and the file of defaults."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from sparcode.config.schema import Config
from sparcode.config.section import Section
from sparcode.config.yaml_text import write_value
from sparcode.errors import UsageError

_COMMENT_COLUMN = 40

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
        needs: what the key needs where it is not always there, such as ``model.encoder.name sasrec``.
        by_default: whether the default configuration has it.
    """

    path: str
    default: Any
    allowed: str
    description: str
    is_section: bool = False
    needs: str = ""
    by_default: bool = True


def iter_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[KeyInfo]:
    """All keys in the order of the schema, each section before its own keys.

    A section whose key ``name`` says which of several classes it is has the keys of its default class, then
    those that only other classes have.
    """
    properties = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        classes = section_classes(field.annotation)
        if not classes:
            schema = properties[name]
            yield KeyInfo(path, schema["default"], describe_allowed(schema), field.description or "")
            continue
        first = type(field.get_default(call_default_factory=True))
        own = _summary(first) if len(classes) == 1 else field.description or ""
        yield KeyInfo(path, None, "section", own, is_section=True)
        if len(classes) == 1:
            yield from iter_keys(first, f"{path}.")
        else:
            yield from _keys_of_variants(classes, first, path)


def _keys_of_variants(classes: list[type[Section]], first: type[Section], path: str) -> Iterator[KeyInfo]:
    names = [options.model_fields["name"].default for options in classes]
    choices = "; ".join(f"{name}: {_summary(c)}" for name, c in zip(names, classes, strict=True))
    holders: dict[str, list[str]] = {}
    found: dict[str, KeyInfo] = {}
    for options in [first, *(other for other in classes if other is not first)]:
        for key in iter_keys(options, f"{path}."):
            found.setdefault(key.path, replace(key, by_default=key.by_default and options is first))
            holders.setdefault(key.path, []).append(options.model_fields["name"].default)
    for key in found.values():
        if key.path == f"{path}.name":
            default = first.model_fields["name"].default
            yield KeyInfo(key.path, default, " | ".join(names), choices)
            continue
        some = holders[key.path]
        needs = f"{path}.name {' | '.join(sorted(some))}" if len(some) < len(classes) else ""
        yield replace(key, needs=key.needs or needs)


def _summary(section: type[Section]) -> str:
    return (section.__doc__ or "").partition("\n")[0].rstrip(".")


def section_classes(annotation: Any) -> list[type[Section]]:
    """The section that a field holds, or those that it may hold; empty for a plain value or a mapping."""
    if get_origin(annotation) is dict:
        return []
    return [
        part
        for part in (annotation, *get_args(annotation))
        if isinstance(part, type) and issubclass(part, Section)
    ]


def describe_allowed(schema: dict[str, Any]) -> str:
    """Words for the JSON schema of one field, such as ``integer > 0`` or ``CPU | GPU | Ascend``."""
    if "allowed" in schema:
        return str(schema["allowed"])
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
    lines = [_HEADER]
    for key in iter_keys():
        indent = "  " * key.path.count(".") + ("" if key.by_default else "# ")
        name = key.path.rpartition(".")[2]
        needs = f" ({key.needs})" if key.needs else ""
        if key.is_section:
            if not indent:
                lines.append("")
            lines.append(f"{indent}{name}:".ljust(_COMMENT_COLUMN) + f"# {key.description}{needs}")
        else:
            setting = f"{indent}{name}: {write_value(key.default)}".ljust(_COMMENT_COLUMN - 2)
            lines.append(f"{setting}  # {key.description} [{key.allowed}]{needs}")
    return "\n".join(lines) + "\n"


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
            needs = f"  ({key.needs})" if key.needs else ""
            lines.append(f"  {key.path} = {write_value(key.default)}  [{key.allowed}]{needs}")
            lines.append(f"      {key.description}")
    return "\n".join(lines) + "\n"
