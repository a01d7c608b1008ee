"""Predicates over item attributes as immutable values, each written as text that the parser reads back.

A comparison with an attribute that an item lacks is false; ``not`` of it is therefore true.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

from sparcode.errors import UsageError

Value: TypeAlias = "int | float | str"
Predicate: TypeAlias = "Compare | In | Has | Under | Missing | And | Or | Not"

OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
KEYWORDS = frozenset({"and", "or", "not", "in", "has", "between"})
EXACT_INTEGERS = 2**53
"""Integers up to this are exact in float64, in which numbers are kept."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Compare:
    """``attribute operator value``; ``=`` and ``!=`` for numbers and categories, the rest for numbers.

    Raises:
        UsageError: unknown operator, or a value that is neither text nor a finite number.
    """

    attribute: str
    operator: str
    value: Value

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise UsageError("unknown operator", expected=" | ".join(OPERATORS), received=repr(self.operator))
        object.__setattr__(self, "value", checked_value(self.value))

    def __str__(self) -> str:
        return f"{name_text(self.attribute)} {self.operator} {value_text(self.value)}"


@dataclass(frozen=True)
class In:
    """The attribute is one of the values; for a set: has at least one of them.

    Raises:
        UsageError: no value, or one that is neither text nor a finite number.
    """

    attribute: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not self.values:
            raise UsageError("in needs values", expected="at least one", received=repr(self.values))
        object.__setattr__(self, "values", tuple(checked_value(value) for value in self.values))

    def __str__(self) -> str:
        return f"{name_text(self.attribute)} in ({', '.join(map(value_text, self.values))})"


@dataclass(frozen=True)
class Has:
    """The set holds the value."""

    attribute: str
    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_value(self.value))

    def __str__(self) -> str:
        return f"{name_text(self.attribute)} has {value_text(self.value)}"


@dataclass(frozen=True)
class Under(Has):
    """The path is the given one or lies below it: a set of every level with all above it holds the value."""

    def __str__(self) -> str:
        return f"{name_text(self.attribute)} under {value_text(self.value)}"


@dataclass(frozen=True)
class Missing:
    """The item has no value of the attribute; for a set: it is empty."""

    attribute: str

    def __str__(self) -> str:
        return f"{name_text(self.attribute)} is missing"


@dataclass(frozen=True)
class _Joined:
    parts: tuple[Predicate, ...]

    word = ""

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise UsageError(f"{self.word} joins at least two predicates", received=len(self.parts))
        object.__setattr__(self, "parts", tuple(self.parts))


@dataclass(frozen=True)
class And(_Joined):
    """All parts hold.

    Raises:
        UsageError: fewer than two parts.
    """

    word = "and"

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, And | Or) else str(part) for part in self.parts)


@dataclass(frozen=True)
class Or(_Joined):
    """At least one part holds.

    Raises:
        UsageError: fewer than two parts.
    """

    word = "or"

    def __str__(self) -> str:
        return " or ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True)
class Not:
    """The part does not hold; true for items that lack the attribute of a comparison."""

    part: Predicate

    def __str__(self) -> str:
        return f"not ({self.part})" if isinstance(self.part, And | Or) else f"not {self.part}"


def normalized(predicate: Predicate) -> Predicate:
    """An equivalent predicate, equal for writings that differ in order, repetition or nesting."""
    if isinstance(predicate, In):
        values = tuple(sorted(set(predicate.values), key=value_text))
        return In(predicate.attribute, values)
    if isinstance(predicate, Not):
        part = normalized(predicate.part)
        return part.part if isinstance(part, Not) else Not(part)
    if isinstance(predicate, And | Or):
        kind = type(predicate)
        parts: set[Predicate] = set()
        for part in map(normalized, predicate.parts):
            parts.update(part.parts if isinstance(part, kind) else [part])
        return kind(tuple(sorted(parts, key=str))) if len(parts) > 1 else parts.pop()
    return predicate


def checked_value(value: object) -> Value:
    """Text or a finite number; whole floats become integers, so that 1 and 1.0 are one value.

    Raises:
        UsageError: anything else, or an integer that float64 cannot hold.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(
            "not a value of a predicate", expected="text or a finite number", received=repr(value)
        )
    if isinstance(value, int) and abs(value) > EXACT_INTEGERS:
        raise UsageError(
            "integer too large to compare exactly", expected="at most 2**53 in size", received=value
        )
    return int(value) if value == int(value) and abs(value) <= EXACT_INTEGERS else value


def name_text(name: str) -> str:
    """An attribute's name as predicates write it, in backquotes where it is no plain word."""
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return _quoted(name, "`")


def value_text(value: Value) -> str:
    """A value as predicates write it."""
    return _quoted(value, '"') if isinstance(value, str) else repr(value)


def _quoted(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    return f"{quote}{escaped}{quote}"
