"""The ladder's tables are what the reports say, and its rows ask for what eval.py offers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sparcode.config.loader import load_config
from sparcode.config.retrievers import RESCORED, RETRIEVERS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import ladder
    import reproduction_tables

    yield ladder, reproduction_tables
    for name in ("ladder", "reproduction_tables"):
        del sys.modules[name]


def report(value: float) -> dict[str, Any]:
    metrics = {f"{name}@{k}": value for name in ("recall", "ndcg") for k in (10, 50)}
    return {
        "metrics": metrics,
        "size_bytes": 12_600_000,
        "index": {"postings_read_p50": 800, "postings_read_p99": 3_200},
        "latency_ms": {"encode_p50": 2.0, "search_p50": 0.25, "rescore_p50": 0.05},
    }


def test_rows_are_means_with_deviations_and_missing_ones_say_so(scripts: Any, tmp_path: Path) -> None:
    _, tables = scripts
    for seed, value in enumerate((0.1, 0.2, 0.3)):
        path = tmp_path / f"ml-1m-sparcode-index-crosses-seed{seed}.json"
        path.write_text(json.dumps(report(value)))
    # a report of another row whose name goes on
    (tmp_path / "ml-1m-sparcode-index-crosses-more-seed0.json").write_text(json.dumps(report(0.9)))
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- ladder ml-1m -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):  # a second time changes nothing
        tables.rewrite(document, tmp_path)
        text = document.read_text()
        assert text.startswith("before\n")
        assert text.endswith("<!-- end -->\nafter\n")
        assert "old" not in text
        (row,) = [line for line in text.splitlines() if "SparCode, index**, with crosses" in line]
        assert row.split(" | ")[1:] == [
            *[".2000 ± .1000"] * 4,
            "12.60",
            "800 / 3,200",
            "2.000",
            "0.300",
            "3 |",
        ]
        assert text.count("not run") == len(scripts[0].ROWS) - 1


def test_other_tables_than_the_headline_ones_have_the_rows_that_were_run(
    scripts: Any, tmp_path: Path
) -> None:
    ladder, tables = scripts
    label = ladder.label("amazon-beauty", "gru4rec")
    (tmp_path / f"{label}-two_tower-exact-seed0.json").write_text(json.dumps(report(0.5)))
    lines = tables.table_of(tmp_path, label).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| two-tower, exact | .5000 |")
    assert tables.table_of(tmp_path, "amazon-beauty").count("not run") == len(ladder.ROWS)


def test_every_encoder_of_a_data_set_has_configurations(scripts: Any) -> None:
    ladder, _ = scripts
    for dataset, encoders in ladder.ENCODERS.items():
        for encoder in encoders:
            for model in ("two_tower", "sparcode"):
                assert (ROOT / "configs" / dataset / f"{model}_{encoder}.yaml").is_file()


def test_a_page_without_markers_is_refused(scripts: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(SystemExit, match="no '<!-- ladder NAME -->'"):
        scripts[1].rewrite(page, tmp_path)


def test_rows_can_be_served_and_their_settings_exist(scripts: Any) -> None:
    ladder, _ = scripts
    names = [row.name for row in ladder.ROWS]
    assert len(names) == len(set(names))
    for row in ladder.ROWS:
        model = "sparcode" if row.model == "paper" else row.model  # a form of it, with a file of its own
        assert row.retriever in RETRIEVERS[model]
        assert not row.rescore or row.retriever in RESCORED[model]
        load_config(ROOT / "default_config.yaml", list(row.settings))
