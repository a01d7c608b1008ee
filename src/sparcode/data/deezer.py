"""Deezer cold start: users are described by features of their registration day, songs by embeddings.

Format: L. Briand, G. Salha-Galvan, W. Bendada, M. Morlon, V. Tran, "A semi-personalized system for user
cold start recommendation on music streaming apps" (KDD 2021). Files in the directory::

    song_embeddings.parquet                   song_index, features_svd (128), features_mf (256)
    user_features_{part}_{embeddings}.parquet user_index, d1d30_songs, <feature>_embedding<i>, nb_<action>,
                                              age_value; part is train, validation or test

The targets of a user are ``d1d30_songs``. There is no history: queries are features alone. All songs are
candidates, whether or not somebody listened to them.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.parquet import open_parquet, read_columns
from sparcode.data.raw import TEST, TRAIN, VALID, RawFeature, RawInteractions
from sparcode.data.table_data import check_columns
from sparcode.errors import ConfigError, DataError

PARTS = {"train": TRAIN, "validation": VALID, "test": TEST}
SONGS_FILE = "song_embeddings.parquet"
USER, SONG, TARGETS, AGE = "user_index", "song_index", "d1d30_songs", "age_value"
EMBEDDING_COLUMN = re.compile(r"^(?P<feature>.+)_embedding_?(?P<position>\d+)$")
COUNT_COLUMN = re.compile(r"^nb_")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Columns:
    """Columns of a user file by role: embedding columns by feature, in order of position."""

    embeddings: dict[str, list[str]]
    counts: list[str]

    @property
    def statistics(self) -> list[str]:
        return [*self.counts, AGE]


def read_deezer(config: DataConfig) -> RawInteractions:
    """Read songs and the three user files of the variant ``data.deezer.embeddings``.

    Raises:
        ConfigError: a filter is set (the published split is used as it is).
        DataError: a file, column or value is missing or inconsistent.
    """
    _refuse_filters(config)
    directory = Path(str(config.path))
    if not directory.is_dir():
        raise DataError("not a directory", where=directory, expected=f"a directory with {SONGS_FILE}")
    variant = config.deezer.embeddings
    songs_file = directory / SONGS_FILE
    files = [directory / f"user_features_{part}_{variant}.parquet" for part in PARTS]
    song_ids, song_features = _read_songs(songs_file, f"features_{variant}")
    columns = _classify(files[0])
    users = np.concatenate([_read_integers(file, USER) for file in files])
    _refuse_repeats(users, "user", directory)
    sizes = [open_parquet(file).metadata.num_rows for file in files]
    rows, songs, labels = _read_targets(files, song_ids)
    return RawInteractions(
        users=rows,
        items=songs,
        user_ids=[str(user) for user in users.tolist()],
        item_ids=[str(song) for song in song_ids.tolist()],
        ordered=False,
        locate=lambda row: f"{directory}: user {users[rows[row]]}",
        splits=labels,
        user_features=tuple(_read_user_features(files, columns, num_train=sizes[0])),
        item_features=(RawFeature("embedding", "dense", song_features),),
        query_kind="features",
        complete_catalogue=True,
        files=(songs_file, *files),
    )


def _refuse_filters(config: DataConfig) -> None:
    for key in ("min_user_interactions", "min_item_interactions"):
        if getattr(config, key):
            raise ConfigError(
                "the published split is used as it is",
                where=f"data.{key}",
                expected=0,
                received=getattr(config, key),
            )


def _read_songs(path: Path, column: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    song_ids = _read_integers(path, SONG)
    _refuse_repeats(song_ids, "song", path)
    lengths, values = _read_lists(path, column)
    distinct = np.unique(lengths)
    if len(distinct) != 1 or distinct[0] == 0:
        raise DataError(
            "embeddings of different lengths", where=f"{path}, column {column}", received=distinct.tolist()
        )
    embeddings = values.astype(np.float32).reshape(len(song_ids), -1)
    return song_ids, _finite(embeddings, path, column)


def _read_lists(path: Path, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Length of every row's list (null = 0), and all members one after the other."""
    lists = read_columns(path, [column]).column(column)
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(
            f"column {column!r} does not hold lists", where=path, expected="lists", received=lists.type
        )
    lengths = pa.compute.fill_null(pa.compute.list_value_length(lists), 0)
    return lengths.to_numpy().astype(np.int64), pa.compute.list_flatten(lists).to_numpy()


def _read_integers(path: Path, column: str) -> NDArray[np.int64]:
    try:
        values = read_columns(path, [column]).column(column).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {column!r} is not an integer column ({error})", where=path) from error
    if values.null_count:
        raise DataError(f"null in column {column!r}", where=path)
    return values.to_numpy()


def _refuse_repeats(ids: NDArray[np.int64], what: str, where: Path) -> None:
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) != len(ids):
        raise DataError(
            f"{what} occurs twice",
            where=where,
            received=int(distinct[counts > 1][0]),
            expected=f"every {what} once over all parts",
        )


def _classify(path: Path) -> _Columns:
    """Sort the columns of a user file by role."""
    names = open_parquet(path).schema_arrow.names
    check_columns(names, [USER, TARGETS, AGE], path)
    groups: dict[str, dict[int, str]] = defaultdict(dict)
    unused = []
    counts = [name for name in names if COUNT_COLUMN.match(name)]
    for name in names:
        match = EMBEDDING_COLUMN.match(name)
        if match:
            groups[match["feature"]][int(match["position"])] = name
        elif name not in (USER, TARGETS, AGE, *counts):
            unused.append(name)
    if unused:
        logger.info("%s: columns not used: %s", path, ", ".join(unused))
    embeddings = {
        feature: [columns[position] for position in sorted(columns)] for feature, columns in groups.items()
    }
    return _Columns(embeddings, counts)


def _read_targets(
    files: list[Path], song_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8]]:
    """User rows (counted over all files), song positions and split labels of all targets."""
    order = np.argsort(song_ids)
    rows, songs, labels, first = [], [], [], 0
    for file, label in zip(files, PARTS.values(), strict=True):
        lengths, values = _read_lists(file, TARGETS)
        owner = np.repeat(np.arange(first, first + len(lengths), dtype=np.int32), lengths)
        place = np.minimum(np.searchsorted(song_ids, values, sorter=order), len(song_ids) - 1)
        unknown = song_ids[order[place]] != values
        if unknown.any():
            row = int(owner[int(np.argmax(unknown))]) - first
            raise DataError(
                f"song in {TARGETS} is not in {SONGS_FILE}",
                where=f"{file}: row {row + 1}",
                received=values[unknown][0],
            )
        rows.append(owner)
        songs.append(order[place].astype(np.int32))
        labels.append(np.full(len(values), label, dtype=np.int8))
        first += len(lengths)
    return np.concatenate(rows), np.concatenate(songs), np.concatenate(labels)


def _read_user_features(files: list[Path], columns: _Columns, num_train: int) -> list[RawFeature]:
    features = [
        RawFeature(feature, "dense", _read_dense(files, names))
        for feature, names in columns.embeddings.items()
    ]
    statistics = _read_dense(files, columns.statistics)
    counts = statistics[:, : len(columns.counts)]
    if (counts < 0).any():
        raise DataError("negative count", where=files[0].parent, received=float(counts.min()))
    np.log1p(counts, out=counts)
    train = statistics[:num_train].astype(np.float64)
    deviation = train.std(axis=0)
    statistics -= train.mean(axis=0)
    statistics /= np.where(deviation > 0, deviation, 1.0)
    return [*features, RawFeature("stats", "dense", statistics)]


def _read_dense(files: list[Path], names: list[str]) -> NDArray[np.float32]:
    """Columns side by side over the rows of all files: (users, len(names)) float32."""
    parts = []
    for path in files:
        table = read_columns(path, names)
        part = np.empty((table.num_rows, len(names)), dtype=np.float32)
        for position, name in enumerate(names):
            part[:, position] = table.column(name).to_numpy()
        parts.append(_finite(part, path, ", ".join(names[:3])))
    return np.concatenate(parts)


def _finite(values: NDArray[np.float32], path: Path, column: str) -> NDArray[np.float32]:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            "value is null, NaN or infinite",
            where=f"{path}: row {int(np.argwhere(bad)[0, 0]) + 1}",
            received=f"column {column}",
        )
    return values
