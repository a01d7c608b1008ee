"""MovieLens: ``ratings.dat`` (1M, 10M) or ``ratings.csv`` (20M and newer), with movie and user features."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data import movielens_metadata
from sparcode.data.columns import ColumnKind
from sparcode.data.delimited import Layout, line_of_row, read_delimited
from sparcode.data.raw import RawInteractions
from sparcode.data.vocabulary import encode_integers
from sparcode.errors import DataError

RATING_FILES = ("ratings.dat", "ratings.csv")
KINDS: dict[str, ColumnKind] = {
    "userId": "id",
    "movieId": "id",
    "rating": "rating",
    "timestamp": "timestamp",
}


def read_movielens(config: DataConfig) -> RawInteractions:
    """Read ratings and, where the files lie beside them, movie and user features.

    Raises:
        DataError: missing, empty or malformed file, with line.
    """
    path = _find_ratings(Path(str(config.path)))
    layout = Layout(",", KINDS) if path.suffix == ".csv" else Layout("::", KINDS, names=tuple(KINDS))
    columns = cast("dict[str, NDArray[np.generic]]", read_delimited(path, layout))
    users, user_numbers = encode_integers(cast("NDArray[np.int64]", columns.pop("userId")))
    items, item_numbers = encode_integers(cast("NDArray[np.int64]", columns.pop("movieId")))
    user_ids = [str(number) for number in user_numbers]
    item_ids = [str(number) for number in item_numbers]
    movies_file, users_file = movielens_metadata.find_metadata(path.parent)
    return RawInteractions(
        users=users,
        items=items,
        user_ids=user_ids,
        item_ids=item_ids,
        ordered=True,
        locate=lambda row: line_of_row(path, row, layout.header_lines),
        timestamps=columns["timestamp"],
        ratings=cast("NDArray[np.float32]", columns["rating"]),
        user_features=movielens_metadata.user_features(users_file, user_ids) if users_file else (),
        item_features=movielens_metadata.movie_features(movies_file, item_ids) if movies_file else (),
        files=(path, *(file for file in (movies_file, users_file) if file)),
    )


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
