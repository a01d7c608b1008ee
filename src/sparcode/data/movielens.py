"""MovieLens: ``ratings.dat`` (1M, 10M) or ``ratings.csv`` (20M and newer), with movie and user features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sparcode.config.data_schema import DataConfig
from sparcode.data import movielens_metadata
from sparcode.data.bad_rows import BadRows
from sparcode.data.casts import Cast, cast_integer, cast_number
from sparcode.data.raw import RawInteractions
from sparcode.data.text_tables import TextLayout, read_text
from sparcode.data.vocabulary import encode_integers
from sparcode.errors import DataError

RATING_FILES = ("ratings.dat", "ratings.csv")
COLUMNS = ("userId", "movieId", "rating", "timestamp")


def read_movielens(config: DataConfig) -> RawInteractions:
    """Read ratings and, where the files lie beside them, movie and user features.

    Raises:
        DataError: missing, empty or malformed file, with line.
    """
    path = _find_ratings(Path(str(config.path)))
    layout = TextLayout(",") if path.suffix == ".csv" else TextLayout("::", names=COLUMNS)
    part = read_text(path, COLUMNS, layout)
    casts = {name: _cast(name, part.frame[name]) for name in COLUMNS}
    BadRows("ratings", config).select(part, casts)
    if not part.frame.height:
        raise DataError("file holds no rows", where=path, remedy="restore the file")
    columns = {name: column.values.to_numpy() for name, column in casts.items()}
    users, user_numbers = encode_integers(columns["userId"])
    items, item_numbers = encode_integers(columns["movieId"])
    user_ids = [str(number) for number in user_numbers]
    item_ids = [str(number) for number in item_numbers]
    movies_file, users_file = movielens_metadata.find_metadata(path.parent)
    return RawInteractions(
        users=users,
        items=items,
        user_ids=user_ids,
        item_ids=item_ids,
        ordered=True,
        locate=part.locate,
        timestamps=columns["timestamp"],
        ratings=columns["rating"].astype(np.float32),
        user_features=movielens_metadata.user_features(users_file, user_ids) if users_file else (),
        item_features=movielens_metadata.movie_features(movies_file, item_ids) if movies_file else (),
        files=(path, *(file for file in (movies_file, users_file) if file)),
    )


def _cast(name: str, column: pl.Series) -> Cast:
    return cast_number(column) if name == "rating" else cast_integer(column)


def _find_ratings(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in RATING_FILES:
        if (path / name).is_file():
            return path / name
    raise DataError(
        "no ratings in the directory",
        where=path,
        expected=" or ".join(RATING_FILES),
        remedy="unpack the MovieLens archive there, or check data.path",
    )
