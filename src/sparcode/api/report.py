"""The results of an evaluation as an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from sparcode.evaluation.baselines import table_of_rows

if TYPE_CHECKING:
    import pandas as pd


class Report(Mapping[str, Any]):
    """Metrics of a model beside the baselines; a mapping of all that ``eval.py --json`` writes.

    Args:
        values: the report (docs/evaluation_protocol.md).
        baselines: metrics of each on the same queries.
        per_user: the model's metrics of each user, or None.

    Attributes:
        baselines: metrics by name of the baseline, ``popularity`` and ``crosses alone``.
        per_user: column ``user`` and one for each metric; None unless it was asked for.

    Example:
        >>> report = run.evaluate()
        >>> report.metrics["ndcg@10"], report.baselines["popularity"]["ndcg@10"]
        >>> report.to_pandas()
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        baselines: Mapping[str, Mapping[str, float]],
        per_user: pd.DataFrame | None = None,
    ) -> None:
        self._values = dict(values)
        self.baselines = {name: dict(row) for name, row in baselines.items()}
        self.per_user = per_user

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def metrics(self) -> dict[str, float]:
        """Of the model, by name such as ``ndcg@10``."""
        return dict(self._values["metrics"])

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Metrics by row: the baselines, then the model."""
        return {**self.baselines, self._name: self.metrics}

    @property
    def _name(self) -> str:
        return f"{self['model']}, by {self['retriever']}"

    def to_pandas(self) -> pd.DataFrame:
        """A row for each baseline and for the model, a column for each metric."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.rows, orient="index")

    def _title(self) -> str:
        queries, items = self["num_queries"], self["num_items"]
        return f"{self['dataset']}, {self['split']} split: {queries:,} users, {items:,} items"

    def _shown(self) -> list[str]:
        """Recall and NDCG at the smallest and the largest cut-off."""
        cuts = sorted({int(name.partition("@")[2]) for name in self.metrics})
        return [f"{name}@{k}" for k in dict.fromkeys((cuts[0], cuts[-1])) for name in ("recall", "ndcg")]

    def __repr__(self) -> str:
        return "\n".join([self._title(), *table_of_rows(self.rows, self._shown())])

    def _repr_html_(self) -> str:
        frame = self.to_pandas()[self._shown()]
        return f"<p>{escape(self._title())}</p>{frame.to_html(float_format='{:.4f}'.format)}"
