"""The data set: what training, evaluation and export read.

Internal item ids are 1 .. num_items, 0 is padding; internal user numbers are 0 .. num_users - 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data.dataset_directory import (
    DESCRIPTION,
    REMEDY,
    ROLES,
    TITLES,
    WEIGHTS,
    check_files,
    check_sources,
    feature_file,
    number_file,
    read_array,
    read_description,
    read_json,
    write_dataset,
)
from sparcode.data.interactions import Interactions
from sparcode.data.known import check_known_counts
from sparcode.data.pipeline import build_contents
from sparcode.data.raw import RawInteractions
from sparcode.data.sources import read_source
from sparcode.errors import DataError
from sparcode.types import FeatureRole, FeatureSpec

__all__ = ["Dataset", "Interactions", "prepare_dataset", "preprocess"]

logger = logging.getLogger(__name__)

IRRELEVANT_KEYS = (
    "path",
    "dataset_dir",
    "max_history",
    "use_user_features",
    "use_item_features",
    "use_item_ids",
)
"""Keys of the data section that do not change the data set."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A preprocessed data set; arrays are read-only memory maps when it was loaded from a directory.

    The history of a user is its train items at validation, and its train and validation items at test.

    Attributes:
        name: name in reports.
        protocol: ``leave_one_out``, ``ratio``, ``global_time`` or ``pre_split``.
        ordered: whether the items of a user are in time order.
        query_kind: ``history``, or ``features`` when a query is a user's features and has no history.
        num_users: U.
        num_items: I.
        fingerprint: hash of the contents; a model belongs to the data set with its fingerprint.
        counts: ``users``, ``items``, ``interactions``, ``train``, ``valid``, ``test`` and, before
            filtering, ``raw_users``, ``raw_items``, ``raw_interactions``.
        train: training interactions of all U users.
        valid: validation targets of all U users.
        test: test targets of all U users.
        item_features: specifications of the item features.
        user_features: specifications of the user features.
        item_arrays: by feature name: categorical (I + 1,) int32, multi (I + 1, width) int32 padded with 0,
            dense (I + 1, size) float32; row 0 is the padding item and zero.
        user_arrays: by feature name, same kinds, U rows.
        item_ids: external ids; internal item ``i`` is ``item_ids[i - 1]``.
        user_ids: external ids by internal user number.
        user_vocab: by name of categorical and multi user features: external values by stored id, 0 = missing.
        item_vocab: the same for item features.
        item_titles: titles for people; internal item ``i`` is ``item_titles[i - 1]``, empty = it has none;
            None = the source has no titles. No feature.
        item_numbers: by name of the numbers among the item features: (I + 1,) float64 raw values for filters,
            NaN = missing, row 0 is the padding item and NaN. The network reads them standardised, as the
            dense feature of that name: (I + 1, 2), value and 1 if missing.
        item_roles: how the item features were made of the columns of the item table (source ``table``, else
            empty): with these and ``item_vocab`` a later row is encoded in the same way. A path is stored as
            a multi feature that holds every level with all above it. A title has no role.
        user_roles: the same for user features.

    ``train.weights`` says how often interactions are training targets; None = all alike.
    """

    name: str
    protocol: str
    ordered: bool
    query_kind: str
    num_users: int
    num_items: int
    fingerprint: str
    counts: dict[str, int]
    train: Interactions
    valid: Interactions
    test: Interactions
    item_features: tuple[FeatureSpec, ...] = ()
    user_features: tuple[FeatureSpec, ...] = ()
    item_arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    user_arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    item_ids: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    user_vocab: dict[str, list[str]] = field(default_factory=dict)
    item_vocab: dict[str, list[str]] = field(default_factory=dict)
    item_titles: list[str] | None = None
    item_numbers: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    item_roles: tuple[FeatureRole, ...] = ()
    user_roles: tuple[FeatureRole, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Dataset:
        """Open a data set directory; every file is compared with its checksum, arrays stay on disk.

        Raises:
            DataError: naming the file that is missing, damaged or inconsistent with the others.
        """
        directory = Path(path)
        description = read_description(directory)
        check_files(directory, description)
        counts = description["counts"]
        num_users, num_items = counts["users"], counts["items"]
        vocabularies = read_json(directory / "vocabularies.json")
        item_specs = tuple(FeatureSpec(**spec) for spec in description["item_features"])
        user_specs = tuple(FeatureSpec(**spec) for spec in description["user_features"])
        files = description["sha256"]
        roles = read_json(directory / ROLES) if ROLES in files else {"user": [], "item": []}
        item_roles = _roles(roles["item"])
        return cls(
            name=description["name"],
            protocol=description["protocol"],
            ordered=description["ordered"],
            query_kind=description["query_kind"],
            num_users=num_users,
            num_items=num_items,
            fingerprint=description["fingerprint"],
            counts=counts,
            train=_read_split(directory, "train", counts, WEIGHTS if WEIGHTS in files else None),
            valid=_read_split(directory, "valid", counts),
            test=_read_split(directory, "test", counts),
            item_features=item_specs,
            user_features=user_specs,
            item_arrays=_read_features(directory, "item", item_specs, num_items + 1),
            user_arrays=_read_features(directory, "user", user_specs, num_users),
            item_ids=_read_ids(directory / "item_ids.json", num_items),
            user_ids=_read_ids(directory / "user_ids.json", num_users),
            user_vocab=vocabularies["user"],
            item_vocab=vocabularies["item"],
            item_titles=_read_ids(directory / TITLES, num_items) if TITLES in files else None,
            item_numbers=_read_numbers(directory, item_roles, num_items + 1),
            item_roles=item_roles,
            user_roles=_roles(roles["user"]),
        )


def _roles(records: list[dict[str, Any]]) -> tuple[FeatureRole, ...]:
    return tuple(FeatureRole(**{**record, "columns": tuple(record["columns"])}) for record in records)


def _read_numbers(
    directory: Path, roles: tuple[FeatureRole, ...], rows: int
) -> dict[str, NDArray[np.float64]]:
    names = [role.name for role in roles if role.kind == "number"]
    return {
        name: read_array(directory / number_file(number), np.float64, (rows,))
        for number, name in enumerate(names)
    }


def _read_split(
    directory: Path, split: str, counts: dict[str, int], weights_file: str | None = None
) -> Interactions:
    pointer_file, item_file = directory / f"{split}_indptr.npy", directory / f"{split}_items.npy"
    indptr = read_array(pointer_file, np.int64, (counts["users"] + 1,))
    items = read_array(item_file, np.int32, (counts[split],))
    if indptr[0] != 0 or indptr[-1] != len(items) or (np.diff(indptr) < 0).any():
        raise DataError("offsets do not fit the items", where=pointer_file, remedy=REMEDY)
    if len(items) and not (items.min() >= 1 and items.max() <= counts["items"]):
        raise DataError(
            "item id out of range",
            where=item_file,
            expected=f"1 .. {counts['items']}",
            received=f"{items.min()} .. {items.max()}",
            remedy=REMEDY,
        )
    if weights_file is None:
        return Interactions(indptr, items)
    return Interactions(indptr, items, read_array(directory / weights_file, np.float32, items.shape))


def _read_features(
    directory: Path, owner: str, specs: tuple[FeatureSpec, ...], rows: int
) -> dict[str, NDArray[Any]]:
    arrays = {}
    for number, spec in enumerate(specs):
        dtype: type[np.generic] = np.float32 if spec.kind == "dense" else np.int32
        shape = (rows,) if spec.kind == "categorical" else (rows, spec.width)
        path = directory / feature_file(owner, number)
        array = read_array(path, dtype, shape)
        if spec.kind != "dense" and array.size and not (array.min() >= 0 and array.max() < spec.size):
            raise DataError(
                "feature value out of range",
                where=path,
                expected=f"0 .. {spec.size - 1}",
                received=f"{array.min()} .. {array.max()}",
                remedy=REMEDY,
            )
        arrays[spec.name] = array
    return arrays


def _read_ids(path: Path, count: int) -> list[str]:
    ids = read_json(path)
    if not isinstance(ids, list) or len(ids) != count:
        raise DataError("wrong number of external ids", where=path, expected=count, remedy=REMEDY)
    return ids


def prepare_dataset(config: DataConfig) -> Dataset:
    """Load ``data.dataset_dir``, or make it from ``data.path`` when it does not exist.

    Raises:
        ConfigError, DataError, OutputError: see :func:`preprocess`; and DataError when the directory was
            made by a different data section, naming the key, or of raw files that have changed since.
    """
    directory = Path(config.dataset_dir)
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return preprocess(config)
    description = read_description(directory)
    recorded = description.get("config", {})
    current = relevant_section(config)
    for key in sorted(recorded.keys() | current.keys()):
        if recorded.get(key) != current.get(key):
            raise DataError(
                f"the data set was made with another data.{key}",
                where=directory / DESCRIPTION,
                expected=current.get(key),
                received=recorded.get(key),
                remedy="set another data.dataset_dir or delete this directory",
            )
    if config.path is not None:
        check_sources(Path(config.path), description, directory)
    return Dataset.load(directory)


def preprocess(config: DataConfig, raw: RawInteractions | None = None) -> Dataset:
    """Read the raw data, filter, split and write ``data.dataset_dir`` (replacing an older data set).

    Args:
        config: the data section.
        raw: what was read already, as of data frames; None = what ``config`` names is read.

    Raises:
        ConfigError: the data section asks for something that the raw data cannot give.
        DataError: a raw file is missing or malformed (with line), a known data set is incomplete, or
            nothing is left after filtering or splitting.
        OutputError: the directory cannot be written.
    """
    if raw is None:
        logger.info("preprocessing %s from %s", config.name, config.path or f"the {config.source} generator")
        raw = read_source(config)
    check_known_counts(config, raw.counts())
    contents = build_contents(raw, config, relevant_section(config))
    write_dataset(Path(config.dataset_dir), contents)
    dataset = Dataset.load(config.dataset_dir)
    logger.info("data set %s: %s", dataset.name, dataset.counts)
    for split in ("valid", "test"):
        if not dataset.counts[split]:
            logger.warning("data set %s has no %s interactions", dataset.name, split)
    return dataset


def relevant_section(config: DataConfig) -> dict[str, Any]:
    """The part of the data section that determines the data set: plain JSON values, sub-keys dotted.

    The sections of other sources are left out.
    """
    elsewhere = set() if config.source == "table" else {"bad_rows", "max_bad_share"}
    section = config.model_dump(mode="json", exclude={*IRRELEVANT_KEYS, *elsewhere})
    relevant: dict[str, Any] = {}
    for key, value in section.items():
        if not isinstance(value, dict):
            relevant[key] = value
        elif key == config.source:
            relevant.update({f"{key}.{name}": setting for name, setting in value.items()})
    return relevant
