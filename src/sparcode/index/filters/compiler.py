"""Predicates -> bitsets of the items they hold for, remembered up to a number of bytes."""

from __future__ import annotations

import logging
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index.bitsets import pack_bits
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.columns import Category, MultiCategory, Number
from sparcode.index.filters.parser import parse_predicate
from sparcode.index.filters.predicates import (
    And,
    Compare,
    Has,
    In,
    Not,
    Or,
    Predicate,
    Value,
    normalized,
    value_text,
)

Where: TypeAlias = "Predicate | str | Sequence[Predicate | str | None] | None"
"""A predicate or its text, shared by all queries, or one (or None) per query; None = all items."""

CACHE_BYTES = 64 << 20

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_log = logging.getLogger(__name__)


class FilterCompiler:
    """Bitsets of predicates over the attributes of one catalogue; safe to use from several threads.

    Parts of a predicate are remembered too: a new combination of known comparisons costs a few passes over
    ``num_items / 8`` bytes.

    Args:
        attributes: what predicates speak of.
        cache_bytes: bound of the bitsets remembered; the least recently used are forgotten first.
    """

    def __init__(self, attributes: ItemAttributes, cache_bytes: int = CACHE_BYTES) -> None:
        self.attributes = attributes
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[Predicate, NDArray[np.uint64]] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        items = np.ones(attributes.num_items + 1, dtype=np.bool_)
        items[0] = False
        self._all = _frozen(pack_bits(items))

    def compile(self, where: Predicate | str) -> NDArray[np.uint64]:
        """The items for which a predicate holds.

        Returns:
            (num_items // 64 + 1,) uint64, read-only: bit ``i % 64`` of word ``i // 64`` is set for item i.
            The padding item 0 is never in it.

        Raises:
            UsageError: text that is no predicate, an unknown attribute, or a comparison that its kind does
                not know.
        """
        if isinstance(where, str):
            where = parse_predicate(where)
        if not isinstance(where, Compare | In | Has | And | Or | Not):
            raise UsageError("not a predicate", expected="a predicate or its text", received=repr(where))
        words = self._recall(where)
        return self._remembered(normalized(where)) if words is None else words

    def masks(self, where: Where, num_queries: int) -> NDArray[np.uint64] | None:
        """The bitsets of a batch of queries.

        Returns:
            (num_words,) if all queries have the same, else (num_queries, num_words); None if none has one.

        Raises:
            UsageError: see :meth:`compile`; or another number of predicates than queries.
        """
        if where is None or isinstance(where, str) or not isinstance(where, Sequence):
            return None if where is None else self.compile(where)
        if len(where) != num_queries:
            raise UsageError("where needs one predicate per query", expected=num_queries, received=len(where))
        rows = [self._all if one is None else self.compile(one) for one in where]
        if all(row is rows[0] for row in rows):
            return None if not rows or rows[0] is self._all else rows[0]
        return np.stack(rows)

    def _recall(self, predicate: Predicate) -> NDArray[np.uint64] | None:
        with self._lock:
            words = self._cache.get(predicate)
            if words is not None:
                self._cache.move_to_end(predicate)
        return words

    def _remembered(self, predicate: Predicate) -> NDArray[np.uint64]:
        words = self._recall(predicate)
        if words is None:
            words = self._evaluate(predicate)
            self._remember(predicate, words)
        return words

    def _remember(self, predicate: Predicate, words: NDArray[np.uint64]) -> None:
        with self._lock:
            if predicate not in self._cache:
                self._cache[predicate] = words
                self._cached_bytes += words.nbytes
            while self._cached_bytes > self._cache_bytes:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes

    def _evaluate(self, predicate: Predicate) -> NDArray[np.uint64]:
        if isinstance(predicate, And):
            return _frozen(reduce(np.bitwise_and, map(self._remembered, predicate.parts)))
        if isinstance(predicate, Or):
            return _frozen(reduce(np.bitwise_or, map(self._remembered, predicate.parts)))
        if isinstance(predicate, Not):
            return _frozen(self._all & ~self._remembered(predicate.part))
        column = self.attributes.column(predicate.attribute)
        if isinstance(column, Number):
            return _frozen(pack_bits(_numbers(column, predicate)))
        texts = _texts(predicate)
        for text in column.unknown_texts(texts):
            _log.warning("no item has %s %r: nothing matches it", predicate.attribute, text)
        flags = _categories if isinstance(column, Category) else _sets
        return _frozen(pack_bits(flags(column, predicate, texts)))  # type: ignore[arg-type]


def _numbers(column: Number, predicate: Compare | In | Has) -> NDArray[np.bool_]:
    """(num_items + 1,) whether a number fulfils a predicate; NaN fulfils none."""
    if isinstance(predicate, Has):
        raise _unsupported(predicate, "a number", "=, !=, <, <=, >, >=, in or between")
    given = (predicate.value,) if isinstance(predicate, Compare) else predicate.values
    for value in given:
        if isinstance(value, str):
            raise _unsupported(predicate, "a number", f"a number in place of {value_text(value)}")
    if isinstance(predicate, In):
        return np.isin(column.values, np.array(predicate.values, dtype=np.float64))
    holds: NDArray[np.bool_] = _COMPARISONS[predicate.operator](column.values, predicate.value)
    return holds & ~np.isnan(column.values) if predicate.operator == "!=" else holds


def _categories(column: Category, predicate: Compare | In | Has, texts: list[str]) -> NDArray[np.bool_]:
    if isinstance(predicate, Has) or (
        isinstance(predicate, Compare) and predicate.operator not in ("=", "!=")
    ):
        raise _unsupported(predicate, "a category", "=, != or in")
    table = column.table_of(texts)
    if isinstance(predicate, Compare) and predicate.operator == "!=":
        table[:-1] = ~table[:-1]  # the last row is that of the unknown, code -1
    return table[column.codes]


def _sets(column: MultiCategory, predicate: Compare | In | Has, texts: list[str]) -> NDArray[np.bool_]:
    if isinstance(predicate, Compare):
        raise _unsupported(predicate, "a set", "has or in")
    hits = np.zeros(len(column.codes) + 1, dtype=np.int64)
    np.cumsum(column.table_of(texts)[column.codes], out=hits[1:])
    before = hits[column.indptr]
    return before[1:] > before[:-1]


def _texts(predicate: Compare | In | Has) -> list[str]:
    """Values as texts; integers are read as text, as item ids are."""
    values: Sequence[Value] = predicate.values if isinstance(predicate, In) else (predicate.value,)
    for value in values:
        if isinstance(value, float):
            raise _unsupported(predicate, "no number", f"text in place of {value}")
    return [str(value) for value in values]


def _unsupported(predicate: Compare | In | Has, kind: str, expected: str) -> UsageError:
    return UsageError(
        f"attribute {predicate.attribute} is {kind}", where=f"predicate {str(predicate)!r}", expected=expected
    )


def _frozen(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words.flags.writeable = False
    return words
