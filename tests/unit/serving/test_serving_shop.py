"""A bundle made of three tables: titles, filters, new items from tables, and users by name."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bundle_cases import Case, exported
from shop_bundle import shop_bundle, shop_request
from sparcode.errors import BundleError, DataError
from sparcode.pipeline.item_tables import read_items
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.export.exporter import export_bundle
from sparcode.serving.item_changes import Changes
from sparcode.serving.offline import recommend_file
from sparcode.serving.updates import BundleUpdater

sys.path.insert(0, str(Path(__file__).parents[3]))
from update import main

HEADER = "item_id,title,brand,category,price,tags,emb_0,emb_1,emb_2,emb_10"
NEW = (
    'n1,"Boots, ""red""",brand9,Shoes/Boots/Red,777.25,sale|late,1,2,3,4',
    "n2,,brand1,Home/Garden,,,1,2,3,4",
    "a5,Renamed,brand0,Shoes/Sport,0.5,,5,6,7,8",
)


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return Retriever.load(shop_bundle().path)


def items_where(retriever: Retriever, where: str) -> set[str]:
    """Everything that fulfils a predicate."""
    (found,) = retriever.recommend([{"history": ["a1"]}], k=100, exclude_seen=False, where=where)
    return {item for item, _ in found}


def shop_items(test: Any) -> set[str]:
    """Items of the written shop by number for which a condition holds."""
    return {f"a{item}" for item in range(40) if test(item)}


def test_filters_know_numbers_paths_and_missing_values(retriever: Retriever) -> None:
    def price(item: int) -> float:
        return float("nan") if item % 9 == 0 else 5.5 + item

    assert items_where(retriever, "price < 20") == shop_items(lambda i: price(i) < 20)
    assert items_where(retriever, "price = 15.5") == {"a10"}
    assert items_where(retriever, "price is missing") == shop_items(lambda i: i % 9 == 0)
    assert items_where(retriever, "not price is missing and not price < 20") == shop_items(
        lambda i: price(i) >= 20
    )
    assert items_where(retriever, 'category under "Shoes"') == shop_items(lambda i: i % 4 in (0, 1))
    assert items_where(retriever, 'category under "Shoes/Boots"') == shop_items(lambda i: i % 4 == 0)
    assert items_where(retriever, 'price < 20 and category under "Shoes"') == shop_items(
        lambda i: price(i) < 20 and i % 4 in (0, 1)
    )
    assert items_where(retriever, "tags is missing") == shop_items(lambda i: i % 4 == 0)


def test_answers_carry_titles(retriever: Retriever, tmp_path: Path) -> None:
    assert len(retriever.titles) == 40
    queries, answers = tmp_path / "q.jsonl", tmp_path / "r.jsonl"
    queries.write_text(json.dumps({"history": ["a3", "a4"]}), encoding="utf-8")
    recommend_file(retriever, queries, answers)
    (line,) = map(json.loads, answers.read_text(encoding="utf-8").splitlines())
    assert line["items"]
    for entry in line["items"]:
        assert list(entry) == ["item", "title", "score"]
        assert entry["title"] == f'Article no. {entry["item"][1:]}, "new"'
    assert set(dict(retriever.recommend([{"history": ["a3"]}], k=5)[0])) <= set(retriever.titles)


def test_one_warning_for_values_that_no_item_has(
    retriever: Retriever, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queries = tmp_path / "q.jsonl"
    lines = [{"history": ["a1"], "where": f"brand = 'x{n % 7}' or tags has 'sale'"} for n in range(300)]
    queries.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    for _ in range(2):  # each request says it
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            report = recommend_file(retriever, queries, tmp_path / "r.jsonl")
        assert report.num_queries == 300
        (message,) = [record.getMessage() for record in caplog.records]
        assert 'values in predicates that no item has (brand "x0", ' in message
        assert "and 2 more" in message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_of_the_item_table_add_and_replace_items(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(shop_bundle().path, path)
    table = tmp_path / f"new.{suffix}"
    text = "\n".join([HEADER, *NEW]) + "\n"
    if suffix == "csv":
        table.write_text(text, encoding="utf-8")
    else:
        pl.read_csv(text.encode()).write_parquet(table)
    (tmp_path / "gone.txt").write_text("a7\nnever\n", encoding="utf-8")
    main([str(path), "--add", str(table), "--remove", str(tmp_path / "gone.txt")])
    after = Retriever.load(path)
    assert items_where(after, "price > 100") == {"n1"}
    assert items_where(after, "brand = 'brand9' and tags has 'late'") == {"n1"}
    assert items_where(after, 'category under "Shoes/Boots/Red"') == {"n1"}
    assert "n1" in items_where(after, 'category under "Shoes"')
    assert "n2" in items_where(after, "price is missing and tags is missing")
    assert items_where(after, "price < 1") == {"a5"}
    assert after.titles["n1"] == 'Boots, "red"'
    assert after.titles["a5"] == "Renamed"
    assert "n2" not in after.titles
    assert "a7" not in items_where(after, "price > 0")
    role = after.bundle.roles["item"]["price"]
    place = [spec.name for spec in after.bundle.manifest.item_features].index("price")
    rows = after.bundle.item_arrays[place]
    number = after.bundle.item_ids.index("n1") + 1
    assert rows[number].tolist() == pytest.approx([(777.25 - role.mean) / role.scale, 0])
    assert rows[number + 1].tolist() == [0, 1]


def test_a_table_and_json_lines_make_the_same_items(tmp_path: Path) -> None:
    table, lines = tmp_path / "new.csv", tmp_path / "new.jsonl"
    table.write_text("\n".join([HEADER, *NEW]) + "\n", encoding="utf-8")
    features = [
        {"brand": "brand9", "category": "Shoes/Boots/Red", "price": 777.25, "tags": ["sale", "late"]},
        {"brand": "brand1", "category": ["Home", "Home/Garden"], "tags": ""},
        {"brand": "brand0", "category": "Shoes/Sport", "price": 0.5},
    ]
    vectors = [[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]]
    titles = ['Boots, "red"', "", "Renamed"]
    records = [
        {"item": item, "title": title, "features": {**given, "emb": vector}}
        for item, title, given, vector in zip(("n1", "n2", "a5"), titles, features, vectors, strict=True)
    ]
    lines.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    bundles = []
    for file in (table, lines):
        bundle = open_bundle(shop_bundle().path)
        updater = BundleUpdater(bundle)
        report = updater.apply(Changes(add=read_items(bundle, file)))
        assert (report.added, report.replaced) == (2, 1)
        bundles.append(updater.bundle)
    first, second = bundles
    assert first.item_ids == second.item_ids
    assert first.titles == second.titles
    for one, other in zip(first.item_arrays, second.item_arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.attributes is not None
    assert second.attributes is not None
    for name in first.attributes.names:
        assert first.attributes.column(name).to_pylist() == second.attributes.column(name).to_pylist()


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    bundle = open_bundle(shop_bundle().path)
    table = tmp_path / "new.csv"
    table.write_text(f"{HEADER}\nn1,x,b,Shoes,cheap,,1,2,3,4\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"new\.csv:2: price is not a number.*cheap"):
        read_items(bundle, table)
    table.write_text("item_id,title,emb_0\nn1,x,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="unknown column 'brand'"):
        read_items(bundle, table)
    with pytest.raises(DataError, match=r"no item table.*a JSON object a line"):
        read_items(open_bundle(exported(Case()).path), table)
    with pytest.raises(DataError, match=r"feature 'price': not a number"):
        Retriever.load(shop_bundle().path).update(add=[{"item": "n", "features": {"price": "9"}}])


def test_a_user_of_the_bundle_is_a_query() -> None:
    """History and features are everything that is known; what the query gives comes after, or instead."""
    shop = shop_bundle(with_histories=True)
    retriever, data = Retriever.load(shop.path), shop.dataset
    user = 7
    parts = (data.train, data.valid, data.test)
    history = [data.item_ids[item - 1] for part in parts for item in part.of(user)]
    assert len(history) == 17
    age = 18 + int(data.user_ids[user][1:]) % 40
    country = ["DE", "FR", ""][int(data.user_ids[user][1:]) % 3]
    spelled = {"history": history, "features": {"age": age, "country": country or None}}
    named = {"user": data.user_ids[user]}
    assert retriever.recommend([named], k=10) == retriever.recommend([spelled], k=10)
    more = {**spelled, "history": [*history, "a0"], "features": {"age": 99, "country": country}}
    assert retriever.recommend([{**named, "history": ["a0"], "features": {"age": 99}}], k=10) == (
        retriever.recommend([more], k=10)
    )


def test_unknown_users_get_the_fallback_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = Retriever.load(shop_bundle(with_histories=True).path)
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"user": "u1"}\n{"user": "nobody"}\n', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        report = recommend_file(retriever, queries, tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["query_id"] for line in lines] == ["u1", "nobody"]
    assert "fallback" not in lines[0]
    assert lines[1]["fallback"] == "popularity"
    assert report.num_fallbacks == 1
    assert "not known to the bundle: 1 users" in caplog.text


def test_a_bundle_without_histories_holds_no_users(tmp_path: Path) -> None:
    path = shop_bundle().path
    assert not (path / "histories").exists()
    for file in path.rglob("*.json"):
        assert '"u17"' not in file.read_text(encoding="utf-8")
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"user": "u1"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"q\.jsonl:1: user: the bundle keeps no users.*--with_histories"):
        recommend_file(Retriever.load(path), queries, tmp_path / "r.jsonl")


@pytest.mark.parametrize("kept", [True, False])
def test_the_report_of_an_export_says_that_users_are_in_the_bundle(kept: bool, tmp_path: Path) -> None:
    report = export_bundle(shop_request(tmp_path, tmp_path / "bundle", with_histories=kept))
    assert ("their ids, items and features are in the bundle" in report.text()) == kept


def test_histories_survive_updates_and_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(shop_bundle(with_histories=True).path, path)
    retriever = Retriever.load(path)
    before = retriever.recommend([{"user": "u3"}], k=50)[0]
    gone = before[0][0]
    retriever.update(remove=[gone])
    retriever.save(path)
    again = Retriever.load(path)
    assert again.recommend([{"user": "u3"}], k=50)[0] == [pair for pair in before if pair[0] != gone]
    items = path / "histories" / "items.npy"
    array = np.load(items)
    array[0] = 10**6
    np.save(items, array)
    with pytest.raises(BundleError, match="out of range"):
        open_bundle(path, verify=False)
