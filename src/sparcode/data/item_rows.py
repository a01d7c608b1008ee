"""Later rows of the item table: items that were not there when the data set was made, or have changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparcode.config.data_schema import DataConfig
from sparcode.data.raw import RawFeature
from sparcode.data.table import file_source, layout_of, read_side, side_features
from sparcode.data.table_files import find_files
from sparcode.data.text_tables import TextLayout


@dataclass(frozen=True)
class ItemRows:
    """Rows of an item table.

    Attributes:
        ids: external ids, unique.
        features: of all ids.
        titles: of all ids, empty = none; None if the table has none.
    """

    ids: list[str]
    features: tuple[RawFeature, ...]
    titles: list[str] | None


def read_item_rows(config: DataConfig, path: Path) -> ItemRows:
    """Read rows of the item table.

    Args:
        config: the data section of the data set. Embeddings in files of their own are not looked up.
        path: a file, or a directory with files of one table.

    Raises:
        ConfigError, DataError: as :func:`read_table`.
    """
    table, side = config.table, config.table.items
    features = {name: column for name, column in side.features.items() if column.file is None}
    layout = layout_of(side, TextLayout(table.separator, table.encoding))
    source = file_source(find_files(path, layout))
    inner = side.model_copy(update={"features": features})
    rows = read_side(config, source, inner, table.item_column, "items")
    ids = rows.ids.to_list()
    made, titles = side_features(rows, np.arange(len(ids), dtype=np.int32), ids)
    return ItemRows(ids, made, titles)
