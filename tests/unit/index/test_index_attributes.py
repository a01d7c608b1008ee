"""Attributes and predicates: what is refused, and how it is named; files; the cache."""

from __future__ import annotations

import json
import logging
import random
import shutil
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sparcode.errors import IndexFormatError, OutputError, UsageError
from sparcode.index import InvertedIndex
from sparcode.index.filters import (
    And,
    Compare,
    FilterCompiler,
    Has,
    In,
    ItemAttributes,
    Not,
    category,
    category_set,
    coded,
    number,
    parse_predicate,
)

YEARS = [1990, None, 2001, 1990.5]
STUDIOS = ["Größe", None, "b", "b"]
GENRES = [["Action", "War"], [], None, ["War", "War"]]


@pytest.fixture
def attributes() -> ItemAttributes:
    return ItemAttributes(
        {
            "year": number(YEARS),
            "studio": category(STUDIOS),
            "genres": category_set(GENRES),
        }
    )


def found(attributes: ItemAttributes, where: str) -> list[int]:
    (word,) = FilterCompiler(attributes).compile(where)
    return [item for item in range(64) if int(word) >> item & 1]


@pytest.mark.parametrize(
    ("where", "items"),
    [
        ("year = 1990", [1]),
        ("year == 1990.0", [1]),
        ("year != 1990", [3, 4]),
        ("not year = 1990", [2, 3, 4]),
        ("year not in (1990)", [2, 3, 4]),
        ("year between 1990 and 1991 and studio = 'b'", [4]),
        ("studio != 'b'", [1]),
        ("genres has War", None),
        ('genres has "War" OR year > 2e3', [1, 3, 4]),
        ('genres in ("Action", "none")', [1]),
        ('not (genres has "War" or `year` > 2000)', [2]),
        ('studio = "Größe" and not not genres has "War"', [1]),
        ("year < 0", []),
        ("year is missing", [2]),
        ("year is not missing and year < 1990.5", [1]),
        ("not (year < 2000) and not year is missing", [3]),
        ("studio IS MISSING", [2]),
        ("genres is missing", [2, 3]),
        ("not genres is not missing", [2, 3]),
        ('genres under "War"', [1, 4]),
        ("year = 1 or year = 2 and studio = 'b' or year >= 2001", [3]),
    ],
)
def test_items_by_hand(attributes: ItemAttributes, where: str, items: list[int] | None) -> None:
    if items is None:
        with pytest.raises(UsageError, match=r"position 12.*number or text in quotes.*received War"):
            found(attributes, where)
    else:
        assert found(attributes, where) == items


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "position 1: .*the name of an attribute; received the end"),
        ("year", r"position 5: .*is missing, under, in, not in, has or between; received the end"),
        ("year is", "position 8: .*missing or not missing; received the end"),
        ("year is not known", "position 13: .*missing; received known"),
        ("genres under Shoes", "position 14: .*text in quotes"),
        ("year under 3", "attribute year is a number"),
        ("studio under 'a'", "attribute studio is a category"),
        ("age is missing", "unknown attribute"),
        ("year >= ", "position 9: .*number or text in quotes"),
        ("year >= 'a' x", "position 13: .*and, or, or the end; received x"),
        ("(year = 1", "position 10: .*a closing parenthesis; received the end"),
        ("genres in ()", "position 12: "),
        ("genres in ('a' 'b')", "position 16: .*a comma or a closing parenthesis"),
        ("genres has 'a", "position 12: text without its closing quote"),
        ("year = 1990s", "position 8: unexpected character"),
        ("year @ 3", "position 6: unexpected character; received '@'"),
        ("year between 1 or 2", "position 16: .*expected and; received or"),
        ("year not 3", "position 10: .*expected in; received 3"),
        ("year = 1e999", "position 8: not a value.*a finite number; received 1e999"),
        ("year = 9007199254740993", "integer too large"),
        ("year = " + "9" * 5000, "position 8: not a value"),
        ("(" * 99, "nested too deeply"),
        ("not " * 99 + "year = 1", "nested too deeply"),
        ("age = 1", r"unknown attribute; expected year \(number\) \| studio \(category\) \| genres \(set\)"),
        ("year = 'b'", 'attribute year is a number.*a number in place of "b"'),
        ("year has 1", "attribute year is a number.*expected =, !="),
        ("studio > 'a'", "attribute studio is a category.*expected =, != or in"),
        ("studio has 'a'", "attribute studio is a category"),
        ("genres = 'War'", "attribute genres is a set.*expected has or in"),
        ("genres has 1.5", "text in place of 1.5"),
    ],
)
def test_bad_predicates_are_refused_in_one_line(attributes: ItemAttributes, where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        found(attributes, where)
    assert "\n" not in str(caught.value)


def test_bad_values_are_refused(attributes: ItemAttributes) -> None:
    for make in (
        lambda: Compare("year", "~", 1),
        lambda: Compare("year", "=", float("nan")),
        lambda: Compare("year", "=", True),
        lambda: Has("genres", None),  # type: ignore[arg-type]
        lambda: In("year", ()),
        lambda: In("year", "text"),  # type: ignore[arg-type]
        lambda: And((Compare("year", "=", 1),)),
        lambda: FilterCompiler(attributes).compile(3),  # type: ignore[arg-type]
        lambda: number(["x"]),  # type: ignore[list-item]
    ):
        with pytest.raises(UsageError):
            make()


@pytest.mark.parametrize("shared", [True, False])
def test_values_that_no_item_has_are_one_warning_a_search(
    shared: bool, attributes: ItemAttributes, caplog: pytest.LogCaptureFixture
) -> None:
    index = InvertedIndex.from_postings([0, 1], [1], [1.0], num_items=4).with_attributes(attributes)
    text = "genres in ('War', 'Wra') and not (studio = 'c' or genres under 'x')"
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            index.search([[0]] * 3, 2, where=text if shared else [text, "genres in ('Wra', 'War')", None])
        assert [record.getMessage() for record in caplog.records] == [
            'no item has genres "Wra", genres "x", studio "c": nothing matches'
        ]


def test_attributes_may_be_called_like_the_words_after_a_name() -> None:
    attributes = ItemAttributes({name: number([1, None]) for name in ("is", "under", "missing")})
    assert found(attributes, "is = 1 and under is not missing") == [1]
    assert found(attributes, "missing is missing") == [2]


def test_rows_can_be_replaced_and_added(attributes: ItemAttributes) -> None:
    rows = {
        "year": number([3, 4]),
        "studio": category(["new", None]),
        "genres": category_set([["War", "late"], []]),
    }
    changed = attributes.with_rows(7, np.array([6, 1]), rows)
    assert changed.column("year").to_pylist() == [None, 4, None, 2001, 1990.5, None, 3, None]
    assert changed.column("studio").to_pylist() == [None, None, None, "b", "b", None, "new", None]
    assert [row or [] for row in changed.column("genres").to_pylist()] == [
        [], [], [], [], ["War", "War"], [], ["War", "late"], [],
    ]  # fmt: skip
    assert found(changed, "genres has 'War' and year <= 3") == [6]
    assert found(changed, "year is missing") == [2, 5, 7]
    assert attributes.num_items == 4


def test_equivalent_writings_share_one_bitset(attributes: ItemAttributes) -> None:
    compiler = FilterCompiler(attributes)
    words = compiler.compile("year = 1 and (studio = 'b' and genres has 'War')")
    assert compiler.compile("genres has 'War' and studio='b' and (year = 1.0 and year = 1)") is words
    assert (
        compiler.compile(Not(Not(parse_predicate("studio = 'b' and year = 1 and genres has 'War'")))) is words
    )
    assert not words.flags.writeable


def test_the_cache_is_bounded_and_forgets_the_least_recently_used(attributes: ItemAttributes) -> None:
    compiler = FilterCompiler(attributes, cache_bytes=1000)  # two bitsets
    first, second = compiler.compile("year = 1"), compiler.compile("year = 2")
    assert compiler.compile("year = 1") is first
    compiler.compile("year = 3")
    assert compiler.compile("year = 1") is first
    assert compiler.compile("year = 2") is not second


def test_the_bound_of_the_cache_holds_for_long_predicates_that_never_come_again(
    attributes: ItemAttributes, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts, and values in them, count: a filter of 500 values is larger than its bitset."""
    caplog.set_level(logging.ERROR)
    compiler = FilterCompiler(attributes, cache_bytes=1 << 20)
    draw = random.Random(0)

    def compile_new(count: int) -> None:
        for _ in range(count):
            values = ", ".join(f'"v{draw.randrange(10**6)}"' for _ in range(500))
            compiler.compile(f"studio in ({values})")

    compile_new(150)  # more than fit
    tracemalloc.start()
    compile_new(300)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 2 << 20


def test_masks_are_shared_where_the_predicates_are(attributes: ItemAttributes) -> None:
    compiler = FilterCompiler(attributes)
    late = compiler.compile("year > 2000")
    assert compiler.masks(None, 2) is None
    assert compiler.masks([None, None], 2) is None
    assert compiler.masks([], 0) is None
    assert compiler.masks("year > 2000", 2) is late
    assert compiler.masks(["year > 2000", parse_predicate("year > 2000")], 2) is late
    mixed = compiler.masks(["year > 2000", None], 2)
    assert mixed is not None
    assert mixed.tolist() == [[0b1000], [0b11110]]
    with pytest.raises(UsageError, match="one predicate per query; expected 3; received 2"):
        compiler.masks(["year > 2000", None], 3)


def test_threads_share_a_compiler(attributes: ItemAttributes) -> None:
    compiler = FilterCompiler(attributes, cache_bytes=64)
    expected = {year: found(attributes, f"year > {year}") for year in range(1980, 2010)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        years = list(expected) * 20
        random.Random(seed).shuffle(years)
        for year in years:
            (word,) = compiler.compile(f"year > {year}")
            if [item for item in range(64) if int(word) >> item & 1] != expected[year]:
                wrong.append(year)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ids_become_categories_and_padded_rows_sets() -> None:
    column = coded(["a", "b", "c"], np.array([[1, 2, 3], [0, 3, 1], [0, 0, 0], [2, 0, 0]], np.int32))
    assert column.to_pylist() == [[], ["c", "a"], [], ["b"]]
    assert coded(["a", "b"], np.array([1, 2, 0, 1])).to_pylist() == [None, "b", None, "a"]


TEXT = pa.dictionary(pa.int32(), pa.string())
BROKEN = pa.DictionaryArray.from_arrays(pa.array([None, 1], pa.int32()), ["x"], safe=False)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least one column"),
        ({"": number([1])}, "needs a name"),
        ({"a": number([1]), "b": number([1, 2])}, "differ in length"),
        ({"a": pa.array([0.0, 1.0])}, "a: row 0 must be unknown"),
        ({"a": pa.array([None, np.inf])}, "not finite"),
        ({"a": pa.array([None, np.nan])}, "not finite"),
        ({"a": pa.array([None, 1])}, r"of no known kind.*number \| category \| set; received int64"),
        ({"a": [None, 1.0]}, "of no known kind.*received list"),
        (
            {"a": pa.DictionaryArray.from_arrays(pa.array([None, 1], pa.int32()), ["x"], safe=False)},
            "a: .*inconsistent",
        ),
        ({"a": pa.array(["x", "x"]).dictionary_encode()}, "row 0 must be unknown"),
        ({"a": pa.array([["x"], []], pa.list_(TEXT))}, "row 0 must be unknown"),
        ({"a": pa.array([], pa.float64())}, "row 0 must be unknown"),
    ],
)
def test_inconsistent_columns_are_refused(columns: dict, message: str) -> None:
    with pytest.raises(IndexFormatError, match=message):
        ItemAttributes(columns)


def assert_same(left: ItemAttributes, right: ItemAttributes) -> None:
    assert (left.names, left.num_items) == (right.names, right.num_items)
    for name in left.names:
        assert left.column(name).equals(right.column(name))


@pytest.mark.parametrize("verify", [True, False])
def test_round_trip(attributes: ItemAttributes, tmp_path: Path, verify: bool) -> None:
    attributes.save(tmp_path / "attributes")
    loaded = ItemAttributes.load(tmp_path / "attributes", verify=verify)
    assert_same(attributes, loaded)
    assert loaded.size_bytes == attributes.size_bytes > 0


def test_saving_replaces_what_was_there(attributes: ItemAttributes, tmp_path: Path) -> None:
    attributes.save(tmp_path)
    other = ItemAttributes({"size": number([1, 2])})
    other.save(tmp_path)
    assert_same(other, ItemAttributes.load(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="attributes cannot be written"):
        other.save(tmp_path / "file")


def same_json(left: Path, right: Path) -> bool:
    try:
        return bool(json.loads(left.read_bytes()) == json.loads(right.read_bytes()))
    except ValueError:
        return False


def test_damaged_files_are_refused_by_name(attributes: ItemAttributes, tmp_path: Path) -> None:
    """Every bit flip and truncation is refused, with the file named."""
    attributes.save(tmp_path / "good")
    rng = random.Random(1)
    files = sorted((tmp_path / "good").iterdir())
    for trial in range(300):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(tmp_path / "good", bad)
        path = bad / files[trial % len(files)].name
        content = bytearray(path.read_bytes())
        if trial % 3 == 0:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        if path.name == "manifest.json" and same_json(path, tmp_path / "good" / path.name):
            continue  # white space was hit
        with pytest.raises(IndexFormatError, match=str(bad)):
            ItemAttributes.load(bad)


def test_a_manifest_that_contradicts_its_sections_is_refused(
    attributes: ItemAttributes, tmp_path: Path
) -> None:
    from sparcode.index.storage import section_directory

    attributes.save(tmp_path)
    path = tmp_path / "manifest.json"
    for change in (
        {"sections": []},
        {"sections": 3},
        {"sections": [{"name": "table"}]},
        {"sections": [{**json.loads(path.read_text())["sections"][0], "dtype": "<f4"}]},
    ):
        attributes.save(tmp_path)
        content = {**json.loads(path.read_text()), **change}
        del content["checksum"]
        checksum = section_directory._checksum(content)
        path.write_text(json.dumps({**content, "checksum": checksum}))
        with pytest.raises(IndexFormatError, match=str(tmp_path)):
            ItemAttributes.load(tmp_path)
