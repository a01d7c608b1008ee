"""A deployment bundle as an object."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from sparcode.serving.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from sparcode.serving.export.exporter import BundleReport
    from sparcode.serving.retriever import Retriever


class BundleDirectory:
    """A deployment bundle in its directory.

    Args:
        path: directory that ``Run.export`` or export.py has written.
        report: of the export, if it has just been written.

    Raises:
        BundleError: there is no bundle in it.

    Attributes:
        path: the directory.
        manifest: what it holds.
        report: what was verified when it was written; None for one that was written before.

    Example:
        >>> bundle = sparcode.load("bundles/shop")
        >>> bundle.load().recommend([{"history": ["a1", "a7"]}], k=10)
    """

    def __init__(self, path: str | PathLike[str], report: BundleReport | None = None) -> None:
        self.path = Path(path)
        self.report = report
        self.manifest: Manifest = read_manifest(self.path)

    def __repr__(self) -> str:
        size = sum(entry.size for entry in self.manifest.files.values())
        verified = "" if self.report is None else f", {self.report.verification.num_queries} queries verified"
        return (
            f"BundleDirectory({str(self.path)!r}: {self.manifest.model}, {self.manifest.num_items:,} items, "
            f"{size / 1e6:.1f} MB{verified})"
        )

    def load(self, *, verify: bool = True, num_threads: int = 1) -> Retriever:
        """Open the bundle for recommending.

        Args:
            verify: compare the checksum of every file first.
            num_threads: threads of the index search.

        Raises:
            BundleError: damaged, of another version, or with parts that do not belong together.
        """
        from sparcode.serving.retriever import Retriever

        return Retriever.load(self.path, verify=verify, num_threads=num_threads)
