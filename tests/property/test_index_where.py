"""A search with ``where`` equals a search that is told the permitted items by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribute_cases import PREDICATES, Table, tables
from sparcode.data.table_features import path_levels
from sparcode.errors import UsageError
from sparcode.index import KERNELS, InvertedIndex, ItemAttributes
from sparcode.index.bitsets import pack_bits, unpack_bits
from sparcode.index.filters import FilterCompiler, category_set, number

SCORES = st.sampled_from([0.1, 0.25, 0.3, 1.0])


@st.composite
def filtered_indexes(draw: st.DrawFn) -> tuple[Table, InvertedIndex]:
    table = draw(tables(max_items=70))
    items = st.dictionaries(st.integers(1, table.num_items), SCORES, max_size=20)
    lists = [sorted(postings.items()) for postings in draw(st.lists(items, min_size=1, max_size=4))]
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, lists)]),
        np.array([item for postings in lists for item, _ in postings], dtype=np.int64),
        np.array([score for postings in lists for _, score in postings], dtype=np.float32),
        num_items=table.num_items,
    )
    return table, index.with_attributes(table.attributes())


@settings(max_examples=200, deadline=None)
@given(filtered_indexes(), st.data())
def test_where_equals_the_allow_list_of_its_items(
    case: tuple[Table, InvertedIndex], data: st.DataObject
) -> None:
    table, index = case
    num_queries = data.draw(st.integers(1, 3))
    terms = data.draw(
        st.lists(
            st.lists(st.integers(-1, index.num_terms - 1), min_size=3, max_size=3),
            min_size=num_queries,
            max_size=num_queries,
        )
    )
    each = data.draw(st.lists(st.none() | PREDICATES, min_size=num_queries, max_size=num_queries))
    shared = data.draw(st.booleans())
    where = each[0] if shared else each
    used = [each[0]] * num_queries if shared else each
    ids = [list(range(1, table.num_items + 1)) if one is None else table.matches(one) for one in used]
    exclude = data.draw(st.none() | st.lists(st.integers(1, table.num_items), max_size=9).map(np.array))
    flags = data.draw(
        st.none() | st.lists(st.booleans(), min_size=table.num_items + 1, max_size=table.num_items + 1)
    )
    if exclude is not None:
        exclude = exclude.astype(np.int64)
    options = {
        "k": data.draw(st.integers(1, 80)),
        "exclude": exclude,
        "fill": data.draw(st.booleans()),
        "mask": None if flags is None else pack_bits(np.array(flags)),
    }
    allow = [np.array(row, dtype=np.int64) for row in ids]
    expected = index.search(terms, allow=allow, kernel="oracle", **options)
    for kernel in KERNELS:
        result = index.search(terms, where=where, kernel=kernel, **options)
        np.testing.assert_array_equal(result.item_ids, expected.item_ids)
        np.testing.assert_array_equal(result.scores, expected.scores)
    if options["fill"] and flags is None and exclude is None:
        found = (result.item_ids > 0).sum(axis=1)
        assert found.tolist() == [min(len(row), options["k"]) for row in ids]


PATHS = st.lists(st.sampled_from(["Shoes", "Shoe", "Boots", "Red"]), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=70), PATHS.filter(bool))
def test_under_is_a_prefix_by_levels(paths: list[list[str]], wanted: list[str]) -> None:
    sets = [path_levels(" / ".join(path), "/") for path in paths]
    compiler = FilterCompiler(ItemAttributes({"category": category_set(sets)}))
    text = "/".join(wanted)
    words = compiler.compile(f'category under "{text}"')
    found = np.flatnonzero(unpack_bits(words, len(paths) + 1))
    assert found.tolist() == [n for n, path in enumerate(paths, 1) if path[: len(wanted)] == wanted]
    known = np.flatnonzero(unpack_bits(compiler.compile("category is not missing"), len(paths) + 1))
    assert known.tolist() == [n for n, path in enumerate(paths, 1) if path]
    is_known = any(path[: len(wanted)] == wanted for path in paths)
    assert compiler.absent_values(f'category under "{text}"') == ([] if is_known else [f'category "{text}"'])


def test_an_index_without_attributes_says_so() -> None:
    index = InvertedIndex.from_postings([0, 1], [1], [1.0], num_items=2)
    assert index.attributes is None
    with pytest.raises(UsageError, match="no item attributes"):
        index.search([[0]], 1, where="year = 1")
    attributes = ItemAttributes({"year": number([1990, None])})
    able = index.with_attributes(attributes)
    assert able.attributes is attributes
    assert able.search([[0]], 2, where="year = 1990").item_ids.tolist() == [[1, -1]]
    assert able.search([[0]], 2, where="year != 1990", fill=True).item_ids.tolist() == [[-1, -1]]
    assert able.search([[0]], 2, where="not year = 1990", fill=True).item_ids.tolist() == [[2, -1]]
    with pytest.raises(UsageError, match="another catalogue; expected 2; received 1"):
        index.with_attributes(ItemAttributes({"year": number([1990])}))
