"""What a function of the public face shows while it works: nothing, or with ``verbose`` progress."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparcode.entry import stderr_handler
from sparcode.errors import SparcodeWarning

_PACKAGE = str(Path(__file__).parents[1])


class _Kept(logging.Handler):
    """Keeps warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def shown(verbose: bool) -> Iterator[None]:
    """Decide what is shown while the block runs.

    Without ``verbose`` nothing is written; warnings arrive as ``SparcodeWarning``. Where logging is
    configured, its handlers get them instead, and progress if level INFO is on.

    Args:
        verbose: write progress, log lines and warnings to stderr.
    """
    logger = logging.getLogger("sparcode")
    configured, level = logger.hasHandlers(), logger.level
    if configured and not verbose:
        yield
        return
    handler = stderr_handler() if verbose else _Kept()
    if not (configured and verbose):
        logger.addHandler(handler)
    if verbose:
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        for text in handler.texts if isinstance(handler, _Kept) else ():
            warnings.warn(text, SparcodeWarning, stacklevel=_depth_of_caller())


def _depth_of_caller() -> int:
    """Level for ``warnings.warn`` of the first function outside of this package."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_globals.get("__name__") == "contextlib"
    ):
        frame, depth = frame.f_back, depth + 1
    return depth
