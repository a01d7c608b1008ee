"""Optional packages, which an extra of this package installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from sparcode.errors import DependencyError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module that not every installation has.

    Args:
        module: its name.
        extra: the extra of pyproject.toml that installs it.

    Raises:
        DependencyError: it is not installed; says the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"package {module.partition('.')[0]} is not installed",
            received=error,
            remedy=f'pip install -e ".[{extra}]" in the directory of the sources',
        ) from error
