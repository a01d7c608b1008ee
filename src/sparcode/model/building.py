"""From options to networks: the file that holds an options class builds what it describes."""

from __future__ import annotations

import importlib
from typing import Any

from sparcode.config.section import Section


def build(options: Section, *arguments: Any) -> Any:
    """What the function ``build`` of the options' own file makes of them.

    Args:
        options: of an encoder, scorer or model; their class says which file it was read from.
        arguments: what ``build`` of that kind of file takes: see docs/extending.md.
    """
    return importlib.import_module(type(options).__module__).build(options, *arguments)
