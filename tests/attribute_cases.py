"""Small item attributes with unknown values, and predicates over them evaluated item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from sparcode.index.filters import (
    And,
    Compare,
    Has,
    In,
    ItemAttributes,
    Missing,
    Not,
    Or,
    Predicate,
    Under,
    category,
    category_set,
    number,
)

TEXTS = ["Action", "Drama", "it's", 'a "b"', "", "7"]
NUMBERS = [-3, 0, 0.1, 1990, 1999.5, 2**53]


@dataclass(frozen=True)
class Table:
    """Values of the items 1, 2, ... by column, None = unknown."""

    year: list[Any]
    studio: list[Any]
    genres: list[Any]

    @property
    def num_items(self) -> int:
        return len(self.year)

    def attributes(self) -> ItemAttributes:
        return ItemAttributes(
            {
                "year": number(self.year),
                "studio": category(self.studio),
                "odd name": category_set(self.genres),
            }
        )

    def row(self, item: int) -> dict[str, Any]:
        return {
            "year": self.year[item - 1],
            "studio": self.studio[item - 1],
            "odd name": self.genres[item - 1] or (),
        }

    def matches(self, predicate: Predicate) -> list[int]:
        return [item for item in range(1, self.num_items + 1) if holds(predicate, self.row(item))]


def holds(predicate: Predicate, row: dict[str, Any]) -> bool:
    """The definition of every predicate, one item at a time."""
    if isinstance(predicate, And):
        return all(holds(part, row) for part in predicate.parts)
    if isinstance(predicate, Or):
        return any(holds(part, row) for part in predicate.parts)
    if isinstance(predicate, Not):
        return not holds(predicate.part, row)
    value = row[predicate.attribute]
    if isinstance(predicate, Missing):
        return value is None or value == () or value == []
    if isinstance(predicate, Under):  # of a set of paths, each with all above it
        return any(path == str(predicate.value) for path in value)
    if isinstance(predicate, Has):
        return str(predicate.value) in value
    if isinstance(predicate, In) and isinstance(value, list | tuple):
        return any(str(one) in value for one in predicate.values)
    if value is None:
        return False
    if isinstance(predicate, In):
        return value in (map(str, predicate.values) if isinstance(value, str) else predicate.values)
    other = str(predicate.value) if isinstance(value, str) else predicate.value
    return {
        "=": value == other,
        "!=": value != other,
        "<": value < other,
        "<=": value <= other,
        ">": value > other,
        ">=": value >= other,
    }[predicate.operator]


def tables(max_items: int = 140) -> st.SearchStrategy[Table]:
    """Up to 140 items: the bits of more than two words."""
    row = st.tuples(
        st.none() | st.sampled_from(NUMBERS),
        st.none() | st.sampled_from(TEXTS),
        st.none() | st.lists(st.sampled_from(TEXTS), max_size=4),
    )
    rows = st.lists(row, min_size=1, max_size=8)
    return st.builds(
        lambda few, count: Table(*map(list, zip(*(few[n % len(few)] for n in range(count)), strict=True))),
        rows,
        st.integers(1, max_items),
    )


TEXT_VALUES = st.sampled_from([*TEXTS, "absent", 7])
NUMBER_VALUES = st.sampled_from([*NUMBERS, 5, -0.0])
LEAVES: st.SearchStrategy[Predicate] = st.one_of(
    st.builds(Compare, st.just("year"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NUMBER_VALUES),
    st.builds(In, st.just("year"), st.lists(NUMBER_VALUES, min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, st.just("studio"), st.sampled_from(["=", "!="]), TEXT_VALUES),
    st.builds(In, st.just("studio"), st.lists(TEXT_VALUES, min_size=1, max_size=3).map(tuple)),
    st.builds(Has, st.just("odd name"), TEXT_VALUES),
    st.builds(Under, st.just("odd name"), TEXT_VALUES),
    st.builds(Missing, st.sampled_from(["year", "studio", "odd name"])),
    st.builds(In, st.just("odd name"), st.lists(TEXT_VALUES, min_size=1, max_size=3).map(tuple)),
)


def _joined(parts: st.SearchStrategy[Predicate]) -> st.SearchStrategy[Predicate]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, parts)


PREDICATES: st.SearchStrategy[Predicate] = st.recursive(LEAVES, _joined, max_leaves=8)
