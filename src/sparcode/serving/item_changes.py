"""Changes of a catalogue as values, and their text form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparcode.errors import DataError
from sparcode.serving.user_features import external_id

ITEM_KEYS = ("item", "title", "features")


@dataclass(frozen=True)
class ItemChange:
    """An item to add or to rescore.

    Attributes:
        item: external id.
        features: raw values by name; None = as the bundle has them. What is left out is missing.
        where: what the change is called in messages.
        title: for people; None = as the bundle has it, empty = none.
    """

    item: str
    features: Mapping[str, Any] | None = None
    where: str = "item"
    title: str | None = None


@dataclass(frozen=True)
class Changes:
    """What to change; no item is named twice.

    Attributes:
        remove: items that are no results any more.
        add: new items, removed ones, or others that are replaced if features are given.
        rescore: items to rescore, with other features or by the same.
    """

    remove: Sequence[ItemChange] = field(default_factory=tuple)
    add: Sequence[ItemChange] = field(default_factory=tuple)
    rescore: Sequence[ItemChange] = field(default_factory=tuple)


@dataclass(frozen=True)
class UpdateReport:
    """How many items were changed.

    Attributes:
        added: that were no results before.
        replaced: of those to add, that were results already and have new features or titles.
        unchanged: of those to add, that were results already and bring nothing new.
        removed: that were results before.
        unknown_removals: of those to remove, that were no results.
        rescored: items.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    unknown_removals: int = 0
    rescored: int = 0

    def text(self) -> str:
        """What happened in one line."""
        counts = [(self.replaced, "replaced"), (self.unchanged, "there already")]
        more = "".join(f", {count} {what}" for count, what in counts if count)
        unknown = f" ({self.unknown_removals} more were not there)" if self.unknown_removals else ""
        return f"{self.added} items added{more}, {self.removed} removed{unknown}, {self.rescored} rescored"


def read_changes(items: Sequence[Mapping[str, Any] | str], where: str) -> list[ItemChange]:
    """Check the form of changes: external ids, or objects with ``item``, ``title`` and ``features``.

    Args:
        items: the changes.
        where: what the list is called in messages.

    Raises:
        DataError: of another form.
    """
    return [_read_change(item, f"{where} {number}") for number, item in enumerate(items, start=1)]


def read_change_file(path: Path) -> list[ItemChange]:
    """Changes of a file, one a line: a JSON object as in :func:`read_changes`, or a plain external id.

    A line is JSON if it begins with ``{``; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line is malformed; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("items cannot be read", where=path, received=error) from error
    lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return [_read_line(line, where) for where, line in lines if line]


def _read_line(line: str, where: str) -> ItemChange:
    if not line.startswith("{"):
        return ItemChange(line, None, where)
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("line is not JSON", where=where, received=error) from error
    return _read_change(document, where)


def _read_change(document: object, where: str) -> ItemChange:
    if not isinstance(document, Mapping):
        return ItemChange(external_id(document, where), None, where)
    unknown = [key for key in document if key not in ITEM_KEYS]
    if unknown or "item" not in document:
        raise DataError(
            "unknown key of an item" if unknown else "item has no id",
            where=where,
            expected=" | ".join(ITEM_KEYS),
            received=repr(unknown[0]) if unknown else None,
        )
    features = document.get("features")
    if features is not None and not isinstance(features, Mapping):
        raise DataError("features must be an object by name", where=where, received=repr(features))
    title = document.get("title")
    if title is not None and not isinstance(title, str):
        raise DataError("title is no text", where=where, received=repr(title))
    return ItemChange(external_id(document["item"], where), features, where, title)
