"""Own data from nothing: inspected, trained, evaluated, exported, recommended with filters, changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from own_shop import CATEGORIES, write_shop

ROOT = Path(__file__).parents[2]
SMALL = (
    "train.epochs=2",
    "model.embedding_size=16",
    "model.token_size=16",
    "model.quantizer.codebook_size=32",
)


def run(entry: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"{entry}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done


def recommended(where: str, topk: int = 40) -> list[dict[str, Any]]:
    """Items of all queries under a predicate, and whether each query had an answer."""
    histories = [["a1", "a5"], ["a2", "a3", "a7"], ["a11"]]
    lines = [json.dumps({"query_id": str(n), "history": history}) for n, history in enumerate(histories)]
    Path("queries.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run("infer", "bundles/shop", "--input", "queries.jsonl", "--topk", str(topk), "--where", where,
        "--output", "answers.jsonl")  # fmt: skip
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == len(histories)
    return [item for answer in answers for item in answer["items"]]


@pytest.mark.slow
def test_a_shop_from_its_files_to_recommendations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(tmp_path / "shop")
    Path("shop.yaml").write_text(run("preprocess", "--inspect", "shop").stdout, encoding="utf-8")

    settings = [word for setting in SMALL for word in ("--set", setting)]
    said = run("train", "--config_path", "shop.yaml", "--output_dir", "runs/shop", *settings)
    assert "popularity" in said.stdout + said.stderr
    run("eval", "runs/shop", "--json", "report.json")
    assert 0 < json.loads(Path("report.json").read_text())["metrics"]["ndcg@50"] < 1
    run("export", "runs/shop", "--output", "bundles/shop")

    number = {f"a{n}": n for n in range(40)}
    found = recommended('price < 20 and category under "Shoes"')
    assert found
    for item in found:
        n = number[item["item"]]
        assert n % 9 != 0  # those have no price
        assert 5.5 + n < 20
        assert CATEGORIES[n % 4].startswith("Shoes/")
        assert item["title"] == f'Article no. {n}, "new"'

    header = Path("shop/items.csv").read_text(encoding="utf-8").splitlines()[0]
    rows = [f"x{n},Late no. {n},brand1,Shoes/Boots,{1000 + n}.25,sale,1,2,3,4" for n in range(10)]
    Path("new.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    Path("gone.txt").write_text("a2\na3\nnever-there\n", encoding="utf-8")
    run("update", "bundles/shop", "--add", "new.csv", "--remove", "gone.txt")
    late = recommended("price >= 1000")
    assert late
    assert {item["item"] for item in late} <= {f"x{n}" for n in range(10)}
    assert all(item["title"].startswith("Late") for item in late)
    few = recommended("price between 1003 and 1005")
    assert {item["item"] for item in few} <= {"x3", "x4"}
    assert not {"a2", "a3"} & {item["item"] for item in recommended("price is not missing")}
