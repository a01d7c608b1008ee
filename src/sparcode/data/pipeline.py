"""Raw interactions -> the contents of a data set: filter, split, number, encode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.dataset_directory import DatasetContents
from sparcode.data.feature_arrays import encode_features
from sparcode.data.filters import Rows, select_rows, strongest_weights
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
    further = dict(raw.notes)
    rows = select_rows(raw, config, further)
    every_user, every_item = (
        np.arange(len(ids)) if raw.complete_catalogue else None for ids in (raw.user_ids, raw.item_ids)
    )
    catalogue = raw.catalogue if raw.catalogue is not None else every_item
    kept_users, users = _renumber(raw.users, rows, len(raw.user_ids), every_user)
    kept_items, items = _renumber(raw.items, rows, len(raw.item_ids), catalogue)
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
        item_titles=None if raw.item_titles is None else [raw.item_titles[item] for item in kept_items],
        counts={**_counts(raw, splits, len(kept_users), len(kept_items)), **further},
        section=section,
        files=raw.files,
    )


def _renumber(
    codes: NDArray[np.int32], rows: Rows, size: int, also: NDArray[np.integer] | None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Positions that stay, ascending, and the code of every row counted among them."""
    selected = codes[rows]
    counts = np.bincount(selected, minlength=size)
    if also is not None:
        counts[also] += 1
    kept = np.flatnonzero(counts)
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
    splits = {
        name: group_by_user(users[labels == label], items[labels == label], num_users)
        for name, label in SPLITS.items()
    }
    weights = strongest_weights(raw, rows, config.duplicates)
    if weights is not None:
        splits["train"] = replace(splits["train"], weights=weights[labels == TRAIN])
    return splits


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
