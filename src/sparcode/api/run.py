"""A trained run as an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcode.api.bundle import BundleDirectory
from sparcode.api.quiet import shown
from sparcode.api.report import Report
from sparcode.config.arguments import EvalArguments, ExportArguments
from sparcode.config.command_lines import SPLITS
from sparcode.config.loader import Override
from sparcode.config.retrievers import suitable_retriever
from sparcode.config.run import load_run_config
from sparcode.config.schema import Config
from sparcode.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from sparcode.pipeline.recommend import Recommender


class Run:
    """A trained run in its directory.

    Args:
        run_dir: directory that ``fit`` or train.py has written.

    Raises:
        ConfigError: there is no run in it.

    Attributes:
        path: the directory.
        config: the configuration that it was trained with.

    Example:
        >>> run = sparcode.load("runs/shop")
        >>> run.evaluate()
        >>> run.recommend(users=["u1"], k=10)
        >>> bundle = run.export("bundles/shop")
    """

    def __init__(self, run_dir: str | PathLike[str]) -> None:
        self.path = Path(run_dir)
        self.config = load_run_config(self.path)
        self._recommender: Recommender | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.config.model.name} on {self.config.data.name})"

    def evaluate(
        self,
        *,
        split: str = "test",
        retriever: str | None = None,
        per_user: bool = False,
        baselines: bool = True,
        overrides: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> Report:
        """Rank the whole catalogue for every user, as eval.py does.

        Args:
            split: ``valid`` or ``test``.
            retriever: what ranks the items, as ``--retriever``; None = the usual one of the model.
            per_user: keep the metrics of every user, as ``report.per_user``.
            baselines: measure popularity, and crosses alone, on the same users.
            overrides: dotted key -> value of what evaluation may change: ``{"eval.ks": [10, 20]}``.
            verbose: show progress on stderr.

        Raises:
            UsageError: unknown split, or a retriever that cannot serve the model.
            ConfigError: an override that would describe another model; no user has a target in the split.
            CheckpointError, DataError: what the run refers to is missing or damaged.

        Example:
            >>> report = run.evaluate(per_user=True)
            >>> report.metrics["ndcg@10"]
            >>> report.per_user["ndcg@10"].median()
        """
        if split not in SPLITS:
            raise UsageError("unknown split", expected=" | ".join(SPLITS), received=split)
        config = self._config_with(overrides)
        chosen = suitable_retriever(config, retriever, self.path)
        with shown(verbose):
            from sparcode.pipeline.evaluate import evaluate_beside

            arguments = EvalArguments(config, self.path, split, chosen, None)
            found, rows = evaluate_beside(arguments, baselines)
        if not per_user:
            return Report(found.report, rows)
        import pandas as pd

        return Report(found.report, rows, pd.DataFrame({"user": found.users, **found.metrics}))

    def recommend(
        self,
        users: Iterable[str | int] | None = None,
        *,
        histories: Iterable[Sequence[str | int]] | None = None,
        k: int = 10,
        where: str | None = None,
        exclude_seen: bool = True,
        verbose: bool = False,
    ) -> pd.DataFrame:
        """Recommend items to users of the data set, or for histories of anyone.

        The first call builds the index, as ``export`` does, in a temporary directory that goes with this
        object; later calls use it as long as the run is not trained on.

        Args:
            users: external ids of users of the data set; what is known of each are all interactions, those
                of the validation and test split too.
            histories: in place of users: lists of external item ids, oldest first.
            k: items of each, at most.
            where: predicate over item attributes, such as ``"price < 20"`` (docs/filters.md).
            exclude_seen: leave out items of the history.
            verbose: show progress on stderr.

        Returns:
            Columns ``user`` (for histories their position), ``item``, ``title`` (if the items have titles),
            ``score`` and ``rank`` from 1; rows by user in the order given, then by rank. A history without
            a known item gets the most popular items, with a warning.

        Raises:
            UsageError: neither or both of users and histories; k below 1; a predicate that does not fit the
                items; a model that cannot be served from an index.
            DataError: an unknown user.
            CheckpointError, DataError: what the run refers to is missing or damaged.

        Example:
            >>> run.recommend(users=["u1", "u2"], k=5, where="price < 20")
            >>> run.recommend(histories=[["a1", "a7"]])
        """
        if (users is None) == (histories is None):
            raise UsageError("give either users or histories", where="recommend")
        with shown(verbose):
            from sparcode.pipeline.recommend import Recommender, ids_of, queries_of_histories

            queries = None if histories is None else queries_of_histories(histories)
            names = [] if users is None else ids_of(users, "users")
            if self._recommender is None or not self._recommender.is_current:
                self._recommender = Recommender(self.config, self.path)
            if queries is None:
                queries = self._recommender.queries_of(names)
            return self._recommender.recommend(names or range(len(queries)), queries, k, where, exclude_seen)

    def export(
        self,
        output: str | PathLike[str],
        *,
        with_histories: bool = False,
        overrides: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> BundleDirectory:
        """Write the deployment bundle and verify it by reloading it, as export.py does.

        Args:
            output: bundle directory to write.
            with_histories: keep items and features of every user, so that queries may name one.
            overrides: dotted key -> value of what export may change.
            verbose: show progress on stderr.

        Raises:
            UsageError: the model cannot be served from an index or by vector search.
            BundleError: the reloaded bundle differs from the live model; nothing is left behind.
            OutputError: the directory cannot be written.

        Example:
            >>> bundle = run.export("bundles/shop")
            >>> retriever = bundle.load()
        """
        config = self._config_with(overrides)
        arguments = ExportArguments(config, self.path, Path(output), with_histories=with_histories)
        with shown(verbose):
            from sparcode.pipeline.export import export_run

            report = export_run(arguments)
        if report is None:
            raise UsageError("workers of one job export by export.py", where="export")
        return BundleDirectory(report.path, report)

    def _config_with(self, overrides: Mapping[str, Any] | None) -> Config:
        return load_run_config(self.path, overrides_of(overrides or {}))


def overrides_of(values: Mapping[str, Any]) -> list[Override]:
    """Values by dotted key as they go before a configuration."""
    return [Override(key, value, f"overrides[{key!r}]") for key, value in values.items()]
