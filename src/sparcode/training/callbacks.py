"""What a run leaves behind while it trains: metrics.jsonl, TensorBoard events, progress on stderr."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from sparcode.errors import OutputError
from sparcode.files import write_text
from sparcode.progress import Progress

_LOG = logging.getLogger(__name__)


class MetricsLog:
    """One JSON object per epoch in ``metrics.jsonl``; entries after ``epoch`` are dropped on resume."""

    def __init__(self, path: Path, epoch: int) -> None:
        self._path = path
        kept = _lines_until(path, epoch) if path.is_file() and epoch > 0 else []
        write_text(path, "".join(line + "\n" for line in kept))

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch.

        Raises:
            OSError: as the operating system reports it.
        """
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class TensorBoard:
    """Scalars of every epoch as TensorBoard event files in the run directory."""

    def __init__(self, directory: Path) -> None:
        self._writer = SummaryWriter(str(directory))

    def write(self, record: dict[str, Any], epoch: int) -> None:
        """Write the numbers of a record, nested ones under ``outer/inner``."""
        for name, value in _flat(record):
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        self._writer.close()


class EpochRecords:
    """The record of every epoch, in both forms; nothing is written by workers that have not to ``write``.

    Args:
        run_dir: run directory.
        epoch: epochs done before; later records of an earlier attempt are dropped.
        write: whether this process is the one that writes.
    """

    def __init__(self, run_dir: Path, epoch: int, write: bool) -> None:
        self._log = MetricsLog(run_dir / "metrics.jsonl", epoch) if write else None
        self._board = TensorBoard(run_dir / "tensorboard") if write else None

    def __enter__(self) -> EpochRecords:
        return self

    def __exit__(self, *error: object) -> None:
        if self._board is not None:
            self._board.close()

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch, ``record["epoch"]``, to both forms."""
        if self._log is not None and self._board is not None:
            self._log.append(record)
            self._board.write(record, record["epoch"])


class EpochProgress:
    """Progress of the steps of one epoch, with loss, rate and the time left of the whole run.

    Args:
        title: what is going on.
        steps: steps of the epoch.
        total: steps of the whole run.
        done: steps of the run done before this epoch.
        note: shown until the first step is done.
        stream: where to write, stderr by default.
    """

    def __init__(
        self,
        title: str,
        steps: int,
        total: int,
        done: int,
        note: str = "",
        stream: TextIO | None = None,
    ) -> None:
        self._progress = Progress(title, "steps", steps, note, stream=stream)
        self._left = total - done
        self._samples = 0
        self._step = 0

    def __enter__(self) -> EpochProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()

    def advance(self, samples: int, loss: float) -> None:
        """Count one step of so many samples."""
        self._step += 1
        self._samples += samples
        seconds_left = (self._left - self._step) * self.seconds / self._step
        rate = f"{self.samples_per_second:,.0f} samples/s"
        note = f"loss {loss:.4f}, {rate}, {seconds_left / 60:.1f} min left"
        self._progress.update(self._step, note=note)

    @property
    def seconds(self) -> float:
        """Seconds since the epoch began."""
        return self._progress.seconds

    @property
    def samples_per_second(self) -> float:
        """Samples of the epoch so far by its seconds."""
        return self._samples / max(self.seconds, 1e-9)


def codebook_use(counts: NDArray) -> dict[str, float]:
    """``usage`` and ``perplexity`` of counts (books, N), see ``CodebookMonitor``."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(1)
    return {"usage": float((counts > 0).mean()), "perplexity": float(np.exp(entropy).mean())}


class CodebookMonitor:
    """Usage and perplexity of the codewords within one epoch.

    usage: share of codewords assigned at least once, mean over codebooks.
    perplexity: exp of the entropy of the assignment frequencies, mean over codebooks; at most N.
    """

    def __init__(self, num_codebooks: int, codebook_size: int) -> None:
        self._counts = np.zeros((num_codebooks, codebook_size), np.int64)

    def add(self, codes: NDArray[np.int32]) -> None:
        """Count codes (T, books)."""
        for book, column in enumerate(codes.T):
            self._counts[book] += np.bincount(column, minlength=self._counts.shape[1])

    def add_up(self, total: Callable[[NDArray], NDArray[np.float64]]) -> None:
        """Replace the counts by their ``total`` over workers."""
        self._counts = total(self._counts).astype(np.int64)

    def summary(self) -> dict[str, float]:
        """``usage`` in [0, 1] and ``perplexity`` in [1, N] of what was added."""
        return codebook_use(self._counts)

    def warn_on_collapse(self, threshold: float) -> None:
        """Log a warning if the usage is below ``threshold``, in [0, 1]."""
        usage = self.summary()["usage"]
        if usage < threshold:
            _LOG.warning(
                "codebook collapse: only %.0f %% of the codewords are used (train.collapse_warning %.0f %%); "
                "raise model.quantizer.restart_threshold or lower model.quantizer.codebook_size",
                100 * usage,
                100 * threshold,
            )


def prepare_run_directory(path: Path) -> None:
    """Create the run directory and prove that it can be written.

    Raises:
        OutputError: it cannot.
    """
    try:
        (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        probe = path / f".write_test_{os.getpid()}"
        probe.write_text("x", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            "the run directory cannot be written",
            where=path,
            received=error.strerror or str(error),
            remedy="choose another --output_dir",
        ) from error


def _lines_until(path: Path, epoch: int) -> list[str]:
    """Lines of the epochs up to ``epoch``; a line that a crash cut off is dropped with a warning."""
    kept = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            known = json.loads(line)["epoch"] <= epoch
        except (ValueError, KeyError, TypeError):
            _LOG.warning("%s, line %d: dropped, not a record of an epoch", path, number)
            continue
        if known:
            kept.append(line)
    return kept


def _flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    entries: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            entries += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "epoch":
            entries.append((f"{prefix}{name.replace('@', '_at_')}", float(value)))
    return entries
