"""Errors that a user can act on.

Every error says what is wrong, and where known: where, what was expected, what was received and
what to do about it. ``str(error)`` is always a single line; entry scripts print it behind ``error:``.
"""

from __future__ import annotations


class SparcodeError(Exception):
    """Base of all errors raised on purpose by this package.

    Args:
        what: the fault, as a short sentence without a final full stop.
        where: file, line, key or object at fault.
        expected: what would have been right.
        received: what was found instead.
        remedy: what the user can do.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        received: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.received = received
        self.remedy = remedy
        super().__init__(self._line())

    def _line(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.received is not None:
            text += f"; received {self.received}"
        if self.remedy is not None:
            text += f"; {self.remedy}"
        return " ".join(text.split())


class UsageError(SparcodeError):
    """The command line is wrong."""


class ConfigError(SparcodeError):
    """A configuration key is unknown, of the wrong type, out of range, or contradicts another."""


class DataError(SparcodeError):
    """An input file or a data set directory is missing, malformed or inconsistent."""


class CheckpointError(SparcodeError):
    """A checkpoint is missing, damaged, or belongs to another configuration or version."""


class IndexFormatError(SparcodeError):
    """An index directory is missing, damaged, or of an unknown version."""


class BundleError(SparcodeError):
    """A deployment bundle is missing, damaged, or its parts do not belong together."""


class DeviceError(SparcodeError):
    """The requested device is not available in this installation."""


class OutputError(SparcodeError):
    """An output path cannot be written."""


class DependencyError(SparcodeError):
    """An optional package that the requested feature needs is not installed."""


class TrainingError(SparcodeError):
    """Training cannot go on (for example a loss that is not finite); the run directory stays usable."""

    exit_code = 1


class SparcodeWarning(UserWarning):
    """What the functions of ``sparcode`` warn of where logging is not configured."""
