"""Writing and reading of the data set directory.

Layout (format version 1)::

    dataset.json             description, counts, feature specifications, configuration, checksums
    user_ids.json            external user ids; position = internal user number
    item_ids.json            external item ids; position + 1 = internal item id
    vocabularies.json        {"user": {feature: values}, "item": {feature: values}}; position = stored id
    {split}_indptr.npy       (users + 1,) int64, for train, valid and test
    {split}_items.npy        (interactions,) int32
    {owner}_feature_{n}.npy  rows of the n-th feature of the users or of the items (row 0 = padding)

and where the source has them::

    train_weights.npy        (train interactions,) float32 > 0, when they differ
    roles.json               {"user": [role, ...], "item": [role, ...]}: how features were made of columns
    item_number_{n}.npy      (items + 1,) float64 raw numbers of the n-th role of kind number, NaN = missing
    item_titles.json         titles; position + 1 = internal item id

The directory appears under its name complete or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.data.feature_arrays import EncodedFeatures
from sparcode.data.interactions import Interactions
from sparcode.errors import DataError
from sparcode.files import file_sha256, replacing_directory, text_sha256, write_json

FORMAT = "sparcode-dataset"
FORMAT_VERSION = 1
DESCRIPTION = "dataset.json"
WEIGHTS, ROLES, TITLES = "train_weights.npy", "roles.json", "item_titles.json"
REMEDY = "delete the directory and preprocess the raw data again"

FINGERPRINT_KEYS = (
    "format_version",
    "protocol",
    "ordered",
    "query_kind",
    "user_features",
    "item_features",
    "sha256",
)
REQUIRED_KEYS = (*FINGERPRINT_KEYS, "name", "counts", "config", "fingerprint")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetContents:
    """Everything that a data set directory holds.

    Attributes:
        name: name in reports.
        protocol: how the interactions were divided.
        ordered: whether a user's items are in time order.
        query_kind: ``history`` or ``features``.
        splits: ``train``, ``valid``, ``test``, each over all users.
        user_ids: external ids.
        item_ids: external ids.
        user_features: encoded features, one row per user.
        item_features: encoded features, one row per item and the padding row in front.
        item_titles: titles of the items, or None.
        counts: users, items and interactions, before and after filtering and per split.
        section: the part of the data section that determines the contents.
        files: raw files.
    """

    name: str
    protocol: str
    ordered: bool
    query_kind: str
    splits: dict[str, Interactions]
    user_ids: list[str]
    item_ids: list[str]
    user_features: EncodedFeatures
    item_features: EncodedFeatures
    item_titles: list[str] | None
    counts: dict[str, int]
    section: dict[str, Any]
    files: tuple[Path, ...]


def is_dataset_dir(directory: Path) -> bool:
    """Whether the directory holds the description of a data set."""
    return (directory / DESCRIPTION).is_file()


def write_dataset(directory: Path, contents: DatasetContents) -> None:
    """Write a data set directory, replacing an older data set of that name.

    Raises:
        OutputError: the place is taken by something else, cannot be written, or the disk is full. Nothing
            half-written is left, and an older data set stays as it was.
    """
    with replacing_directory(directory, is_dataset_dir, "data set directory") as partial:
        _write_files(partial, contents)
    logger.info("data set written to %s", directory)


def _write_files(directory: Path, contents: DatasetContents) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in contents.splits.items():
        arrays[f"{name}_indptr.npy"] = split.indptr
        arrays[f"{name}_items.npy"] = split.items
    for owner, features in (("user", contents.user_features), ("item", contents.item_features)):
        for number, spec in enumerate(features.specs):
            arrays[feature_file(owner, number)] = features.arrays[spec.name]
    for number, values in enumerate(contents.item_features.numbers.values()):
        arrays[number_file(number)] = values
    if contents.splits["train"].weights is not None:
        arrays[WEIGHTS] = contents.splits["train"].weights
    for file, array in arrays.items():
        np.save(directory / file, array, allow_pickle=False)
    write_json(directory / "user_ids.json", contents.user_ids, indent=None)
    write_json(directory / "item_ids.json", contents.item_ids, indent=None)
    _write_roles(directory, contents)
    vocabularies = {
        "user": contents.user_features.vocabularies,
        "item": contents.item_features.vocabularies,
    }
    write_json(directory / "vocabularies.json", vocabularies, indent=None)
    checksums = {file.name: file_sha256(file) for file in sorted(directory.iterdir())}
    write_json(directory / DESCRIPTION, _describe(contents, checksums))


def _write_roles(directory: Path, contents: DatasetContents) -> None:
    roles = {
        "user": [asdict(role) for role in contents.user_features.roles],
        "item": [asdict(role) for role in contents.item_features.roles],
    }
    if any(role["columns"] for role in (*roles["user"], *roles["item"])):
        write_json(directory / ROLES, roles, indent=None)
    if contents.item_titles is not None:
        write_json(directory / TITLES, contents.item_titles, indent=None)


def number_file(number: int) -> str:
    """File name of the raw values of the n-th number of the items."""
    return f"item_number_{number}.npy"


def feature_file(owner: str, number: int) -> str:
    """File name of the n-th feature of ``user`` or ``item``."""
    return f"{owner}_feature_{number}.npy"


def _describe(contents: DatasetContents, checksums: dict[str, str]) -> dict[str, Any]:
    description: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": contents.name,
        "protocol": contents.protocol,
        "ordered": contents.ordered,
        "query_kind": contents.query_kind,
        "counts": contents.counts,
        "user_features": [asdict(spec) for spec in contents.user_features.specs],
        "item_features": [asdict(spec) for spec in contents.item_features.specs],
        "config": contents.section,
        "sources": [
            {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in contents.files
        ],
        "sha256": checksums,
    }
    return {**description, "fingerprint": fingerprint(description)}


def fingerprint(description: dict[str, Any]) -> str:
    """Hash of all that a model depends on: the arrays, ids and features, and how they are to be read.

    Names, paths and source files are left out: equal contents have equal fingerprints.
    """
    text = json.dumps({key: description[key] for key in FINGERPRINT_KEYS}, sort_keys=True)
    return text_sha256(text)


def read_json(path: Path) -> Any:
    """Parse a JSON file of the directory.

    Raises:
        DataError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("missing file of the data set", where=path, remedy=REMEDY) from error
    except (OSError, ValueError) as error:
        raise DataError(f"damaged file of the data set ({error})", where=path, remedy=REMEDY) from error


def read_description(directory: Path) -> dict[str, Any]:
    """Read and check ``dataset.json``.

    Raises:
        DataError: missing, damaged, of another format version, or edited by hand.
    """
    path = directory / DESCRIPTION
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "data set directory does not exist"
        raise DataError(what, where=directory, remedy="preprocess the raw data first")
    description = read_json(path)
    version = description.get("format_version") if isinstance(description, dict) else None
    if version != FORMAT_VERSION or description.get("format") != FORMAT:
        raise DataError(
            "unknown format of the data set",
            where=path,
            expected=f"{FORMAT} version {FORMAT_VERSION}",
            received=f"version {version}",
            remedy=REMEDY,
        )
    missing = [key for key in REQUIRED_KEYS if key not in description]
    if missing:
        raise DataError(f"damaged data set, no key {missing[0]!r}", where=path, remedy=REMEDY)
    if fingerprint(description) != description["fingerprint"]:
        raise DataError("description and fingerprint do not agree", where=path, remedy=REMEDY)
    return description


def check_files(directory: Path, description: dict[str, Any]) -> None:
    """Compare every file with its recorded SHA-256.

    Raises:
        DataError: naming the first file that is missing or differs.
    """
    for file, expected in description["sha256"].items():
        path = directory / file
        if not path.is_file():
            raise DataError("missing file of the data set", where=path, remedy=REMEDY)
        received = file_sha256(path)
        if received != expected:
            raise DataError(
                "damaged file of the data set",
                where=path,
                expected=f"sha256 {expected}",
                received=received,
                remedy=REMEDY,
            )


def check_sources(raw: Path, description: dict[str, Any], directory: Path) -> None:
    """Compare the raw files, where they are at hand, with those that the data set was made of.

    Args:
        raw: the file or directory ``data.path``.
        description: of the data set.
        directory: of the data set, for messages.

    Raises:
        DataError: a raw file has another content.
    """
    root = raw if raw.is_dir() else raw.parent
    for number, source in enumerate(description.get("sources", [])):
        path = raw if number == 0 and raw.is_file() else root / source["file"]
        if not path.is_file():
            continue
        if path.stat().st_size != source["bytes"] or file_sha256(path) != source["sha256"]:
            raise DataError(
                "the data set was made of another file",
                where=directory,
                expected=f"the content of {path}",
                received=f"that of {source['file']} as it was then",
                remedy="preprocess again, or set another data.dataset_dir",
            )


def read_array(path: Path, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Memory-map an array.

    Args:
        path: a ``.npy`` file.
        dtype: expected type.
        shape: expected shape; None = any length.

    Raises:
        DataError: missing, not an array file, or of another type or shape.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError("missing file of the data set", where=path, remedy=REMEDY) from error
    except (OSError, ValueError) as error:
        raise DataError(f"damaged file of the data set ({error})", where=path, remedy=REMEDY) from error
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise DataError(
            "array of an unexpected type or shape",
            where=path,
            expected=f"{np.dtype(dtype).name} {shape}",
            received=f"{array.dtype} {array.shape}",
            remedy=REMEDY,
        )
    return array
