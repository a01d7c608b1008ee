"""Opening a deployment bundle: every part is checked to belong to the others before anything runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError, IndexFormatError
from sparcode.files import file_sha256
from sparcode.index import InvertedIndex, ItemAttributes, LiveIndex
from sparcode.index.postings import Postings
from sparcode.serving.histories import UserHistories, read_histories
from sparcode.serving.manifest import (
    ATTRIBUTES_DIRECTORY,
    CODEBOOKS_FILE,
    CROSSES_DIRECTORY,
    FEATURES_FILE,
    INDEX_DIRECTORY,
    ITEM_PARTS_FILE,
    ITEM_VECTORS_FILE,
    ITEMS_FILE,
    MANIFEST_NAME,
    POPULARITY_COUNTS_FILE,
    POPULARITY_FILE,
    REMOVED_FILE,
    ROLES_FILE,
    TITLES_FILE,
    FileEntry,
    Manifest,
    item_feature_file,
    read_manifest,
)
from sparcode.types import FeatureRole, FeatureSpec

BUNDLE_ID_KEY = "bundle_id"
"""Entry of the index's metadata that names the bundle it was written for."""

_REMEDY = "export the bundle again, or copy it again as a whole"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle whose parts are known to belong together; arrays are read-only memory maps.

    Attributes:
        directory: where it lies.
        manifest: description of all parts.
        item_ids: external ids; internal item ``i`` is ``item_ids[i - 1]``.
        vocabularies: ``{"user": {feature: values}, "item": {feature: values}}``; position = stored id.
        popularity: (I,) int32 internal item ids by descending number of training interactions, ties by id.
        popularity_counts: (I,) int64 those numbers.
        item_arrays: rows of each item feature, (I + 1,) or (I + 1, width); row 0 = padding.
        removed: (n,) int32 internal ids, ascending, of items that are no results any more.
        index: inverted index as it lies in the directory; that of the crosses alone, or None, for two_tower.
        live: the same index without the removed items, and with what was changed since; None for two_tower.
        codebooks: (S, M, N, d) float32, see ``index.codes.tokens_of_terms``; None for two_tower.
        item_vectors: (I + 1, d) float32; None for sparcode.
        attributes: what queries can filter by; None if the data set has nothing of the kind.
        item_parts: (I + 1, d) float16, what sums of tokens are multiplied by when they are rescored; None for
            two_tower, other scorers, and bundles that were exported without rescoring.
        crosses: whole rows of the table of crosses, a list for each trained item; None without crosses, and
            of bundles that were exported without rescoring.
        titles: of internal item ``i`` at ``titles[i - 1]``, empty = it has none; None if nothing has one.
        roles: ``{"user": {feature: role}, "item": {feature: role}}``: how features were made of the columns
            of tables; empty where they were not.
        histories: what is known of users; None unless the bundle was told to keep it.
    """

    directory: Path
    manifest: Manifest
    item_ids: list[str]
    vocabularies: dict[str, dict[str, list[str]]]
    popularity: NDArray[np.int32]
    popularity_counts: NDArray[np.int64]
    item_arrays: tuple[NDArray[Any], ...]
    removed: NDArray[np.int32]
    index: InvertedIndex | None = None
    live: LiveIndex | None = None
    codebooks: NDArray[np.float32] | None = None
    item_vectors: NDArray[np.float32] | None = None
    attributes: ItemAttributes | None = None
    item_parts: NDArray[np.float16] | None = None
    crosses: Postings | None = None
    titles: list[str] | None = None
    roles: Mapping[str, Mapping[str, FeatureRole]] = field(default_factory=dict)
    histories: UserHistories | None = None


def open_bundle(path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
    """Open a bundle directory.

    Args:
        path: directory written by export.py.
        verify: compare the SHA-256 of every file with the manifest, which reads each file once; without, only
            sizes, shapes and types are checked.

    Raises:
        BundleError: naming the file that is missing, damaged, of another version, or of another bundle.
    """
    directory = Path(path)
    manifest = read_manifest(directory)
    if manifest.has_index:
        _check_index_owner(directory / INDEX_DIRECTORY / MANIFEST_NAME, manifest)
    _check_files(directory, manifest, verify)
    items = manifest.num_items
    is_sparcode = manifest.model == "sparcode"
    bundle = Bundle(
        directory=directory,
        manifest=manifest,
        item_ids=_read_item_ids(directory / ITEMS_FILE, items),
        vocabularies=_read_vocabularies(directory / FEATURES_FILE, manifest),
        popularity=_read_array(directory / POPULARITY_FILE, np.int32, (items,)),
        popularity_counts=_read_array(directory / POPULARITY_COUNTS_FILE, np.int64, (items,)),
        item_arrays=_read_item_arrays(directory, manifest),
        removed=_read_removed(directory, manifest),
        index=_read_index(directory / INDEX_DIRECTORY, manifest, verify) if manifest.has_index else None,
        codebooks=_read_codebooks(directory / CODEBOOKS_FILE, manifest) if is_sparcode else None,
        item_vectors=None
        if is_sparcode
        else _read_array(directory / ITEM_VECTORS_FILE, np.float32, (items + 1, manifest.vector_size)),
        attributes=_read_attributes(directory / ATTRIBUTES_DIRECTORY, manifest, verify),
        item_parts=_read_item_parts(directory / ITEM_PARTS_FILE, manifest),
        crosses=_read_crosses(directory / CROSSES_DIRECTORY, manifest, verify),
        titles=_read_titles(directory / TITLES_FILE, manifest),
        roles=_read_roles(directory / ROLES_FILE, manifest),
        histories=read_histories(directory, manifest.user_features, items)
        if manifest.has_histories
        else None,
    )
    if not np.array_equal(np.sort(bundle.popularity), np.arange(1, items + 1)):
        raise BundleError(
            "not a ranking of all items",
            where=directory / POPULARITY_FILE,
            expected=f"1 .. {items}, once each",
        )
    return _with_live_index(bundle)


def _with_live_index(bundle: Bundle) -> Bundle:
    if bundle.index is None or bundle.codebooks is None:
        return bundle
    live = LiveIndex(bundle.index, bundle.codebooks)
    live.remove(bundle.removed)
    return replace(bundle, live=live)


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file.

    Raises:
        OSError: as the operating system reports it.
    """
    return FileEntry(path.stat().st_size, file_sha256(path))


def _check_files(directory: Path, manifest: Manifest, verify: bool) -> None:
    absent = [path for path in manifest.required_files() if path not in manifest.files]
    if absent:
        raise BundleError(
            "manifest does not list a file", where=directory / MANIFEST_NAME, expected=absent[0]
        )
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError("missing file of the bundle", where=path, remedy=_REMEDY)
        try:
            size = path.stat().st_size
            same = size == expected.size and (not verify or file_entry(path) == expected)
        except OSError as error:
            raise BundleError(
                "file of the bundle cannot be read", where=path, received=error.strerror, remedy=_REMEDY
            ) from error
        if not same:
            raise BundleError(
                "file does not belong to this bundle (damaged, or from another one)",
                where=path,
                expected=f"{expected.size} bytes with SHA-256 {expected.sha256}",
                received=f"{size} bytes" if size != expected.size else "another SHA-256",
                remedy=_REMEDY,
            )


def _check_index_owner(path: Path, manifest: Manifest) -> None:
    """Refuse the index of another bundle by name, before checksums call it damaged.

    A missing or unreadable manifest is left to the checks of files that follow.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    metadata = document.get("metadata") if isinstance(document, dict) else None
    owner = metadata.get(BUNDLE_ID_KEY) if isinstance(metadata, dict) else None
    if owner != manifest.bundle_id:
        raise BundleError(
            "the index was built for another bundle",
            where=path.parent,
            expected=f"bundle {manifest.bundle_id}",
            received=f"bundle {owner}",
            remedy=_REMEDY,
        )


def _load_index(path: Path, expected: dict[str, Any], verify: bool) -> InvertedIndex:
    """Open an index of the expected numbers of items and terms, and owner if one is expected."""
    try:
        index = InvertedIndex.load(path, verify=verify)
    except IndexFormatError as error:
        raise BundleError(f"index is unusable: {error}", where=path, remedy=_REMEDY) from error
    received: dict[str, Any] = {"num_items": index.num_items, "num_terms": index.num_terms}
    if BUNDLE_ID_KEY in expected:
        received[BUNDLE_ID_KEY] = index.metadata.get(BUNDLE_ID_KEY)
    if received != expected:
        raise BundleError(
            "the index does not belong to this bundle",
            where=path,
            expected=", ".join(f"{name} {value}" for name, value in expected.items()),
            received=", ".join(f"{name} {value}" for name, value in received.items()),
            remedy=_REMEDY,
        )
    return index


def _read_index(path: Path, manifest: Manifest, verify: bool) -> InvertedIndex:
    expected = {"num_items": manifest.num_items, "num_terms": manifest.codes["num_terms"]}
    return _load_index(path, {**expected, BUNDLE_ID_KEY: manifest.bundle_id}, verify)


def _read_crosses(path: Path, manifest: Manifest, verify: bool) -> Postings | None:
    if f"{CROSSES_DIRECTORY}/{MANIFEST_NAME}" not in manifest.files:
        return None
    trained = manifest.encoder_items
    return _load_index(path, {"num_items": trained, "num_terms": trained}, verify).postings


def _read_attributes(path: Path, manifest: Manifest, verify: bool) -> ItemAttributes | None:
    if f"{ATTRIBUTES_DIRECTORY}/{MANIFEST_NAME}" not in manifest.files:
        return None
    try:
        attributes = ItemAttributes.load(path, verify=verify)
    except IndexFormatError as error:
        raise BundleError(f"attributes are unusable: {error}", where=path, remedy=_REMEDY) from error
    if attributes.num_items != manifest.num_items:
        raise BundleError(
            "the attributes do not belong to this bundle",
            where=path,
            expected=f"{manifest.num_items} items",
            received=attributes.num_items,
            remedy=_REMEDY,
        )
    return attributes


def _read_codebooks(path: Path, manifest: Manifest) -> NDArray[np.float32]:
    names = ("num_slots", "num_codebooks", "codebook_size", "token_size")
    return _read_array(path, np.float32, tuple(manifest.codes[name] for name in names))


def _read_item_parts(path: Path, manifest: Manifest) -> NDArray[np.float16] | None:
    if ITEM_PARTS_FILE not in manifest.files:
        return None
    return _read_array(path, np.float16, (manifest.num_items + 1, manifest.codes["token_size"]))


def _read_item_arrays(directory: Path, manifest: Manifest) -> tuple[NDArray[Any], ...]:
    return tuple(
        _read_array(directory / item_feature_file(number), *array_layout(spec, manifest.num_items + 1))
        for number, spec in enumerate(manifest.item_features)
    )


def _read_removed(directory: Path, manifest: Manifest) -> NDArray[np.int32]:
    if REMOVED_FILE not in manifest.files:
        return np.empty(0, dtype=np.int32)
    path = directory / REMOVED_FILE
    try:
        removed: NDArray[np.int32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError("array cannot be read", where=path, received=error, remedy=_REMEDY) from error
    fits = removed.ndim == 1 and removed.dtype == np.int32 and (np.diff(removed) > 0).all()
    if not fits or (len(removed) and not 1 <= removed[0] <= removed[-1] <= manifest.num_items):
        raise BundleError("not a list of items of this bundle", where=path, remedy=_REMEDY)
    return removed


def array_layout(spec: FeatureSpec, rows: int) -> tuple[type[np.generic], tuple[int, ...]]:
    """Type and shape of ``rows`` rows of a feature."""
    dtype: type[np.generic] = np.float32 if spec.kind == "dense" else np.int32
    return dtype, (rows,) if spec.kind == "categorical" else (rows, spec.width)


def _read_array(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError("array cannot be read", where=path, received=error, remedy=_REMEDY) from error
    if array.dtype != dtype or array.shape != shape:
        raise BundleError(
            "array does not belong to this bundle",
            where=path,
            expected=f"{np.dtype(dtype).name} {shape}",
            received=f"{array.dtype} {array.shape}",
            remedy=_REMEDY,
        )
    return array


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError("file is not JSON", where=path, received=error, remedy=_REMEDY) from error


def _read_item_ids(path: Path, count: int) -> list[str]:
    ids = _read_json(path)
    if not isinstance(ids, list) or len(ids) != count or len(set(map(str, ids))) != count:
        raise BundleError(
            "list of item ids does not belong to this bundle",
            where=path,
            expected=f"{count} distinct ids",
            received=f"{len(ids)} ids" if isinstance(ids, list) else type(ids).__name__,
            remedy=_REMEDY,
        )
    return [str(item) for item in ids]


def _read_titles(path: Path, manifest: Manifest) -> list[str] | None:
    if TITLES_FILE not in manifest.files:
        return None
    titles = _read_json(path)
    if not isinstance(titles, list) or len(titles) != manifest.num_items:
        raise BundleError(
            "list of titles does not belong to this bundle",
            where=path,
            expected=f"{manifest.num_items} titles",
            remedy=_REMEDY,
        )
    return [str(title) for title in titles]


def _read_roles(path: Path, manifest: Manifest) -> dict[str, dict[str, FeatureRole]]:
    if ROLES_FILE not in manifest.files:
        return {}
    document = _read_json(path)
    try:
        return {
            owner: {
                role["name"]: FeatureRole(**{**role, "columns": tuple(role["columns"])}) for role in roles
            }
            for owner, roles in document.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError("no roles of features", where=path, received=error, remedy=_REMEDY) from error


def _read_vocabularies(path: Path, manifest: Manifest) -> dict[str, dict[str, list[str]]]:
    vocabularies = _read_json(path)
    for owner, specs in (("user", manifest.user_features), ("item", manifest.item_features)):
        for spec in specs:
            if spec.kind == "dense":
                continue
            try:
                size = len(vocabularies[owner][spec.name])
            except (KeyError, TypeError) as error:
                raise BundleError(
                    f"no vocabulary of {owner} feature {spec.name!r}", where=path, remedy=_REMEDY
                ) from error
            if size != spec.size:
                raise BundleError(
                    f"vocabulary of {owner} feature {spec.name!r} does not belong to this bundle",
                    where=path,
                    expected=f"{spec.size} values",
                    received=size,
                    remedy=_REMEDY,
                )
    return dict(vocabularies)
