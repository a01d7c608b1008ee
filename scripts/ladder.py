"""The rows of the accuracy ladder: which model, served how, under which name its report is kept."""

from __future__ import annotations

from dataclasses import dataclass

ENCODERS = {
    "ml-1m": ("dnn", "dnn_features"),
    "amazon-beauty": ("sasrec", "gru4rec"),
    "amazon-sports": ("sasrec",),
    "gowalla": ("dnn",),
}
"""Second part of the names of each data set's configurations, that of the headline table first."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: in the names of reports.
        title: in the table.
        model: whose run is evaluated.
        retriever: of eval.py.
        settings: of eval.py, over those of the run.
        rescore: best items that the network rescores, 0 = none.
    """

    name: str
    title: str
    model: str
    retriever: str
    settings: tuple[str, ...] = ()
    rescore: int = 0


PLAIN = ("crosses.kind=none",)
RESCORED = 500


def _both(name: str, title: str, model: str, retriever: str, rescore: int = 0) -> tuple[Row, Row]:
    """A row without crosses and one with them, of the same trained model."""
    return (
        Row(name, title, model, retriever, PLAIN, rescore),
        Row(f"{name}-crosses", f"{title}, with crosses", model, retriever, (), rescore),
    )


ROWS = (
    Row("popularity", "popularity", "two_tower", "popularity", PLAIN),
    Row("crosses", "crosses alone", "two_tower", "crosses"),
    *_both("two_tower-exact", "two-tower, exact", "two_tower", "exact"),
    *_both("two_tower-hnsw", "two-tower, HNSW", "two_tower", "hnsw"),
    *_both("all_to_all-exact", "all-to-all, every item scored", "all_to_all", "exact"),
    *_both("paper-index", "SparCode as published, index", "paper", "index"),
    *_both("sparcode-index", "**SparCode, index**", "sparcode", "index"),
    *_both("sparcode-rescored", f"SparCode, best {RESCORED} rescored", "sparcode", "index", RESCORED),
)


def label(dataset: str, encoder: str) -> str:
    """Name of a table and first part of its reports' names."""
    return dataset if encoder == ENCODERS[dataset][0] else f"{dataset}-{encoder}"


def report_name(label: str, row: str, seed: int) -> str:
    return f"{label}-{row}-seed{seed}.json"
