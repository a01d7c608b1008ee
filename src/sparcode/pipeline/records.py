"""Results of a run that are made once and kept in a file beside all that they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparcode.files import write_json
from sparcode.training.world import World


def made_once(
    path: Path, made_for: dict[str, Any], make: Callable[[], dict[str, Any]], world: World
) -> dict[str, Any]:
    """The record on file if one was made for the same; else a new one, which is put on file.

    Args:
        path: of a JSON file ``{"choices": [{"chosen_for": ..., ...}, ...]}``; a damaged one is made anew.
        made_for: all that the record depends on.
        make: makes it, by all workers together.
        world: the workers.
    """
    records = _recorded(path)
    found = [record for record in records if record.get("chosen_for") == made_for]
    if world.gather_sizes(len(found)).all():  # a worker without the file needs the others
        return found[0]
    record = {"chosen_for": made_for, **make()}
    if world.first:
        others = [other for other in records if other.get("chosen_for") != made_for]
        write_json(path, {"choices": [*others, record]})
    return record


def _recorded(path: Path) -> list[dict[str, Any]]:
    """The records on file; none if there is no such file or it cannot be read."""
    try:
        records = list(json.loads(path.read_text(encoding="utf-8"))["choices"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [record for record in records if isinstance(record, dict)]
