"""Items of a bundle added, removed and rescored by the bundle's own graphs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError, DataError
from sparcode.index.search.rescoring import half_parts
from sparcode.serving.bundle import Bundle
from sparcode.serving.item_attributes import changed_attributes
from sparcode.serving.session import ScorerSession
from sparcode.serving.user_features import FeatureValue, external_id, make_feature_reader

ITEM_KEYS = ("item", "features")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemChange:
    """An item to add or to rescore.

    Attributes:
        item: external id.
        features: raw values by name; None = as the bundle has them. What is left out is missing.
        where: what the change is called in messages.
    """

    item: str
    features: Mapping[str, Any] | None = None
    where: str = "item"


@dataclass(frozen=True)
class Changes:
    """What to change; no item is named twice.

    Attributes:
        remove: items that are no results any more.
        add: items that are no results now: new ones, or removed ones.
        rescore: items to rescore, with other features or by the same.
    """

    remove: Sequence[ItemChange] = field(default_factory=tuple)
    add: Sequence[ItemChange] = field(default_factory=tuple)
    rescore: Sequence[ItemChange] = field(default_factory=tuple)


class _RowScorer:
    """The bundle's scorer over items given by graph id and feature rows (a ``BlockScorer``)."""

    def __init__(self, session: ScorerSession, ids: NDArray[np.int32], rows: Sequence[NDArray[Any]]) -> None:
        self._session, self._ids, self._rows = session, ids, rows

    @property
    def num_items(self) -> int:
        return len(self._ids)

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        part = slice(start - 1, stop - 1)
        return self._session.score_rows(tokens, self._ids[part], [rows[part] for rows in self._rows])


class BundleUpdater:
    """Applies changes to an opened bundle; searches of its live index see them at once.

    Scores are those of the bundle's scorer graph, which equal the scores that the index was built from within
    ``export.tolerance``.

    Args:
        bundle: a sparcode bundle.

    Raises:
        BundleError: a two-tower bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.live is None:
            raise BundleError(
                "items of a two-tower bundle cannot be changed",
                where=bundle.directory,
                remedy="export the model again over the changed data set",
            )
        self._live = bundle.live
        self._bundle = bundle
        self._numbers = {external: number for number, external in enumerate(bundle.item_ids, start=1)}
        self._session: ScorerSession | None = None
        specs, vocabularies = bundle.manifest.item_features, bundle.vocabularies.get("item", {})
        self._readers = {
            spec.name: make_feature_reader(spec, vocabularies.get(spec.name, [])) for spec in specs
        }

    @property
    def bundle(self) -> Bundle:
        """The bundle with all changes so far; its files in ``directory`` are unchanged."""
        return self._bundle

    @property
    def num_live(self) -> int:
        """Items that can be results."""
        return self._live.num_live

    def apply(self, changes: Changes) -> None:
        """Apply changes; everything is checked before anything is changed.

        Raises:
            DataError: an item twice, unknown, live although it is to be added or the reverse; a malformed
                feature.
            BundleError: a new item, but the model knows items by their ids.
        """
        self._check(changes)
        fresh = [change.item for change in changes.add if change.item not in self._numbers]
        features = {
            change.item: self._read_features(change)
            for change in (*changes.add, *changes.rescore)
            if change.features is not None
        }
        first = self._bundle.manifest.num_items + 1
        numbers = {**self._numbers, **{item: number for number, item in enumerate(fresh, start=first)}}
        arrays = self._changed_arrays(numbers, features)
        item_parts = self._changed_parts(numbers, list(features), arrays)
        for part, put in ((changes.add, self._live.add), (changes.rescore, self._live.rescore)):
            ids = np.sort(np.array([numbers[change.item] for change in part], dtype=np.int64))
            if len(ids):
                put(ids, self._scorer(ids, arrays))
        self._live.remove(np.sort(np.array([numbers[change.item] for change in changes.remove], np.int64)))
        self._numbers = numbers
        self._bundle = replace(self._changed_bundle(fresh, arrays), item_parts=item_parts)

    def _check(self, changes: Changes) -> None:
        seen: set[str] = set()
        for part, live in ((changes.remove, True), (changes.add, False), (changes.rescore, True)):
            for change in part:
                if change.item in seen:
                    raise DataError("item is named twice", where=change.where, received=repr(change.item))
                seen.add(change.item)
                self._check_item(change, live)

    def _check_item(self, change: ItemChange, live: bool) -> None:
        number = self._numbers.get(change.item)
        is_live = number is not None and bool(self._live.contains([number])[0])
        if is_live != live:
            raise DataError(
                "item is not in the catalogue" if live else "item is in the catalogue already",
                where=change.where,
                received=repr(change.item),
                remedy="add it first" if live else "rescore it instead, or remove it first",
            )
        if number is None and self._bundle.manifest.item_embeddings:
            raise BundleError(
                f"item {change.item!r} cannot be added: the model knows items by their ids alone, and has "
                "learnt nothing of this one",
                where=change.where,
                remedy="train with item features, or train again with the item",
            )
        if number is None and change.features is None:
            raise DataError("a new item needs features", where=change.where, received=repr(change.item))

    def _read_features(self, change: ItemChange) -> list[FeatureValue]:
        given = change.features or {}
        for name in given:
            if name not in self._readers:
                raise DataError(
                    "unknown feature",
                    where=change.where,
                    expected=" | ".join(self._readers) or "no features: the bundle takes none",
                    received=repr(name),
                )
        values = [
            reader.read(given.get(name), f"{change.where}: feature {name!r}")
            for name, reader in self._readers.items()
        ]
        unknown = sum(value.num_unknown for value in values)
        if unknown:
            _log.warning("%s: %d feature values are not known to the bundle", change.where, unknown)
        return values

    def _changed_arrays(
        self, numbers: Mapping[str, int], features: Mapping[str, list[FeatureValue]]
    ) -> tuple[NDArray[Any], ...]:
        """The rows of all item features, with those of some items replaced and of new ones at the end."""
        if not features:
            return self._bundle.item_arrays
        arrays = []
        for place, old in enumerate(self._bundle.item_arrays):
            array = np.zeros((len(numbers) + 1, *old.shape[1:]), dtype=old.dtype)
            array[: len(old)] = old
            for item, values in features.items():
                array[numbers[item]] = values[place].row
            arrays.append(array)
        return tuple(arrays)

    def _changed_parts(
        self, numbers: Mapping[str, int], items: Sequence[str], arrays: Sequence[NDArray[Any]]
    ) -> NDArray[np.float16] | None:
        """The item parts of rescoring, with those of items whose features were given."""
        old = self._bundle.item_parts
        if old is None or not items:
            return old
        ids = np.array([numbers[item] for item in items], dtype=np.int64)
        units = np.eye(old.shape[1], dtype=np.float32)
        parts = np.zeros((len(numbers) + 1, old.shape[1]), np.float16)
        parts[: len(old)] = old
        # the scores of unit vectors are the columns of the parts
        parts[ids] = half_parts(self._scorer(ids, arrays).score_block(units, 1, len(ids) + 1).T)
        return parts

    def _scorer(self, ids: NDArray[np.int64], arrays: Sequence[NDArray[Any]]) -> _RowScorer:
        if self._session is None:
            self._session = ScorerSession(self._bundle)
        trained = np.where(ids <= self._bundle.manifest.encoder_items, ids, 0).astype(np.int32)
        return _RowScorer(self._session, trained, [np.asarray(array[ids]) for array in arrays])

    def _changed_bundle(self, fresh: Sequence[str], arrays: tuple[NDArray[Any], ...]) -> Bundle:
        old, manifest = self._bundle, self._bundle.manifest
        new_ids = np.arange(manifest.num_items + 1, manifest.num_items + len(fresh) + 1, dtype=np.int32)
        every = np.arange(1, manifest.num_items + len(fresh) + 1, dtype=np.int32)
        return replace(
            old,
            manifest=replace(manifest, num_items=len(every), trained_items=manifest.encoder_items),
            item_ids=[*old.item_ids, *fresh],
            popularity=np.concatenate([old.popularity, new_ids]),
            popularity_counts=np.concatenate([old.popularity_counts, np.zeros(len(fresh), np.int64)]),
            item_arrays=arrays,
            attributes=old.attributes
            if arrays is old.item_arrays
            else changed_attributes(old, arrays, len(every)),
            removed=every[~self._live.contains(every)],
        )


def read_changes(items: Sequence[Mapping[str, Any] | str], where: str) -> list[ItemChange]:
    """Check the form of changes: external ids, or ``{"item": id, "features": {name: value, ...}}``.

    Args:
        items: the changes.
        where: what the list is called in messages.

    Raises:
        DataError: of another form.
    """
    return [_read_change(item, f"{where} {number}") for number, item in enumerate(items, start=1)]


def read_change_file(path: Path) -> list[ItemChange]:
    """Changes of a file, one a line: a JSON object as in :func:`read_changes`, or a plain external id.

    A line is JSON if it begins with ``{``; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line is malformed; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("items cannot be read", where=path, received=error) from error
    lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return [_read_line(line, where) for where, line in lines if line]


def _read_line(line: str, where: str) -> ItemChange:
    if not line.startswith("{"):
        return ItemChange(line, None, where)
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("line is not JSON", where=where, received=error) from error
    return _read_change(document, where)


def _read_change(document: object, where: str) -> ItemChange:
    if not isinstance(document, Mapping):
        return ItemChange(external_id(document, where), None, where)
    unknown = [key for key in document if key not in ITEM_KEYS]
    if unknown or "item" not in document:
        raise DataError(
            "unknown key of an item" if unknown else "item has no id",
            where=where,
            expected=" | ".join(ITEM_KEYS),
            received=repr(unknown[0]) if unknown else None,
        )
    features = document.get("features")
    if features is not None and not isinstance(features, Mapping):
        raise DataError("features must be an object by name", where=where, received=repr(features))
    return ItemChange(external_id(document["item"], where), features, where)
