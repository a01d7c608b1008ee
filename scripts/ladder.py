"""The rows of the accuracy ladder: which model, served how, under which name its report is kept."""

from __future__ import annotations

from dataclasses import dataclass

ENCODERS = {
    "ml-1m": ("dnn", "dnn_features"),
    "amazon-beauty": ("sasrec", "gru4rec"),
    "amazon-sports": ("sasrec",),
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


def _index(packing: str, probes: int) -> tuple[str, ...]:
    return (*PLAIN, f"index.packing={packing}", f"index.probes={probes}")


ROWS = (
    Row("popularity", "popularity", "two_tower", "popularity"),
    Row("crosses", "crosses alone", "sparcode", "crosses"),
    Row("two_tower-exact", "two-tower, exact search", "two_tower", "exact"),
    Row("two_tower-hnsw", "two-tower, HNSW", "two_tower", "hnsw"),
    Row("max_sim-exact", "MaxSim, exhaustive", "max_sim", "exact"),
    Row("mol-exact", "mixture of logits, exhaustive", "mol", "exact"),
    Row("all_to_all-exact", "all-to-all, exhaustive (the bound)", "all_to_all", "exact", PLAIN),
    Row("sparcode-exact", "SparCode, exhaustive", "sparcode", "exact", PLAIN),
    Row(
        "sparcode-index-float32-probes-1",
        "index, float32, 1 probe",
        "sparcode",
        "index",
        _index("float32", 1),
    ),
    Row("sparcode-index-uint8-probes-1", "index, 8 bit, 1 probe", "sparcode", "index", _index("uint8", 1)),
    Row("sparcode-index-uint8-probes-2", "index, 8 bit, 2 probes", "sparcode", "index", _index("uint8", 2)),
    Row("sparcode-index-uint8-probes-4", "index, 8 bit, 4 probes", "sparcode", "index", _index("uint8", 4)),
    Row("sparcode-index-rescore-200", "... best 200 rescored", "sparcode", "index", _index("uint8", 4), 200),
    Row("sparcode-index-rescore-500", "... best 500 rescored", "sparcode", "index", _index("uint8", 4), 500),
    Row("sparcode-index-crosses", "**index with crosses, as configured**", "sparcode", "index"),
    Row("sparcode-index-crosses-rescore-200", "... best 200 rescored", "sparcode", "index", (), 200),
)


def label(dataset: str, encoder: str) -> str:
    """Name of a table and first part of its reports' names."""
    return dataset if encoder == ENCODERS[dataset][0] else f"{dataset}-{encoder}"


def report_name(label: str, row: str, seed: int) -> str:
    return f"{label}-{row}-seed{seed}.json"
