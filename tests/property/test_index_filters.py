"""A compiled predicate holds for exactly the items for which its definition does; its text is read back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attribute_cases import PREDICATES, Table, tables
from sparcode.errors import UsageError
from sparcode.index.bitsets import pack_bits, unpack_bits
from sparcode.index.filters import FilterCompiler, Predicate, parse_predicate
from sparcode.index.filters.predicates import normalized


def items_of(words: np.ndarray, num_items: int) -> list[int]:
    """Item ids of a bitset, read bit by bit."""
    assert words.dtype == np.uint64
    assert words.shape == (num_items // 64 + 1,)
    return [item for item in range(len(words) * 64) if int(words[item // 64]) >> (item % 64) & 1]


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(PREDICATES, min_size=1, max_size=4), st.sampled_from([0, 40, 1 << 20]))
def test_a_bitset_holds_the_items_of_the_definition(
    table: Table, predicates: list[Predicate], cache_bytes: int
) -> None:
    compiler = FilterCompiler(table.attributes(), cache_bytes)
    for predicate in [*predicates, *predicates]:  # the second time from what is remembered
        expected = table.matches(predicate)
        assert items_of(compiler.compile(predicate), table.num_items) == expected
        assert items_of(compiler.compile(str(predicate)), table.num_items) == expected
        assert items_of(compiler.compile(normalized(predicate)), table.num_items) == expected


@settings(max_examples=300, deadline=None)
@given(PREDICATES)
def test_text_is_read_back(predicate: Predicate) -> None:
    assert parse_predicate(str(predicate)) == predicate
    assert normalized(normalized(predicate)) == normalized(predicate)
    assert str(parse_predicate(f" ( {predicate} ) ")) == str(predicate)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "has",
                "under",
                "is",
                "missing",
                "not",
                "in",
                "(",
                ")",
                ",",
                "1",
                '"x"',
                "and",
                "=",
                "'",
                "<",
                "é",
            ]
        )
    )
)
def test_any_text_is_a_predicate_or_one_clear_error(words: list[str]) -> None:
    text = " ".join(words)
    message = None
    try:
        predicate = parse_predicate(text)
    except UsageError as error:
        message = str(error)
    if message is None:
        assert parse_predicate(str(predicate)) == predicate
    else:
        assert "position" in message
        assert len(message.splitlines()) == 1


@given(st.lists(st.booleans(), max_size=300))
def test_bits_are_packed_and_unpacked(flags: list[bool]) -> None:
    words = pack_bits(np.array(flags, dtype=np.bool_))
    number = sum(int(word) << (64 * at) for at, word in enumerate(words))
    assert number == sum(1 << at for at, flag in enumerate(flags) if flag)
    assert unpack_bits(words, len(flags)).tolist() == flags
