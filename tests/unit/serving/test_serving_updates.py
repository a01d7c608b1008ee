"""Items of a bundle added, removed and rescored: answers, files, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle_cases import (
    ITEM_FEATURES,
    NUM_ITEMS,
    Case,
    copy_of,
    exported,
    external,
    make_network,
    tiny_dataset,
)
from sparcode.errors import BundleError, DataError, OutputError
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.item_changes import Changes, read_changes
from sparcode.serving.updated_bundle import save_bundle
from sparcode.serving.updates import BundleUpdater

sys.path.insert(0, str(Path(__file__).parents[3]))
from update import main

BY_FEATURES = Case(item_ids=False, top_l=6, signed=True)
BY_IDS = Case()
QUERIES: list[dict[str, Any]] = [{"history": [external(3), external(8)]}, {"history": [external(5)]}]


def raw_features(number: int) -> dict[str, Any]:
    """The features of an item as a user writes them."""
    bundle = open_bundle(exported(BY_FEATURES).path)
    words = bundle.vocabularies["item"]
    genre, year, content = (array[number] for array in bundle.item_arrays)
    assert [spec.name for spec in ITEM_FEATURES] == ["genre", "year", "content"]
    return {
        "genre": [words["genre"][code] for code in genre if code],
        "year": words["year"][int(year)],
        "content": content.tolist(),
    }


def answers(retriever: Retriever) -> list[dict[str, float]]:
    return [dict(items) for items in retriever.recommend(QUERIES, k=50, exclude_seen=False)]


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for one, other in zip(found, expected, strict=True):
        for item in one.keys() | other.keys():  # at the floor of a list, rounding decides about a posting
            assert one.get(item, 0) == pytest.approx(other.get(item, 0), rel=1e-4, abs=1e-5)


def test_a_new_item_scores_as_one_with_its_features() -> None:
    retriever = Retriever.load(exported(BY_FEATURES).path)
    before = answers(retriever)
    retriever.update(add=[{"item": f"new{n}", "features": raw_features(n)} for n in (7, 2, 11)])
    after = answers(retriever)
    for old, new in zip(before, after, strict=True):
        added = {n: new.pop(f"new{n}", 0) for n in (7, 2, 11)}
        assert new == old
        for number, score in added.items():
            assert score == pytest.approx(old.get(external(number), 0), rel=1e-4, abs=1e-5)
    assert any("new" in item for answer in retriever.recommend(QUERIES, k=50) for item, _ in answer)


def test_a_new_item_is_known_to_filters_and_histories_but_not_to_the_encoder() -> None:
    retriever = Retriever.load(exported(BY_FEATURES).path)
    best = retriever.recommend(QUERIES[:1], k=1)[0][0][0]
    number = retriever.bundle.item_ids.index(best) + 1
    retriever.update(add=[{"item": "new", "features": raw_features(number)}])
    seen, only, excluded, alone = retriever.recommend_detailed(
        [
            {"history": [external(3), external(8), "new"]},
            {**QUERIES[0], "allow": ["new"]},
            {**QUERIES[0], "exclude": ["new"]},
            {"history": ["new"]},
        ],
        k=50,
    )
    assert [item for item, _ in only.items] == ["new"]
    assert "new" not in dict(seen.items) | dict(excluded.items)
    assert dict(seen.items) == dict(excluded.items)
    assert seen.unknown.history == 0
    assert alone.fallback == "popularity"
    assert alone.items[-1][1] == 0


@pytest.mark.parametrize("case", [BY_FEATURES, BY_IDS], ids=["by features", "by ids"])
def test_a_removed_item_is_gone_and_comes_back_as_it_was(case: Case) -> None:
    retriever = Retriever.load(exported(case).path)
    before = answers(retriever)
    gone = [next(iter(before[0])), external(1)]
    retriever.update(remove=gone)
    assert answers(retriever) == [{i: s for i, s in items.items() if i not in gone} for items in before]
    popular = [item for item, _ in retriever.recommend([{"history": []}], k=50)[0]]
    assert not set(popular) & set(gone)
    retriever.update(add=gone)
    assert_close(answers(retriever), before)


def test_scoring_anew_follows_the_features() -> None:
    retriever = Retriever.load(exported(BY_FEATURES).path)
    before = answers(retriever)
    retriever.update(rescore=[external(n) for n in range(1, NUM_ITEMS + 1)])
    assert_close(answers(retriever), before)
    retriever.update(rescore=[{"item": external(4), "features": raw_features(9)}])
    for items in answers(retriever):
        assert items.get(external(4), 0) == pytest.approx(items.get(external(9), 0), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_saved_bundle_answers_as_the_updated_one(in_place: bool, tmp_path: Path) -> None:
    source = copy_of(BY_FEATURES, tmp_path / "bundle")
    target = source if in_place else tmp_path / "other"
    retriever = Retriever.load(source)
    for step in range(3):
        retriever.update(
            add=[{"item": f"new{step}", "features": raw_features(2 + step)}],
            remove=[external(6 + step)],
            rescore=[{"item": external(12), "features": raw_features(15 + step)}],
        )
        expected = answers(retriever)
        retriever.save(target)
        assert answers(retriever) == expected
        loaded = Retriever.load(target)
        assert answers(loaded) == expected
        assert loaded.bundle.removed.tolist() == list(range(6, 7 + step))
        assert loaded.bundle.manifest.bundle_id != exported(BY_FEATURES).report.manifest.bundle_id
        retriever = loaded if step else retriever  # an updater of before and of after the saving
    assert in_place or answers(Retriever.load(source)) == answers(Retriever.load(exported(BY_FEATURES).path))


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(BY_FEATURES, tmp_path / "bundle")
    retriever = Retriever.load(path)
    retriever.update(remove=[external(2)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError):
        retriever.save(path)
    assert os.listdir(tmp_path) == ["bundle"]
    assert len(open_bundle(path).removed) == 0


def test_damage_in_what_is_copied_is_found_before_the_old_bundle_is_replaced(tmp_path: Path) -> None:
    path = copy_of(BY_FEATURES, tmp_path / "bundle")
    bundle = open_bundle(path)
    config = path / "config.yaml"
    config.write_bytes(config.read_bytes() + b"#")
    with pytest.raises(BundleError, match="does not belong to this bundle"):
        save_bundle(bundle, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"add": [{"item": "new", "title": 3}]}, "title is no text"),
        ({"rescore": ["nope"]}, "rescore 1: item is not in the catalogue"),
        ({"remove": [external(3)], "rescore": [external(3)]}, "item is named twice"),
        ({"add": [{"item": "new"}]}, "a new item needs features"),
        ({"add": [{"item": "new", "features": {"colour": "red"}}]}, "unknown feature"),
        ({"add": [{"item": "new", "features": {"content": [1]}}]}, "not a vector"),
        ({"add": [{"item": "new", "features": [1]}]}, "features must be an object"),
        ({"add": [{"id": "new"}]}, "unknown key of an item"),
        ({"add": [{}]}, "item has no id"),
        ({"add": [1.5]}, "not an id"),
    ],
)
def test_bad_changes_are_refused_and_change_nothing(changes: dict[str, Any], message: str) -> None:
    retriever = Retriever.load(exported(BY_FEATURES).path)
    before = answers(retriever)
    with pytest.raises(DataError, match=message):
        retriever.update(**changes)
    assert answers(retriever) == before


def test_removing_what_is_not_there_is_counted_or_refused() -> None:
    bundle = open_bundle(exported(BY_FEATURES).path)
    removals = read_changes([external(3), "nope"], "remove")
    with pytest.raises(DataError, match=r"remove 2: item is not in the catalogue.*--strict"):
        BundleUpdater(bundle, strict=True).apply(Changes(remove=removals))
    updater = BundleUpdater(bundle)
    report = updater.apply(Changes(remove=removals))
    assert (report.removed, report.unknown_removals, updater.num_live) == (1, 1, NUM_ITEMS - 1)
    again = updater.apply(Changes(remove=removals))
    assert (again.removed, again.unknown_removals) == (0, 2)
    assert "0 removed (2 more were not there)" in again.text()


@pytest.mark.parametrize("case", [BY_FEATURES, replace(BY_IDS, signed=True)], ids=["by features", "by ids"])
def test_adding_what_is_there_replaces_it(case: Case) -> None:
    """Features, attributes and postings are as if the item had always been so."""
    retriever = Retriever.load(exported(case).path)
    untouched, changed = external(6), external(4)
    year = {1: "1999", 2: "2001"}[3 - int(open_bundle(exported(case).path).item_arrays[1][9] or 1)]
    features = {**raw_features(9), "year": year}
    before = answers(retriever)
    report = retriever.update(
        add=[untouched, {"item": changed, "features": features}, {"item": external(5), "title": "Five"}]
    )
    assert (report.added, report.replaced, report.unchanged) == (0, 2, 1)
    assert [items.keys() - {changed} for items in answers(retriever)] == [
        items.keys() - {changed} for items in before
    ]
    expected = Retriever.load(exported(case).path)
    expected.update(rescore=[{"item": changed, "features": features}])
    assert answers(retriever) == answers(expected)
    (named,) = retriever.recommend([{"history": []}], k=50, where=f"year = {year}")
    assert changed in dict(named)
    assert retriever.titles == {external(5): "Five"}


def test_values_new_to_the_network_are_kept_for_filters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    retriever = Retriever.load(copy_of(BY_FEATURES, tmp_path / "bundle"))
    features = {**raw_features(7), "genre": ["Western", "War", "Drama", "Comedy"], "year": "2030"}
    retriever.update(add=[{"item": "new", "title": "A new one", "features": features}])
    assert "3 feature values are new to the network" in caplog.text  # Western, 2030, and a third known genre
    retriever.save(tmp_path / "bundle")
    for one in (retriever, Retriever.load(tmp_path / "bundle")):
        (found,) = one.recommend([{"history": []}], k=50, where="genre has 'Western' and year = 2030")
        assert [item for item, _ in found] == ["new"]
        assert one.titles == {"new": "A new one"}


def test_a_new_item_is_refused_by_a_model_that_knows_items_by_ids_alone() -> None:
    retriever = Retriever.load(exported(Case(features=False)).path)
    with pytest.raises(BundleError, match=r"'new' cannot be added.*ids alone.*train with item features"):
        retriever.update(add=[{"item": "new", "features": {}}])


def test_a_model_of_ids_and_features_scores_a_new_item_by_its_features() -> None:
    retriever = Retriever.load(exported(BY_IDS).path)
    before = answers(retriever)
    retriever.update(add=[{"item": f"new{n}", "features": raw_features(n)} for n in (7, 2)])
    after = answers(retriever)
    scores = [{n: answer.pop(f"new{n}", 0.0) for n in (7, 2)} for answer in after]
    assert after == before
    assert any(score > 0 for both in scores for score in both.values())
    network = make_network(BY_IDS, tiny_dataset())
    assert network.tower.takes_new_items
    network.tower.id_table.set_data(network.tower.id_table + 1.0)  # an unknown id would add noise
    assert not network.tower.takes_new_items


def test_a_two_tower_bundle_is_refused() -> None:
    with pytest.raises(BundleError, match="two-tower bundle"):
        Retriever.load(exported(Case(model="two_tower")).path).update(remove=[external(3)])


def test_the_script_applies_files_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_of(BY_FEATURES, tmp_path / "bundle")
    add, remove, rescore = (tmp_path / name for name in ("add.jsonl", "remove.txt", "rescore.txt"))
    add.write_text("\n" + json.dumps({"item": "new", "features": raw_features(7)}) + "\n", encoding="utf-8")
    remove.write_text(f"{external(2)}\n{external(3)}\n", encoding="utf-8")
    rescore.write_text(f"{external(5)}\n", encoding="utf-8")
    files = ["--add", str(add), "--remove", str(remove), "--rescore", str(rescore)]
    main(["--bundle", str(path), *files])
    assert "1 items added, 2 removed, 1 rescored" in capsys.readouterr().out
    bundle = open_bundle(path)
    assert bundle.item_ids[-1] == "new"
    assert bundle.removed.tolist() == [2, 3]
    add.write_text("{not json\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"add\.jsonl:1: line is not JSON"):
        main(["--bundle", str(path), "--add", str(add)])
