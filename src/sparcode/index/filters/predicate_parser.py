"""The text form of predicates, by recursive descent (grammar in docs/filters.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from sparcode.errors import UsageError
from sparcode.index.filters.predicates import (
    KEYWORDS,
    OPERATORS,
    And,
    Compare,
    Has,
    In,
    Missing,
    Not,
    Or,
    Predicate,
    Under,
    Value,
    checked_value,
)

MAX_DEPTH = 50
"""Parentheses and ``not`` inside one another; keeps the recursion far from the interpreter's limit."""

_SHORT = 200
"""Characters of a text that is remembered once it has been read: at most a few megabytes together."""

_INTEGER_DIGITS = 20  # longer integers are refused like other huge numbers, without converting them

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z0-9_.]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>`(?:[^`\\]|\\.)*`)
    | (?P<operator>!=|<=|>=|==|<|>|=)
    | (?P<mark>[(),])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str  # a group of _TOKEN, "keyword", or "end"
    text: str
    at: int


def parse_predicate(text: str) -> Predicate:
    """Read a predicate such as ``genres has "Action" and year between 1990 and 1999``.

    Raises:
        UsageError: naming the position of the fault, counted from 1.
    """
    return _remembered(text) if len(text) <= _SHORT else _parsed(text)


def _parsed(text: str) -> Predicate:
    parser = _Parser(text)
    predicate = parser.disjunction(0)
    parser.expect("end", "", "and, or, or the end")
    return predicate


_remembered = lru_cache(maxsize=1024)(_parsed)


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            what = "text without its closing quote" if text[at] in "\"'`" else "unexpected character"
            _fail(text, at, what, None, repr(text[at]))
        kind, word = match.lastgroup, match.group()
        if kind == "word" and word.lower() in KEYWORDS:
            kind, word = "keyword", word.lower()
        if kind != "space":
            tokens.append(_Token(kind, word, at))
        at = match.end()
    return [*tokens, _Token("end", "", len(text))]


def _fail(text: str, at: int, what: str, expected: str | None, received: str) -> NoReturn:
    where = f"predicate {text!r}, position {at + 1}"
    raise UsageError(what, where=where, expected=expected, received=received)


class _Parser:
    """One pass over the tokens of one text; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at = text, _tokens(text), 0

    def disjunction(self, depth: int) -> Predicate:
        parts = [self._conjunction(depth)]
        while self._take("keyword", "or"):
            parts.append(self._conjunction(depth))
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def _conjunction(self, depth: int) -> Predicate:
        parts = [self._negation(depth)]
        while self._take("keyword", "and"):
            parts.append(self._negation(depth))
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def _negation(self, depth: int) -> Predicate:
        token = self._tokens[self._at]
        if depth > MAX_DEPTH:
            _fail(self._text, token.at, "predicate is nested too deeply", f"{MAX_DEPTH} levels", "more")
        if self._take("keyword", "not"):
            return Not(self._negation(depth + 1))
        if self._take("mark", "("):
            inner = self.disjunction(depth + 1)
            self.expect("mark", ")", "a closing parenthesis")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        name = self._name()
        token = self._tokens[self._at]
        if token.kind == "operator":
            self._at += 1
            return Compare(name, "=" if token.text == "==" else token.text, self._value())
        if self._take("keyword", "has"):
            return Has(name, self._value())
        if self._take_word("under"):
            return Under(name, self._value())
        if self._take_word("is"):
            negated = self._take("keyword", "not")
            if not self._take_word("missing"):
                self._unexpected("missing" if negated else "missing or not missing")
            return Not(Missing(name)) if negated else Missing(name)
        if self._take("keyword", "between"):
            low = self._value()
            self.expect("keyword", "and", "and")
            return And((Compare(name, ">=", low), Compare(name, "<=", self._value())))
        negated = self._take("keyword", "not")
        self.expect(
            "keyword",
            "in",
            "in" if negated else f"{' '.join(OPERATORS)}, is missing, under, in, not in, has or between",
        )
        return Not(In(name, self._values())) if negated else In(name, self._values())

    def _values(self) -> tuple[Value, ...]:
        self.expect("mark", "(", "an opening parenthesis")
        values = [self._value()]
        while self._take("mark", ","):
            values.append(self._value())
        self.expect("mark", ")", "a comma or a closing parenthesis")
        return tuple(values)

    def _name(self) -> str:
        token = self._tokens[self._at]
        if token.kind not in ("word", "name"):
            self._unexpected("the name of an attribute")
        self._at += 1
        return token.text if token.kind == "word" else _unquoted(token.text)

    def _value(self) -> Value:
        token = self._tokens[self._at]
        if token.kind not in ("number", "text"):
            self._unexpected('a number or text in quotes, such as 1990 or "Action"')
        self._at += 1
        if token.kind == "text":
            return _unquoted(token.text)
        is_float = re.search("[.eE]", token.text) or len(token.text) > _INTEGER_DIGITS
        number = float(token.text) if is_float else int(token.text)
        try:
            return checked_value(number)
        except UsageError as error:
            _fail(self._text, token.at, error.what, str(error.expected), token.text)

    def _take(self, kind: str, text: str) -> bool:
        token = self._tokens[self._at]
        found = token.kind == kind and token.text == text
        self._at += found
        return found

    def _take_word(self, text: str) -> bool:
        """Step over a word that is a keyword after a name alone: attributes may be called so."""
        token = self._tokens[self._at]
        found = token.kind == "word" and token.text.lower() == text
        self._at += found
        return found

    def expect(self, kind: str, text: str, called: str) -> None:
        """Step over a token that must be there."""
        if not self._take(kind, text):
            self._unexpected(called)

    def _unexpected(self, expected: str) -> NoReturn:
        token = self._tokens[self._at]
        received = "the end" if token.kind == "end" else token.text
        _fail(self._text, token.at, "predicate cannot be read", expected, received)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
