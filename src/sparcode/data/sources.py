"""The raw formats by name of ``data.source``."""

from __future__ import annotations

from collections.abc import Callable

from sparcode.config.data_schema import DataConfig
from sparcode.data.deezer import read_deezer
from sparcode.data.movielens import read_movielens
from sparcode.data.raw import RawInteractions
from sparcode.data.synthetic import generate_synthetic
from sparcode.data.table import read_table
from sparcode.data.user_lines import read_user_lines

Reader = Callable[[DataConfig], RawInteractions]

READERS: dict[str, Reader] = {
    "synthetic": lambda config: generate_synthetic(config.synthetic),
    "movielens": read_movielens,
    "user_lines": read_user_lines,
    "table": read_table,
    "deezer": read_deezer,
}


def read_source(config: DataConfig) -> RawInteractions:
    """Read the raw data that the data section names.

    Raises:
        DataError: a file is missing, empty or malformed.
    """
    return READERS[config.source](config)
