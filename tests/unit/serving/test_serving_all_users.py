"""Every user of a bundle or data set in one Parquet file: equal to single queries, resumed after a kill."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bundle_cases import Case, exported, tiny_dataset
from shop_bundle import shop_bundle
from sparcode.errors import OutputError, UsageError
from sparcode.serving import Retriever
from sparcode.serving import all_users as module
from sparcode.serving.all_users import AllUsersOptions, UserRecommender, recommend_all
from sparcode.serving.export.dataset_histories import histories_for_bundle

sys.path.insert(0, str(Path(__file__).parents[3]))
from infer import main


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return Retriever.load(shop_bundle(with_histories=True).path)


@pytest.mark.parametrize(
    "options",
    [
        AllUsersOptions(k=5),
        AllUsersOptions(k=100, exclude_seen=False),
        AllUsersOptions(k=7, where="price < 20 and category under 'Shoes'"),
        AllUsersOptions(k=5, rescore=20),
    ],
)
def test_rows_are_the_answers_to_single_queries(
    retriever: Retriever, options: AllUsersOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = retriever.bundle.histories
    assert histories is not None
    monkeypatch.setattr(module, "BATCH", 8)  # parts of several batches, the last ones short
    report = recommend_all(retriever, histories, tmp_path / "recs.parquet", options, part_users=20)
    assert (report.num_users, report.num_resumed) == (60, 0)
    table = pq.read_table(tmp_path / "recs.parquet")
    assert table.column_names == ["user", "item", "score", "rank", "title"]
    rows = table.to_pylist()
    queries = [{"user": user} for user in histories.user_ids]
    expected = retriever.recommend(queries, options.k, options.exclude_seen, options.where, options.rescore)
    assert rows == [
        {
            "user": user,
            "item": item,
            "score": pytest.approx(score, rel=1e-4, abs=1e-5),
            "rank": rank,
            "title": retriever.titles[item],
        }
        for user, items in zip(histories.user_ids, expected, strict=True)
        for rank, (item, score) in enumerate(items, start=1)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]


def test_a_killed_call_is_continued_and_another_one_begins_anew(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = retriever.bundle.histories
    assert histories is not None
    options = AllUsersOptions(k=5)
    recommend_all(retriever, histories, tmp_path / "whole.parquet", options, part_users=20)
    original, calls = UserRecommender.table, []

    def dies_late(self: UserRecommender, users: range) -> object:
        calls.append(users)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, users)

    output = tmp_path / "recs.parquet"
    monkeypatch.setattr(UserRecommender, "table", dies_late)
    with pytest.raises(KeyboardInterrupt):
        recommend_all(retriever, histories, output, options, part_users=20)
    assert not output.exists()
    report = recommend_all(retriever, histories, output, options, part_users=20)
    assert report.num_resumed == 40
    assert calls == [range(20), range(20, 40), range(40, 60), range(40, 60)]
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"recs.parquet", "whole.parquet"}

    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        recommend_all(retriever, histories, output, options, part_users=20)
    other = recommend_all(retriever, histories, output, replace(options, k=4), part_users=20)
    assert other.num_resumed == 0
    assert max(pq.read_table(output).column("rank").to_pylist()) == 4


def test_values_that_no_item_has_are_one_warning(
    retriever: Retriever, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    histories = retriever.bundle.histories
    assert histories is not None
    options = AllUsersOptions(k=3, where="brand = 'nobody' or brand in ('brand1', 'nothing')")
    recommend_all(retriever, histories, tmp_path / "recs.parquet", options, part_users=20)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        'no item has brand "nobody", brand "nothing": nothing matches'
    ]


def test_what_a_call_killed_at_its_very_start_left_is_cleared(retriever: Retriever, tmp_path: Path) -> None:
    histories = retriever.bundle.histories
    assert histories is not None
    (tmp_path / ".recs.parquet.parts").mkdir()
    (tmp_path / ".recs.parquet.parts" / ".state.json.7.partial").write_text("{", encoding="utf-8")
    recommend_all(retriever, histories, tmp_path / "recs.parquet", AllUsersOptions(k=3))
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]


def test_what_is_no_directory_of_parts_is_kept(retriever: Retriever, tmp_path: Path) -> None:
    histories = retriever.bundle.histories
    assert histories is not None
    taken = tmp_path / ".recs.parquet.parts"
    taken.mkdir()
    (taken / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="taken"):
        recommend_all(retriever, histories, tmp_path / "recs.parquet")
    assert (taken / "mine.txt").exists()


def test_users_of_whom_nothing_is_known_get_the_fallback(tmp_path: Path) -> None:
    retriever = Retriever.load(shop_bundle(with_histories=True).path)
    kept = retriever.bundle.histories
    assert kept is not None
    rows = tuple(np.zeros_like(row) for row in kept.feature_rows)
    rows[1][:, 1] = 1  # the age is missing
    nobody = replace(kept, indptr=np.zeros_like(kept.indptr), items=kept.items[:0], feature_rows=rows)
    report = recommend_all(retriever, nobody, tmp_path / "recs.parquet", AllUsersOptions(k=3))
    assert report.num_fallbacks == 60
    found = pq.read_table(tmp_path / "recs.parquet").to_pylist()[:3]
    (expected,) = retriever.recommend([{"user": "nobody"}], k=3)
    assert [(row["item"], row["score"]) for row in found] == expected


def test_an_item_without_a_title_has_none(tmp_path: Path) -> None:
    retriever = Retriever.load(shop_bundle(with_histories=True).path)
    histories = retriever.bundle.histories
    assert histories is not None
    retriever.update(add=[{"item": "a3", "title": ""}])
    recommend_all(retriever, histories, tmp_path / "recs.parquet", AllUsersOptions(k=40, exclude_seen=False))
    rows = pq.read_table(tmp_path / "recs.parquet").to_pylist()
    assert {row["item"] for row in rows if row["title"] is None} == {"a3"}


def test_another_data_set_is_read_by_external_ids_and_values() -> None:
    """As its users would be asked for by hand."""
    case = Case()
    retriever = Retriever.load(exported(case).path)
    data = tiny_dataset()
    same = histories_for_bundle(data, retriever.bundle)
    assert (
        same.items.tolist()
        == np.concatenate(
            [part.of(user) for user in range(6) for part in (data.train, data.valid, data.test)]
        ).tolist()
    )
    order = np.random.default_rng(1).permutation(20)
    other = replace(
        data,
        fingerprint="1" * 64,
        item_ids=[*(data.item_ids[place] for place in order[:-1]), "unheard-of"],
        user_vocab={"age": ["", "25", "99", "18"], "tags": ["", "folk", "metal", "rock"]},
        user_features=tuple(
            replace(spec, size=4) if spec.name == "age" else spec for spec in data.user_features
        ),
    )
    found = histories_for_bundle(other, retriever.bundle)
    queries = []
    for user in range(6):
        age = other.user_vocab["age"][other.user_arrays["age"][user]]
        tags = [other.user_vocab["tags"][tag] for tag in other.user_arrays["tags"][user] if tag]
        items = [part.of(user) for part in (other.train, other.valid, other.test)]
        queries.append(
            {
                "history": [other.item_ids[item - 1] for item in np.concatenate(items)],
                "features": {
                    "age": age,
                    "tags": tags,
                    "profile": other.user_arrays["profile"][user].tolist(),
                },
            }
        )
    read = [retriever.read_user(found, user) for user in range(6)]
    assert [answer.items for answer in retriever.answer(read, 10)] == retriever.recommend(queries, k=10)


def test_the_script_writes_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop, output = shop_bundle(with_histories=True), tmp_path / "recs.parquet"
    main([str(shop.path), "--all_users", "--topk", "3", "--output", str(output)])
    assert "60 users answered" in capsys.readouterr().out
    first = pq.read_table(output)
    plain = shop_bundle()
    arguments = [str(plain.path), "--all_users", "--topk", "3", "--output", str(output)]
    with pytest.raises(UsageError, match=r"keeps no users.*--dataset.*--with_histories"):
        main(arguments)
    main([*arguments, "--dataset", plain.config.data.dataset_dir])
    assert pq.read_table(output).equals(first)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no queries.*--input FILE or --all_users"),
        (["--input", "q.jsonl", "--all_users"], "both --input and --all_users"),
        (["--input", "q.jsonl", "--dataset", "d"], "--dataset without --all_users"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        main([str(shop_bundle().path), "--output", "r", *flags])
