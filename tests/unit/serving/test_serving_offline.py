"""infer.py: a file of queries in, a file of recommendations out, from the bundle alone."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundle_cases import Case, copy_of, exported, external
from sparcode.errors import DataError, OutputError, UsageError
from sparcode.serving import Retriever
from sparcode.serving.offline import OfflineOptions, recommend_file

ROOT = Path(__file__).parents[3]
CASE = Case()


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return Retriever.load(exported(CASE).path)


def write_lines(path: Path, *queries: Any) -> Path:
    lines = [query if isinstance(query, str) else json.dumps(query) for query in queries]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_follow_the_contract(
    retriever: Retriever, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queries = write_lines(
        tmp_path / "q.jsonl",
        {"query_id": "u1", "history": [external(3), "nope"]},
        "",
        {"query_id": 7, "history": ["nope"]},
        {"history": [external(3)], "allow": []},
    )
    with caplog.at_level(logging.WARNING):
        report = recommend_file(retriever, queries, tmp_path / "r.jsonl", OfflineOptions(k=2, batch_size=2))
    first, second, third = read_lines(tmp_path / "r.jsonl")
    (expected,) = retriever.recommend([{"history": [external(3)]}], k=2)
    assert first["query_id"] == "u1"
    assert [item["item"] for item in first["items"]] == [item for item, _ in expected]
    assert first["items"][0]["score"] == pytest.approx(expected[0][1], rel=1e-5)
    assert "fallback" not in first
    assert second["query_id"] == "7"
    assert second["fallback"] == "popularity"
    assert second["items"][0] == {"item": external(1), "score": 5.0}
    assert third == {"query_id": "4", "items": []}  # named by its line
    assert (report.num_queries, report.num_fallbacks, report.unknown.history) == (3, 1, 2)
    assert [record.getMessage() for record in caplog.records] == [
        f"{queries}: not known to the bundle: 2 history items skipped"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.jsonl", "r.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line is not JSON"),
        ("[1]", "a query must be an object"),
        ('{"history": 3}', "history: not a list"),
        ('{"history": [], "query_id": [1]}', "query_id: not an id"),
        ("[" * 100_000, "line is not JSON"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_left(
    line: str, message: str, retriever: Retriever, tmp_path: Path
) -> None:
    queries = write_lines(tmp_path / "q.jsonl", {"history": []}, {"history": []}, line)
    output = tmp_path / "r.jsonl"
    output.write_text("older", encoding="utf-8")
    with pytest.raises(DataError, match=rf"q\.jsonl:3: .*{message}"):
        recommend_file(retriever, queries, output, OfflineOptions(batch_size=1))
    assert output.read_text(encoding="utf-8") == "older"
    assert len(list(tmp_path.iterdir())) == 2


def test_bytes_that_are_not_utf8_are_named(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'{"history": ["\xff"]}\n')
    with pytest.raises(DataError, match=r"q\.jsonl:1: line is not JSON"):
        recommend_file(retriever, tmp_path / "q.jsonl", tmp_path / "r.jsonl")


def test_a_byte_order_mark_is_no_fault(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'\xef\xbb\xbf{"history": []}')
    assert recommend_file(retriever, tmp_path / "q.jsonl", tmp_path / "r.jsonl").num_queries == 1


@pytest.mark.parametrize("content", [None, "", "\n \n"])
def test_a_missing_or_empty_file_is_a_data_error(
    content: str | None, retriever: Retriever, tmp_path: Path
) -> None:
    queries = tmp_path / "q.jsonl"
    if content is not None:
        queries.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"q\.jsonl"):
        recommend_file(retriever, queries, tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


def test_an_output_that_cannot_be_written_is_an_output_error(retriever: Retriever, tmp_path: Path) -> None:
    queries = write_lines(tmp_path / "q.jsonl", {"history": []})
    with pytest.raises(OutputError, match="cannot be written"):
        recommend_file(retriever, queries, queries / "r.jsonl")


def test_the_input_is_not_overwritten(retriever: Retriever, tmp_path: Path) -> None:
    queries = write_lines(tmp_path / "q.jsonl", {"history": []})
    with pytest.raises(UsageError, match="output is the input"):
        recommend_file(retriever, queries, queries)


def run_infer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "infer.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_infer_answers_from_a_bundle_that_stands_alone(tmp_path: Path) -> None:
    bundle = copy_of(CASE, tmp_path / "elsewhere")
    queries = write_lines(tmp_path / "q.jsonl", {"query_id": "u1", "history": [external(3)]}, {"history": []})
    done = run_infer("--bundle", bundle, "--input", queries, "--topk", 3, "--output", tmp_path / "r.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 queries answered" in done.stdout
    assert [len(line["items"]) for line in read_lines(tmp_path / "r.jsonl")] == [3, 3]


def test_infer_reports_a_bad_bundle_in_one_line(tmp_path: Path) -> None:
    bundle = copy_of(CASE, tmp_path / "bundle")
    (bundle / "items.json").write_text("[]", encoding="utf-8")
    queries = write_lines(tmp_path / "q.jsonl", {"history": []})
    done = run_infer("--bundle", bundle, "--input", queries, "--output", tmp_path / "r.jsonl")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "items.json: file does not belong to this bundle" in done.stderr


RECOMMEND_AND_LIST = """
import sys
from sparcode.serving import Retriever
from sparcode.serving.offline import recommend_file
Retriever.load(sys.argv[1]).recommend([{"history": [sys.argv[2]]}])
print(*sorted(name for name in sys.modules if name.startswith("sparcode.")))
"""


def test_recommending_imports_neither_model_nor_data_nor_training() -> None:
    """Also a fresh process without any call to set up MindSpore."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MS_", "GLOG"))}
    done = subprocess.run(
        [sys.executable, "-c", RECOMMEND_AND_LIST, str(exported(CASE).path), external(3)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rooms = {name.split(".")[1] for name in done.stdout.split()}
    assert rooms == {"environment", "errors", "files", "index", "padding", "progress", "serving", "types"}


RUN_AND_LIST = """
import runpy, sys
script, sys.argv[1:] = sys.argv[1], sys.argv[2:]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as done:
    print(*sorted(name for name in sys.modules if name.startswith("sparcode.")), file=sys.stderr)
    raise
"""


def test_infer_needs_of_the_training_code_only_the_choice_of_the_device(tmp_path: Path) -> None:
    queries = write_lines(tmp_path / "q.jsonl", {"history": [external(3)]})
    arguments = ["--bundle", exported(CASE).path, "--input", queries, "--output", tmp_path / "r.jsonl"]
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST, str(ROOT / "infer.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules = done.stderr.split()
    heavy = {"pipeline", "data", "evaluation", "model", "training"}
    assert [name for name in modules if name.split(".")[1] in heavy] == [
        "sparcode.training",
        "sparcode.training.runtime",
        "sparcode.training.world",  # what runtime gives back: here a process by itself
    ]


def test_a_predicate_for_the_file_joins_those_of_its_lines(retriever: Retriever, tmp_path: Path) -> None:
    queries = write_lines(
        tmp_path / "q.jsonl",
        {"query_id": "all", "history": [external(3)]},
        {"query_id": "war", "history": [external(3)], "where": 'genre has "War"'},
    )
    options = OfflineOptions(k=20, where="year = 2001")
    recommend_file(retriever, queries, tmp_path / "r.jsonl", options)
    every, war = ([item["item"] for item in line["items"]] for line in read_lines(tmp_path / "r.jsonl"))
    history = {"history": [external(3)]}
    (late,) = retriever.recommend([history], k=20, where="year = 2001")
    (both,) = retriever.recommend([history], k=20, where="year = 2001 and genre has 'War'")
    assert every == [item for item, _ in late]
    assert war == [item for item, _ in both]
    assert 0 < len(war) < len(every) < 19


def test_a_bad_predicate_names_its_line_or_itself(retriever: Retriever, tmp_path: Path) -> None:
    queries = write_lines(tmp_path / "q.jsonl", {"history": []}, {"history": [], "where": "year >"})
    with pytest.raises(DataError, match=r"q\.jsonl:2: where: predicate 'year >', position 7"):
        recommend_file(retriever, queries, tmp_path / "r.jsonl")
    with pytest.raises(UsageError, match=r"^unknown attribute; expected genre \(set\) \| year \(number\)"):
        recommend_file(retriever, queries, tmp_path / "r.jsonl", OfflineOptions(where="colour = 1"))
    assert not (tmp_path / "r.jsonl").exists()
