"""Predicates -> bitsets of the items they hold for, remembered up to a number of bytes."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index import bitsets as bits
from sparcode.index.filters.attribute_columns import kind_of
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.filters.predicate_parser import parse_predicate
from sparcode.index.filters.predicates import (
    And,
    Compare,
    Has,
    In,
    Missing,
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

_ENTRY_BYTES = 400
"""What a remembered bitset takes beside its words and its text: objects and the dictionary's place."""

_ABSENT_BYTES = 1 << 19
"""What remembering values that no item has may take, the oldest being forgotten first."""

_COMPARISONS = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}

_log = logging.getLogger(__name__)


class FilterCompiler:
    """Bitsets of predicates over the attributes of one catalogue; safe to use from several threads.

    Parts of a predicate are remembered too: a new combination of known comparisons costs a few passes over
    ``num_items / 8`` bytes.

    Args:
        attributes: what predicates are evaluated on.
        cache_bytes: bound of all that is remembered; the least recently used is forgotten first.
    """

    def __init__(self, attributes: ItemAttributes, cache_bytes: int = CACHE_BYTES) -> None:
        self.attributes = attributes
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, NDArray[np.uint64] | str] = OrderedDict()
        """Bitsets by the text of the normalized predicate, and such texts by other writings of them."""
        self._cached_bytes = 0
        self._absent: dict[str, list[str]] = {}
        """Values that no item has by the text of the comparison that names them."""
        self._absent_bytes = 0
        self._lock = threading.Lock()
        self._all = _frozen(bits.all_items(attributes.num_items))

    def compile(self, where: Predicate | str) -> NDArray[np.uint64]:
        """The items for which a predicate holds.

        Returns:
            (num_items // 64 + 1,) uint64, read-only: bit ``i % 64`` of word ``i // 64`` is set for item i.
            The padding item 0 is never in it.

        Raises:
            UsageError: text that is no predicate, an unknown attribute, or a comparison that its kind does
                not know.
        """
        if not isinstance(where, str | Compare | In | Has | Missing | And | Or | Not):
            raise UsageError("not a predicate", expected="a predicate or its text", received=repr(where))
        text = str(where)
        words = self._recall(text)
        if words is not None:
            return words
        predicate = normalized(parse_predicate(where) if isinstance(where, str) else where)
        words = self._remembered(predicate)
        self._remember(text, str(predicate))
        return words

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

    def absent_values(self, where: Predicate | str) -> list[str]:
        """Values of a predicate that was compiled that no item has, such as ``genres "Wra"``, sorted."""
        predicate = parse_predicate(where) if isinstance(where, str) else where
        if isinstance(predicate, Not):
            return self.absent_values(predicate.part)
        if isinstance(predicate, And | Or):
            return sorted({value for part in predicate.parts for value in self.absent_values(part)})
        return self._absent.get(str(normalized(predicate)), [])

    def warn_of_absent(self, where: Where) -> None:
        """Log one warning of all values of the predicates of a search that no item has."""
        given = [where] if isinstance(where, str) or not isinstance(where, Sequence) else where
        found = {value for one in given if one is not None for value in self.absent_values(one)}
        if found:
            _log.warning("no item has %s: nothing matches", ", ".join(sorted(found)))

    def _recall(self, text: str) -> NDArray[np.uint64] | None:
        with self._lock:
            found = self._cache.get(text)
            if found is not None:
                self._cache.move_to_end(text)
            if isinstance(found, str):
                text, found = found, self._cache.get(found)
                if found is not None:
                    self._cache.move_to_end(text)
        return found if isinstance(found, np.ndarray) else None

    def _remembered(self, predicate: Predicate) -> NDArray[np.uint64]:
        text = str(predicate)
        words = self._recall(text)
        if words is None:
            words = _frozen(self._evaluate(predicate))
            self._remember(text, words)
        return words

    def _remember(self, text: str, found: NDArray[np.uint64] | str) -> None:
        with self._lock:
            if text not in self._cache:
                self._cache[text] = found
                self._cached_bytes += _size(text, found)
            while self._cached_bytes > self._cache_bytes:
                self._cached_bytes -= _size(*self._cache.popitem(last=False))

    def _evaluate(self, predicate: Predicate) -> NDArray[np.uint64]:
        if isinstance(predicate, And):
            return reduce(np.bitwise_and, map(self._remembered, predicate.parts))
        if isinstance(predicate, Or):
            return reduce(np.bitwise_or, map(self._remembered, predicate.parts))
        if isinstance(predicate, Not):
            return self._all & ~self._remembered(predicate.part)
        column = self.attributes.column(predicate.attribute)
        kind = kind_of(column)
        if isinstance(predicate, Missing):
            return self._all & ~_known(column, kind)
        if kind == "number":
            holds = _numbers(column, predicate)
            return self._all & _bit_buffer(holds, 0) & _bit_buffer(holds, 1)
        texts = pa.array(_texts(predicate), pa.string())
        vocabulary = column.dictionary if kind == "category" else column.values.dictionary
        matching = pc.is_in(vocabulary, value_set=texts)
        self._note_absent(predicate, texts.filter(pc.invert(pc.is_in(texts, value_set=vocabulary))))
        holds_of = _categories if kind == "category" else _sets
        return self._all & holds_of(column, predicate, matching)

    def _note_absent(self, predicate: Compare | In | Has, texts: pa.Array) -> None:
        if not len(texts):
            return
        values = [f"{predicate.attribute} {value_text(text)}" for text in texts.to_pylist()]
        text = str(predicate)
        with self._lock:
            if text not in self._absent:
                self._absent[text] = sorted(values)
                self._absent_bytes += _note_size(text, values)
            while self._absent_bytes > _ABSENT_BYTES and len(self._absent) > 1:
                oldest = next(iter(self._absent))
                self._absent_bytes -= _note_size(oldest, self._absent.pop(oldest))


def _known(column: pa.Array, kind: str) -> NDArray[np.uint64]:
    """The items that have a value."""
    if kind != "set":
        return _bit_buffer(column, 0)
    return bits.pack_bits(pc.fill_null(pc.greater(pc.list_value_length(column), 0), False).to_numpy(False))


def _numbers(column: pa.Array, predicate: Compare | In | Has) -> pa.BooleanArray:
    """(num_items + 1,) whether a number fulfils a predicate; null where it is unknown."""
    if isinstance(predicate, Has):
        raise _unsupported(predicate, "a number", "=, !=, <, <=, >, >=, in or between")
    given = (predicate.value,) if isinstance(predicate, Compare) else predicate.values
    for value in given:
        if isinstance(value, str):
            raise _unsupported(predicate, "a number", f"a number in place of {value_text(value)}")
    if isinstance(predicate, In):
        return pc.is_in(column, value_set=pa.array(map(float, predicate.values), pa.float64()))
    return _COMPARISONS[predicate.operator](column, pa.scalar(float(predicate.value)))


def _categories(column: pa.Array, predicate: Compare | In | Has, matching: pa.Array) -> NDArray[np.uint64]:
    if isinstance(predicate, Has) or (
        isinstance(predicate, Compare) and predicate.operator not in ("=", "!=")
    ):
        raise _unsupported(predicate, "a category", "=, != or in")
    if isinstance(predicate, Compare) and predicate.operator == "!=":
        matching = pc.invert(matching)
    return bits.pack_bits(_looked_up(matching, column.indices)) & _bit_buffer(column, 0)


def _sets(column: pa.Array, predicate: Compare | In | Has, matching: pa.Array) -> NDArray[np.uint64]:
    if isinstance(predicate, Compare):
        raise _unsupported(predicate, "a set", "has or in")
    holds = np.zeros(len(column), dtype=np.bool_)
    hits = _looked_up(matching, column.flatten().indices)
    holds[pc.list_parent_indices(column).to_numpy()[hits]] = True
    return bits.pack_bits(holds)


def _looked_up(matching: pa.Array, codes: pa.Array) -> NDArray[np.bool_]:
    """(n,) whether the text of each code matches; anything where a code is null."""
    table = matching.to_numpy(zero_copy_only=False)
    numbers = np.frombuffer(codes.buffers()[1], np.int32)[codes.offset : codes.offset + len(codes)]
    return table.take(numbers, mode="clip") if len(table) else np.zeros(len(codes), np.bool_)


def _bit_buffer(array: pa.Array, which: int) -> NDArray[np.uint64]:
    """The validity bits (0) or the values (1) of an array, which Arrow has in the order of a bitset."""
    buffer, size = array.buffers()[which], bits.num_words(len(array) - 1) * 8
    if buffer is None:  # nothing is null
        return np.full(size // 8, ~np.uint64(0))
    packed = np.zeros(size, np.uint8)
    count = min(size, -(-len(array) // 8))
    packed[:count] = np.frombuffer(buffer, np.uint8)[:count]
    return packed.view(np.uint64)


def _size(text: str, found: NDArray[np.uint64] | str) -> int:
    held = sys.getsizeof(found) if isinstance(found, str) else found.nbytes
    return _ENTRY_BYTES + sys.getsizeof(text) + held


def _note_size(text: str, values: Sequence[str]) -> int:
    return _ENTRY_BYTES + sys.getsizeof(text) + sum(map(sys.getsizeof, values))


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
