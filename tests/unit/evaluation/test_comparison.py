"""Paired bootstrap against known answers; the table of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparcode.errors import UsageError
from sparcode.evaluation.comparison import PairedBootstrap
from sparcode.evaluation.comparison_plot import draw_comparison
from sparcode.evaluation.comparison_report import render_comparison


def paired(count: int, gain: float, spread: float) -> np.ndarray:
    """(1, 2, B): two systems that a user's difficulty moves alike, and normal differences between them."""
    rng = np.random.default_rng(3)
    difficulty, difference = rng.normal(0, 5, count), rng.normal(0, 1, count)
    difference = gain + spread * (difference - difference.mean()) / difference.std()
    return np.stack([difficulty, difficulty + difference])[None]


def test_the_interval_of_paired_normal_differences_is_the_known_one() -> None:
    found = PairedBootstrap(paired(1000, 0.1, 1.0)).difference(0, 1, 0)
    error = 1.0 / np.sqrt(1000)  # of differences, not of the values, which spread five times as much
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1 - 1.96 * error, abs=0.03 * error * 1.96)
    assert found.high == pytest.approx(0.1 + 1.96 * error, abs=0.03 * error * 1.96)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.1 / error), rel=0.4)
    assert found.p < 0.01


def test_p_and_interval_agree_with_scipy() -> None:
    values = paired(300, 0.05, 1.0)
    found = PairedBootstrap(values).difference(0, 1, 0)
    differences = values[0, 1] - values[0, 0]
    other = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, random_state=1)
    assert (found.low, found.high) == pytest.approx(tuple(other.confidence_interval), abs=0.01)
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert found.low < 0 < found.high


def test_a_system_does_not_differ_from_itself() -> None:
    values = paired(50, 0.2, 1.0)
    found = PairedBootstrap(np.concatenate([values, values[:, :1]], axis=1)).difference(0, 2, 0)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_same_gain_for_every_user_is_as_sure_as_resamples_can_tell() -> None:
    found = PairedBootstrap(paired(50, 0.2, 0.0), num_resamples=999).difference(0, 1, 0)
    assert found.p == pytest.approx(2 / 1000)
    assert (found.low, found.high) == pytest.approx((0.2, 0.2))


def test_intervals_are_the_same_every_time_and_do_not_depend_on_other_systems() -> None:
    values = paired(80, 0.1, 1.0)
    alone = PairedBootstrap(values).difference(0, 1, 0)
    beside = PairedBootstrap(np.concatenate([values, 2 * values], axis=1))
    assert beside.difference(0, 1, 0) == alone
    assert beside.difference(0, 3, 2).high == pytest.approx(2 * alone.high)
    assert beside.mean(0, 0).low < values[0, 0].mean() < beside.mean(0, 0).high


def result() -> dict[str, Any]:
    def row(name: str, value: float, microseconds: dict[str, float]) -> dict[str, Any]:
        figures = {"value": value, "low": value - 0.01, "high": value + 0.01}
        difference = {"value": value - 0.2, "low": value - 0.22, "high": value - 0.18, "p": 0.0123}
        return {
            "name": name,
            "metrics": {"ndcg@10": {**figures, "difference": difference}},
            "microseconds": microseconds,
            "size_bytes": 12345,
            "postings_read": None,
        }

    return {
        "dataset": "ring",
        "split": "test",
        "num_queries": 1000,
        "num_items": 30,
        "baseline": "a (index)",
        "confidence": 0.95,
        "shown": ["ndcg@10"],
        "runs": ["runs/a", "runs/b"],
        "systems": [row("a (index)", 0.2, {"encode": 100.0, "search": 20.0}), row("b (exact)", 0.25, {})],
        "differing_keys": {"seed": [0, 1], "model.item_length": [2.5, None]},
    }


def test_the_table_fits_80_columns_and_says_what_differs() -> None:
    text = render_comparison(result())
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    assert ["a", "(index)", "0.2000"] in rows
    assert ["b", "(exact)", "0.2500", "+0.0500", "+0.0300", "to", "+0.0700", "0.0123"] in rows
    assert ["a", "(index)", "100.0", "20.0", "-", "12,345"] in rows
    assert "seed: 0 | 1" in text
    assert "model.item_length: 2.5 | -" in text
    assert "same configuration" in render_comparison({**result(), "differing_keys": {}})


def test_a_plot_names_its_axes_and_the_better_direction(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.svg"
    draw_comparison(result(), "ndcg@10", path)
    assert path.read_text("utf-8").startswith("<?xml")
    with pytest.raises(UsageError, match="unknown format"):
        draw_comparison(result(), "ndcg@10", tmp_path / "plot.docx")
    untimed = {**result(), "systems": result()["systems"][1:]}
    with pytest.raises(UsageError, match="no time was measured"):
        draw_comparison(untimed, "ndcg@10", path)
