"""Composition of recommending from a run: its bundle in a temporary directory, and its users as queries."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparcode.config.arguments import ExportArguments
from sparcode.config.run_choice import BEST
from sparcode.config.schema import Config
from sparcode.errors import DataError, UsageError
from sparcode.pipeline.export import export_run
from sparcode.serving.bundle import Bundle
from sparcode.serving.retriever import Recommendation, Retriever

_LOG = logging.getLogger(__name__)


class Recommender:
    """Recommends as a deployment bundle of a run does.

    The bundle is written, verified, and read from a temporary directory that goes with this object.

    Args:
        config: of the run.
        run_dir: the run.

    Raises:
        UsageError: the model cannot be served.
        BundleError, CheckpointError, DataError, OutputError: as of export.py.
    """

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._checkpoint = run_dir / BEST
        self._exported_from = _stamp(self._checkpoint)
        self._home = tempfile.TemporaryDirectory(prefix="sparcode-")
        bundle = Path(self._home.name) / "bundle"
        export_run(ExportArguments(config, run_dir, bundle, with_histories=True))
        self._retriever = Retriever.load(bundle, verify=False)

    @property
    def is_current(self) -> bool:
        """Whether the run has not been trained on since."""
        return _stamp(self._checkpoint) == self._exported_from

    def queries_of(self, users: Sequence[str]) -> list[dict[str, Any]]:
        """Queries of users of the data set, whose items and features the bundle keeps.

        Raises:
            DataError: unknown users.
        """
        kept = self._retriever.bundle.histories
        known = {} if kept is None else kept.numbers
        unknown = [user for user in users if user not in known]
        if unknown:
            more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
            raise DataError(
                "unknown users" if len(unknown) > 1 else "unknown user",
                where="users",
                expected="users of the data set that the run was trained on",
                received=", ".join(map(repr, unknown[:3])) + more,
                remedy="give the items of new users as histories=",
            )
        return [{"user": user} for user in users]

    def recommend(
        self,
        names: Sequence[Any],
        queries: Sequence[Mapping[str, Any]],
        k: int,
        where: str | None,
        exclude_seen: bool,
    ) -> pd.DataFrame:
        """The best items of every query.

        Args:
            names: what the column ``user`` calls each query.
            queries: see :meth:`sparcode.serving.Retriever.recommend`.
            k: items of each, at most.
            where: predicate over item attributes, None = all items.
            exclude_seen: leave out items of the history.

        Returns:
            Columns ``user``, ``item``, ``title`` (where the data have titles), ``score`` and ``rank`` from 1.

        Raises:
            UsageError, DataError: see :meth:`sparcode.serving.Retriever.recommend`.
        """
        answers = self._retriever.recommend_detailed(queries, k, exclude_seen, where)
        popular = sum(answer.fallback is not None for answer in answers)
        if popular:
            _LOG.warning(
                "%d of %d queries know no item: they get the most popular ones", popular, len(answers)
            )
        return _frame(names, answers, self._retriever.bundle)


def queries_of_histories(histories: Any) -> list[dict[str, Any]]:
    """Queries of lists of external item ids.

    Raises:
        UsageError: not a list of lists of ids.
    """
    if not _is_list(histories) or not all(map(_is_list, histories := list(histories))):
        raise UsageError(
            "not a list of histories",
            where="histories",
            expected='a list of lists such as [["i1", "i2"]]',
            received=repr(histories)[:80],
        )
    return [{"history": ids_of(history, "histories")} for history in histories]


def ids_of(values: Any, where: str) -> list[str]:
    """External ids as text.

    Raises:
        UsageError: not a list, or one of other things than text and integers.
    """
    if not _is_list(values):
        raise UsageError(
            "not a list of ids", where=where, expected='a list such as ["u1"]', received=repr(values)[:80]
        )
    ids = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
            raise UsageError("not an id", where=where, expected="text or an integer", received=repr(value))
        ids.append(str(value))
    return ids


def _is_list(values: object) -> bool:
    return hasattr(values, "__iter__") and not isinstance(values, str | bytes | Mapping)


def _frame(names: Sequence[Any], answers: Sequence[Recommendation], bundle: Bundle) -> pd.DataFrame:
    sizes = [len(answer.items) for answer in answers]
    found = [pair for answer in answers for pair in answer.items]
    items = [item for item, _ in found]
    columns: dict[str, Any] = {
        "user": [name for name, size in zip(names, sizes, strict=True) for _ in range(size)],
        "item": items,
    }
    if bundle.titles is not None:
        titles = dict(zip(bundle.item_ids, bundle.titles, strict=True))
        columns["title"] = [titles[item] for item in items]
    columns["score"] = np.array([score for _, score in found], np.float64)
    columns["rank"] = np.concatenate([np.arange(1, size + 1) for size in (*sizes, 0)]).astype(np.int64)
    return pd.DataFrame(columns)


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size
