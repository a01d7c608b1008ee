"""Raw interactions -> the contents of a data set: filter, split, number, encode."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.dataset_directory import DatasetContents
from sparcode.data.feature_arrays import encode_features
from sparcode.data.filters import Rows, select_rows
from sparcode.data.interactions import Interactions, group_by_user
from sparcode.data.raw import TEST, TRAIN, VALID, RawInteractions
from sparcode.data.splits import SortedRows, split_rows

SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}


def build_contents(raw: RawInteractions, config: DataConfig, section: dict[str, Any]) -> DatasetContents:
    """Run the pipeline.

    Users and items are numbered in the order of the source's id lists. Items that occur in validation or
    test alone stay in the catalogue.

    Args:
        raw: what the source delivered.
        config: the data section.
        section: the part of the data section that is written into the data set directory.

    Raises:
        ConfigError, DataError: see :func:`select_rows` and :func:`split_rows`.
    """
    rows = select_rows(raw, config)
    kept_users, users = _renumber(raw.users, rows, len(raw.user_ids), raw.complete_catalogue)
    kept_items, items = _renumber(raw.items, rows, len(raw.item_ids), raw.complete_catalogue)
    items += 1  # id 0 is padding
    splits = _divide(raw, rows, users, items, len(kept_users), config)
    user_side = encode_features(raw.user_features, kept_users, padding_row=False)
    item_side = encode_features(raw.item_features, kept_items, padding_row=True)
    return DatasetContents(
        name=config.name,
        protocol=config.protocol,
        ordered=raw.ordered,
        query_kind=raw.query_kind,
        splits=splits,
        user_ids=[raw.user_ids[user] for user in kept_users],
        item_ids=[raw.item_ids[item] for item in kept_items],
        user_features=user_side,
        item_features=item_side,
        counts=_counts(raw, splits, len(kept_users), len(kept_items)),
        section=section,
        files=raw.files,
    )


def _renumber(
    codes: NDArray[np.int32], rows: Rows, size: int, keep_all: bool
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Positions that stay, ascending, and the code of every row counted among them."""
    selected = codes[rows]
    if keep_all:
        return np.arange(size, dtype=np.int64), selected
    kept = np.flatnonzero(np.bincount(selected, minlength=size))
    lookup = np.zeros(size, dtype=np.int32)
    lookup[kept] = np.arange(len(kept), dtype=np.int32)
    return kept, lookup[selected]


def _divide(
    raw: RawInteractions,
    rows: Rows,
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    num_users: int,
    config: DataConfig,
) -> dict[str, Interactions]:
    labels = split_rows(
        SortedRows(
            users=users,
            timestamps=None if raw.timestamps is None else raw.timestamps[rows],
            given=None if raw.splits is None else raw.splits[rows],
            ordered=raw.ordered,
        ),
        config,
    )
    return {
        name: group_by_user(users[labels == label], items[labels == label], num_users)
        for name, label in SPLITS.items()
    }


def _counts(
    raw: RawInteractions, splits: dict[str, Interactions], num_users: int, num_items: int
) -> dict[str, int]:
    sizes = {name: len(split.items) for name, split in splits.items()}
    return {
        "users": num_users,
        "items": num_items,
        "interactions": sum(sizes.values()),
        **sizes,
        **{f"raw_{key}": value for key, value in raw.counts().items()},
    }
