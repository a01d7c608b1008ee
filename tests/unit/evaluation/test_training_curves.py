"""Training curves as an image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sparcode.errors import DataError, DependencyError, UsageError
from sparcode.evaluation.training_curves import check_plot, plot_training


def record(epoch: int, **values: Any) -> dict[str, Any]:
    valid = {"ndcg@50": 0.1 + 0.01 * epoch, "recall@50": 0.2, "seconds": 1.0}
    return {"epoch": epoch, "loss": 5.0 / epoch, "valid": valid, **values}


def write_run(run: Path, records: list[dict[str, Any]], rest: str = "") -> Path:
    run.mkdir(exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in records)
    (run / "metrics.jsonl").write_text(text + rest, encoding="utf-8")
    return run


def text_of(image: Path) -> str:
    """The words of an SVG, which matplotlib repeats as comments beside their glyphs."""
    return image.read_text(encoding="utf-8")


def test_loss_and_validation_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = write_run(tmp_path / "shop", [record(1), {"epoch": 2, "loss": 2.0}, record(3)])
    plot_training(run, tmp_path / "curves.svg", "ndcg@50")
    drawn = text_of(tmp_path / "curves.svg")
    for words in ("shop", "training loss", "validation", "ndcg@50", "recall@50", "epoch"):
        assert f"<!-- {words} -->" in drawn
    assert "perplexity" not in drawn
    assert "seconds" not in drawn


def test_the_use_of_codes_is_drawn_where_there_are_codes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    codes = {"usage": 0.9, "perplexity": 40.0}
    run = write_run(tmp_path / "r", [record(1), record(2, codebook=codes)])
    plot_training(run, tmp_path / "curves.svg", "ndcg@50")
    assert "perplexity of the codes" in text_of(tmp_path / "curves.svg")
    plot_training(run, tmp_path / "curves.png", "ndcg@50")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = write_run(tmp_path / "r", [record(1)], '{"epoch": 2, "lo')
    plot_training(run, tmp_path / "curves.svg", "ndcg@50")
    assert (tmp_path / "curves.svg").is_file()


@pytest.mark.parametrize(
    ("records", "rest", "problem"),
    [([], "", "no epoch is finished yet"), ([], "[]\n[]\n", "line 1: not the record of an epoch")],
)
def test_a_run_without_records_is_refused(
    tmp_path: Path, records: list[dict[str, Any]], rest: str, problem: str
) -> None:
    run = write_run(tmp_path / "r", records, rest)
    with pytest.raises(DataError, match=problem):
        plot_training(run, tmp_path / "curves.svg", "ndcg@50")
    with pytest.raises(DataError, match="no metrics of a training"):
        plot_training(tmp_path, tmp_path / "curves.svg", "ndcg@50")


def test_what_cannot_be_drawn_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"expected \.png \| \.svg \| \.pdf"):
        check_plot(tmp_path / "curves.txt")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r'matplotlib is not installed.*pip install -e "\.\[plot\]"'):
        check_plot(tmp_path / "curves.png")
