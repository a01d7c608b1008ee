"""Writing a bundle whose items were changed since it was opened."""

from __future__ import annotations

import copy
import logging
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError
from sparcode.files import replacing_directory, write_json
from sparcode.serving import manifest as names
from sparcode.serving.bundle import BUNDLE_ID_KEY, Bundle, file_entry, open_bundle
from sparcode.serving.manifest import FileEntry, is_bundle, item_feature_file, write_manifest

_log = logging.getLogger(__name__)


def save_bundle(bundle: Bundle, output: Path) -> None:
    """Write a bundle with all changes of its items and of its live index, which is compacted.

    The new directory is written beside its place, opened from there with all checks and only then renamed, so
    that ``output`` may be the directory that the bundle was opened from. Graphs are copied as they are.

    Args:
        bundle: an opened sparcode bundle.
        output: directory to make or to replace.

    Raises:
        BundleError: the bundle has no index.
        OutputError: the place is taken by something that is no bundle, or cannot be written; what was there
            before still is.
    """
    if bundle.live is None:
        raise BundleError("only a bundle with an index can be written again", where=bundle.directory)
    bundle.live.compact()
    (whole,) = bundle.live.snapshot().segments
    with replacing_directory(output, is_bundle, "bundle") as partial:
        bundle_id = uuid.uuid4().hex
        index = copy.copy(whole.index)
        index.metadata = {**index.metadata, BUNDLE_ID_KEY: bundle_id}
        index.save(partial / names.INDEX_DIRECTORY)
        _write_items(partial, bundle)
        written = sorted(path for path in partial.rglob("*") if path.is_file())
        files = {path.relative_to(partial).as_posix(): file_entry(path) for path in written}
        files |= _copy_rest(partial, bundle)
        write_manifest(partial, replace(bundle.manifest, bundle_id=bundle_id, files=files))
        open_bundle(partial)
    _log.info("bundle %s written: %d items, %d removed", output, len(bundle.item_ids), len(bundle.removed))


def _write_items(directory: Path, bundle: Bundle) -> None:
    write_json(directory / names.ITEMS_FILE, bundle.item_ids, indent=None)
    if bundle.titles is not None:
        write_json(directory / names.TITLES_FILE, bundle.titles, indent=None)
    arrays: dict[str, NDArray[Any]] = {
        names.POPULARITY_FILE: bundle.popularity,
        names.POPULARITY_COUNTS_FILE: bundle.popularity_counts,
        names.REMOVED_FILE: bundle.removed,
    }
    if bundle.item_parts is not None:
        arrays[names.ITEM_PARTS_FILE] = bundle.item_parts
    if bundle.attributes is not None:
        bundle.attributes.save(directory / names.ATTRIBUTES_DIRECTORY)
    for number, array in enumerate(bundle.item_arrays):
        arrays[item_feature_file(number)] = array
    for file, array in arrays.items():
        (directory / file).parent.mkdir(exist_ok=True)
        np.save(directory / file, array, allow_pickle=False)


def _copy_rest(directory: Path, bundle: Bundle) -> dict[str, FileEntry]:
    """Copy every file that is not there yet and belongs to no directory of arrays; returns their entries."""
    copied = {}
    rewritten = (f"{names.INDEX_DIRECTORY}/", f"{names.ATTRIBUTES_DIRECTORY}/")
    for name, entry in bundle.manifest.files.items():
        place = directory / name
        if not place.exists() and not name.startswith(rewritten):
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.directory / name, place)
            copied[name] = entry
    return copied
