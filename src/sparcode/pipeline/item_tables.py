"""Items to add to a bundle, from files of lines or rows of the item table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparcode.config.loader import load_config
from sparcode.data.item_rows import read_item_rows
from sparcode.data.raw import RawFeature
from sparcode.data.table_files import is_table
from sparcode.errors import DataError
from sparcode.serving.bundle import Bundle
from sparcode.serving.item_changes import ItemChange, read_change_file
from sparcode.serving.manifest import CONFIG_FILE


def read_items(bundle: Bundle, path: Path) -> list[ItemChange]:
    """Items of a file: a table in the roles of the item table, or lines of JSON or ids.

    Args:
        bundle: whose items are to be changed.
        path: ``.csv``, ``.tsv`` (packed or not), ``.parquet`` or a directory of such files is a table,
            anything else has an item a line.

    Raises:
        DataError: the file cannot be read, or a row or line is malformed; or it is a table, but the items of
            the bundle were not read from one.
    """
    if not (path.is_dir() or (is_table(path) and path.suffix.lower() != ".txt")):
        return read_change_file(path)
    config = load_config(bundle.directory / CONFIG_FILE).data
    if config.source != "table" or not config.table.items.features:
        raise DataError(
            "the bundle's data set had no item table whose columns this file could have",
            where=path,
            expected='a JSON object a line: {"item": "id", "features": {...}}',
        )
    rows = read_item_rows(config, path)
    values = {feature.name: _values(feature) for feature in rows.features}
    return [
        ItemChange(
            item,
            {name: column[row] for name, column in values.items()},
            f"{path}: item {item!r}",
            None if rows.titles is None else rows.titles[row],
        )
        for row, item in enumerate(rows.ids)
    ]


def _values(feature: RawFeature) -> Sequence[Any]:
    """The rows of a feature as JSON would give them."""
    if feature.kind == "number":
        return [None if np.isnan(value) else float(value) for value in np.asarray(feature.values)]
    if feature.kind == "dense":
        return list(np.asarray(feature.values))
    return list(feature.values)
