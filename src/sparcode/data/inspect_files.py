"""From files to a configuration: which file is which table, separator, encoding, and what columns are."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.config.yaml_text import write_document
from sparcode.data.casts import cast_label, cast_time
from sparcode.data.inspection import guess_tables, named
from sparcode.data.table_data import TablePart
from sparcode.data.table_files import TableFiles, find_files, is_parquet, is_table
from sparcode.data.text_tables import TextLayout, read_start
from sparcode.errors import DataError, UsageError

SEPARATORS = (",", ";", "\t", "|")
_TABLES = ("interactions", "items", "users")


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        yaml: a configuration that works as it is.
        notes: counts, a line each.
        warnings: what to look at, a line each.
    """

    yaml: str
    notes: list[str]
    warnings: list[str]


def inspect_files(paths: Sequence[Path]) -> Inspection:
    """Guess a configuration for tables.

    Args:
        paths: the interactions and, where there are any, the item and the user table, in any order; or one
            directory that holds them. A directory among several paths is one table.

    Raises:
        UsageError: no table of interactions, or two tables of one sort.
        DataError: a file is missing, empty or unreadable.
    """
    if len(paths) == 1 and paths[0].is_dir():
        files = sorted(path for path in paths[0].iterdir() if path.is_file() and is_table(path))
        paths = files or paths
    found = {path: find_files(path, _layout(path)) for path in paths}
    sorts = _sorted_out(found)
    parts = {what: files.read(files.columns) for what, files in sorts.items()}
    frames = [parts[what].frame if what in parts else None for what in _TABLES]
    log = frames[0]
    if log is None or not log.height:
        raise DataError("the interactions hold no row", where=paths[0])
    guess = guess_tables(log, frames[1], frames[2])
    notes = [
        f"{what}: {part.frame.height:,} rows, {part.frame.width} columns" for what, part in parts.items()
    ]
    _guess_bad_rows(parts["interactions"], guess.table, guess.data, guess.warnings)
    origins = {what: path for what, files in sorts.items() for path in paths if found[path] is files}
    return Inspection(
        write_document(_document(origins, sorts, guess.table, guess.data)), notes, guess.warnings
    )


def _layout(path: Path) -> TextLayout:
    first = path if path.is_file() else next((p for p in sorted(path.rglob("*")) if is_table(p)), path)
    if is_parquet(first) or not first.is_file():
        return TextLayout()
    start = read_start(first)
    encoding = "utf-8"
    if not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(start)
        except UnicodeDecodeError:
            encoding = "latin-1"
    text = start.decode(
        "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else encoding, "replace"
    )
    head = text.replace("\r", "\n").split("\n", 1)[0]
    best = max(SEPARATORS, key=head.count)
    usual = TextLayout().separator_of(first)
    return TextLayout(None if best == usual or not head.count(best) else best, encoding)


def _sorted_out(found: dict[Path, TableFiles]) -> dict[str, TableFiles]:
    """Which table is which, by the columns that name users and items."""
    sorts: dict[str, TableFiles] = {}
    for path, files in found.items():
        user, item = named(files.columns, "user"), named(files.columns, "item")
        what = "items" if user is None else "users" if item is None else "interactions"
        if len(found) == 1:
            what = "interactions"
        if what in sorts:
            raise UsageError(
                f"two tables look like {what}",
                where="--inspect",
                received=f"{sorts[what].files[0]} and {path}",
                expected="one with users and items, one with items, one with users",
                remedy="name the columns user, item",
            )
        sorts[what] = files
    if "interactions" not in sorts:
        raise UsageError(
            "no table of interactions",
            where="--inspect",
            expected="a table with a column of users and one of items, such as user and item",
            received=", ".join(str(path) for path in found),
        )
    return {what: sorts[what] for what in _TABLES if what in sorts}


def _guess_bad_rows(
    part: TablePart, table: dict[str, Any], data: dict[str, Any], warnings: list[str]
) -> None:
    """Bad rows are left out when there are some and they are few."""
    casts = [cast_label(part.frame[table[f"{role}_column"]]) for role in ("user", "item")]
    if "timestamp_column" in table:
        casts.append(cast_time(part.frame[table["timestamp_column"]], table.get("time_format")))
    wrong = [fault for cast in casts for fault in cast.faults]
    either = [rows.to_numpy() for _, rows in wrong]
    bad = len(part.faults) + (int(np.any(either, axis=0).sum()) if either else 0)
    if bad:
        data["bad_rows"] = "skip"
        reasons = {fault.reason for fault in part.faults} | {what for what, _ in wrong}
        total = part.frame.height + len(part.faults)
        warnings.append(f"about {bad:,} of {total:,} rows cannot be used: {'; '.join(sorted(reasons))}")


def _document(
    origins: dict[str, Path], sorts: dict[str, TableFiles], table: dict[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    log = origins["interactions"]
    together = len({path.parent for path in origins.values()}) == 1 and len(origins) > 1
    name = (log.parent.resolve().name if together else log.name.split(".")[0]) or "own"
    layout = sorts["interactions"].layout
    head: dict[str, Any] = {"path": log.name} if together else {}
    head |= {key: table.pop(key) for key in list(table) if key not in ("items", "users")}
    head |= {} if layout.separator is None else {"separator": layout.separator}
    head |= {} if layout.encoding == "utf-8" else {"encoding": layout.encoding}
    for what in ("items", "users"):
        if what in origins:
            own = sorts[what].layout
            side = {"path": origins[what].name if together else str(origins[what]), **table[what]}
            if own.separator != layout.separator:
                side["separator"] = own.separator_of(sorts[what].files[0])
            if own.encoding != layout.encoding:
                side["encoding"] = own.encoding
            head[what] = side
    path = str(log.parent if together else log)
    section = {"name": name, "source": "table", "path": path, "dataset_dir": f"datasets/{name}", **data}
    return {"data": {**section, "table": head}}
