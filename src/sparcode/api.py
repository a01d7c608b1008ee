"""What stands behind the public face: a run as an object, over the composition of the entry scripts."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcode.config.arguments import EvalArguments, ExportArguments, TrainArguments
from sparcode.config.command_lines import SPLITS
from sparcode.config.loader import Override, build_config, read_config_file
from sparcode.config.retrievers import suitable_retriever
from sparcode.config.run import load_run_config
from sparcode.config.schema import Config
from sparcode.config.yaml_text import Document
from sparcode.errors import UsageError

if TYPE_CHECKING:
    from sparcode.serving.export.exporter import BundleReport


class Run:
    """A trained run in its directory.

    Args:
        run_dir: directory that ``fit`` or train.py has written.

    Raises:
        ConfigError: there is no run in it.

    Attributes:
        path: the directory.
        config: the configuration that it was trained with.
    """

    def __init__(self, run_dir: str | PathLike[str]) -> None:
        self.path = Path(run_dir)
        self.config = load_run_config(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self.config.model.name} on {self.config.data.name})"

    def evaluate(
        self,
        *,
        split: str = "test",
        retriever: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Rank the whole catalogue for every user, as eval.py does.

        Args:
            split: ``valid`` or ``test``.
            retriever: what ranks the items, as ``--retriever``; None = the usual one of the model.
            overrides: dotted key -> value of what evaluation may change: ``{"eval.ks": [10, 20]}``.

        Returns:
            The report, as ``eval.py --json`` writes it (docs/evaluation_protocol.md).

        Raises:
            UsageError: unknown split, or a retriever that cannot serve the model.
            ConfigError: an override that would describe another model.
            CheckpointError, DataError: what the run refers to is missing or damaged.
        """
        from sparcode.pipeline.evaluate import evaluate_run

        if split not in SPLITS:
            raise UsageError("unknown split", expected=" | ".join(SPLITS), received=split)
        config = self._config_with(overrides)
        chosen = suitable_retriever(config, retriever, self.path)
        return evaluate_run(EvalArguments(config, self.path, split, chosen, None))

    def export(
        self, output: str | PathLike[str], *, overrides: Mapping[str, Any] | None = None
    ) -> BundleReport:
        """Write the deployment bundle and verify it by reloading it, as export.py does.

        Args:
            output: bundle directory to write.
            overrides: dotted key -> value of what export may change.

        Raises:
            UsageError: the model cannot be served from an index or by vector search.
            BundleError: the reloaded bundle differs from the live model; nothing is left behind.
            OutputError: the directory cannot be written.
        """
        from sparcode.pipeline.export import export_run

        report = export_run(ExportArguments(self._config_with(overrides), self.path, Path(output)))
        if report is None:
            raise UsageError("workers of one job export by export.py", where="export")
        return report

    def _config_with(self, overrides: Mapping[str, Any] | None) -> Config:
        return load_run_config(self.path, _overrides(overrides or {}))


def fit_run(
    config: str | PathLike[str] | Config | None,
    output_dir: str | PathLike[str],
    overrides: Mapping[str, Any],
    resume: bool,
) -> Run:
    """See :func:`sparcode.fit`."""
    if config is None:
        document, source = Document({}, {}), "defaults"
    elif isinstance(config, Config):
        document, source = Document(config.model_dump(mode="json"), {}), "config"
    else:
        document, source = read_config_file(Path(config)), str(config)
    checked = build_config(document, _overrides(overrides), source)

    from sparcode.pipeline.train import train_run

    train_run(TrainArguments(checked, Path(output_dir), resume))
    return Run(output_dir)


def _overrides(values: Mapping[str, Any]) -> list[Override]:
    return [Override(key, value, f"overrides[{key!r}]") for key, value in values.items()]
