"""What stands behind the public face: runs, bundles and reports as objects, over the entry scripts' work."""

from sparcode.api.bundle import BundleDirectory
from sparcode.api.report import Report
from sparcode.api.run import Run

__all__ = ["BundleDirectory", "Report", "Run"]
