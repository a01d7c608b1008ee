"""The closing table, and the warning below a baseline."""

from __future__ import annotations

import pytest

from sparcode.evaluation.baselines import (
    CROSSES,
    INDEX,
    MODEL,
    POPULARITY,
    WITH_CROSSES,
    below_baseline,
    table_of_rows,
)

NAMES = (POPULARITY, CROSSES, MODEL, WITH_CROSSES, INDEX)


def rows(*values: float, names: tuple[str, ...] = NAMES) -> dict[str, dict[str, float]]:
    return {name: {"ndcg@50": value} for name, value in zip(names, values, strict=True)}


def test_the_table_has_a_line_for_each_row_and_a_column_for_each_metric() -> None:
    found = {"popularity": {"ndcg@50": 0.0874, "recall@10": 0.1}, "model": {"ndcg@50": 0.5, "recall@10": 1.0}}
    assert table_of_rows(found, ["ndcg@50", "recall@10"]) == [
        "               ndcg@50   recall@10",
        "popularity      0.0874      0.1000",
        "model           0.5000      1.0000",
    ]


@pytest.mark.parametrize(
    ("values", "best_epoch", "parts"),
    [
        ((0.1, 0.2, 0.15, 0.3, 0.29), 5, None),
        ((0.1, 0.2, 0.1, 0.2, 0.2), 5, None),  # level is not below
        (
            (0.0874, 0.05, 0.07, 0.08, 0.0845),
            10,
            [INDEX, POPULARITY, "0.0845", "0.0874", "train.epochs, now 10"],
        ),
        ((0.1, 0.2, 0.15, 0.19, 0.18), 3, [INDEX, CROSSES, "epoch 3 of 10", "train.learning_rate"]),
        ((0.1, 0.2, 0.15, 0.19, 0.18), 7, [INDEX, CROSSES, "train.loss.num_negatives"]),
        ((0.1, 0.2, 0.15, 0.25, 0.18), 10, [INDEX, CROSSES, "index.top_l"]),
        ((0.1, 0.2, 0.09, 0.25, 0.24), 10, [MODEL, POPULARITY, "train longer"]),
    ],
)
def test_the_warning_names_baseline_numbers_and_key(
    values: tuple[float, ...], best_epoch: int, parts: list[str] | None
) -> None:
    warning = below_baseline(rows(*values), "ndcg@50", best_epoch, 10)
    if parts is None:
        assert warning is None
    else:
        assert warning is not None
        for part in parts:
            assert part in warning


def test_models_without_crosses_or_index_have_fewer_rows() -> None:
    found = rows(0.2, 0.1, names=(POPULARITY, MODEL))
    assert below_baseline(found, "ndcg@50", 10, 10) is not None
    assert below_baseline(rows(0.1, 0.2, names=(POPULARITY, MODEL)), "ndcg@50", 10, 10) is None
