"""Export of a trained network as a deployment bundle, verified before it takes its name."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from sparcode.errors import BundleError
from sparcode.files import replacing_directory
from sparcode.progress import Progress
from sparcode.serving.bundle import open_bundle
from sparcode.serving.export.verification import Verification, verify_bundle
from sparcode.serving.export.writer import ExportRequest, check_request, write_parts
from sparcode.serving.manifest import Manifest, is_bundle

__all__ = ["BundleReport", "ExportRequest", "export_bundle"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleReport:
    """What was exported.

    Attributes:
        path: bundle directory.
        manifest: its manifest.
        size_bytes: bytes of all files but the manifest.
        verification: comparison of the reloaded bundle with the live model.
        seconds: wall-clock time of export and verification.
    """

    path: Path
    manifest: Manifest
    size_bytes: int
    verification: Verification
    seconds: float

    def text(self, verbose: bool = False) -> str:
        """The report as a few lines.

        Args:
            verbose: the largest relative difference of each part, instead of that of all.
        """
        done = self.verification
        parts = {
            "encoder": done.encoder_error,
            "scorer": done.scorer_error,
            "postings": done.index_error,
            "rescoring": done.rescoring_error,
        }
        largest = [f"{name} {error:.1e}" for name, error in parts.items()]
        differences = ", ".join(largest) if verbose else f"at most {max(parts.values()):.1e}"
        users = ["  users       their ids, items and features are in the bundle (--with_histories)"]
        return "\n".join(
            [
                f"bundle {self.path}",
                f"  model       {self.manifest.model}",
                *(users if self.manifest.has_histories else []),
                f"  size        {self.size_bytes:,} bytes in {len(self.manifest.files)} files",
                f"  verified    {done.num_queries} queries answered as by the live model",
                f"  differences {differences}",
                f"  time        {self.seconds:.1f} s",
            ]
        )


def export_bundle(request: ExportRequest) -> BundleReport:
    """Write a bundle, reload it, compare it with the live model, and only then give it its name.

    The network is left in inference mode.

    Raises:
        UsageError: the model cannot be retrieved from, or an argument is missing.
        BundleError: the parts do not belong together, or the reloaded bundle differs from the live model;
            nothing is left behind, an older bundle stays.
        OutputError: the output is taken by something that is no bundle, or cannot be written; likewise.
    """
    started = time.perf_counter()
    check_request(request)
    request.network.set_train(False)
    with replacing_directory(request.output, is_bundle, "bundle") as partial:
        with Progress("writing the bundle"):
            manifest = write_parts(partial, request)
        with Progress("comparing the reloaded bundle with the live model"):
            verification = _verified(partial, request)
    size = sum(entry.size for entry in manifest.files.values())
    return BundleReport(request.output, manifest, size, verification, time.perf_counter() - started)


def _verified(partial: Path, request: ExportRequest) -> Verification:
    """Keeps the opened bundle in its own scope, so that its memory maps are closed before the renaming."""
    try:
        return verify_bundle(open_bundle(partial), request)
    except BundleError:
        _log.error("the bundle was not accepted and is deleted")
        raise
