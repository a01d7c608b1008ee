"""Items of a bundle added, removed and rescored by the bundle's own graphs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError, DataError
from sparcode.index.search.rescoring import half_parts
from sparcode.serving.bundle import Bundle
from sparcode.serving.item_attributes import changed_attributes
from sparcode.serving.item_changes import Changes, ItemChange, UpdateReport
from sparcode.serving.session import ScorerSession
from sparcode.serving.user_features import FeatureValue, make_feature_reader

_log = logging.getLogger(__name__)


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
        strict: whether it is an error to remove an item that is not there.

    Raises:
        BundleError: a two-tower bundle.
    """

    def __init__(self, bundle: Bundle, strict: bool = False) -> None:
        if bundle.live is None:
            raise BundleError(
                "items of a two-tower bundle cannot be changed",
                where=bundle.directory,
                remedy="export the model again over the changed data set",
            )
        self._live = bundle.live
        self._bundle = bundle
        self._strict = strict
        self._numbers = {external: number for number, external in enumerate(bundle.item_ids, start=1)}
        self._session: ScorerSession | None = None
        vocabularies, roles = bundle.vocabularies.get("item", {}), bundle.roles.get("item", {})
        self._readers = {
            spec.name: make_feature_reader(
                spec, vocabularies.get(spec.name, []), roles.get(spec.name), cut=True
            )
            for spec in bundle.manifest.item_features
        }
        attributes = () if bundle.attributes is None else bundle.attributes.names
        self._names = list(dict.fromkeys([*self._readers, *attributes, *roles]))

    @property
    def bundle(self) -> Bundle:
        """The bundle with all changes so far; its files in ``directory`` are unchanged."""
        return self._bundle

    @property
    def num_live(self) -> int:
        """Items that can be results."""
        return self._live.num_live

    def apply(self, changes: Changes) -> UpdateReport:
        """Apply changes; everything is checked before anything is changed.

        Raises:
            DataError: an item twice, or to rescore and unknown; a malformed feature; where the updater is
                strict, an unknown item to remove.
            BundleError: a new item, but the model knows items by their ids.
        """
        self._check(changes)
        live = {change.item for change in changes.add if self._is_live(change.item)}
        removed = [change for change in changes.remove if self._is_live(change.item)]
        added = [change for change in changes.add if change.item not in live]
        replaced = [change for change in changes.add if change.item in live and change.features is not None]
        titled = [c for c in changes.add if c.item in live and c.features is None and c.title is not None]
        fresh = [change.item for change in added if change.item not in self._numbers]
        given = [c for c in (*changes.add, *changes.rescore) if c.features is not None]
        features = self._read_features(given)
        first = self._bundle.manifest.num_items + 1
        numbers = {**self._numbers, **{item: number for number, item in enumerate(fresh, start=first)}}
        attributes = changed_attributes(self._bundle, numbers, given)
        arrays = self._changed_arrays(numbers, features)
        item_parts = self._changed_parts(numbers, list(features), arrays)
        for part, put in ((added, self._live.add), ((*replaced, *changes.rescore), self._live.rescore)):
            ids = np.sort(np.array([numbers[change.item] for change in part], dtype=np.int64))
            if len(ids):
                put(ids, self._scorer(ids, arrays))
        self._live.remove(np.sort(np.array([numbers[change.item] for change in removed], np.int64)))
        self._numbers = numbers
        titles = self._changed_titles(numbers, (*changes.add, *changes.rescore))
        self._bundle = replace(
            self._changed_bundle(fresh, arrays), item_parts=item_parts, attributes=attributes, titles=titles
        )
        num_replaced = len(replaced) + len(titled)
        return UpdateReport(
            added=len(added),
            replaced=num_replaced,
            unchanged=len(live) - num_replaced,
            removed=len(removed),
            unknown_removals=len(changes.remove) - len(removed),
            rescored=len(changes.rescore),
        )

    def _is_live(self, item: str) -> bool:
        number = self._numbers.get(item)
        return number is not None and bool(self._live.contains([number])[0])

    def _check(self, changes: Changes) -> None:
        seen: set[str] = set()
        for part, must_live in (
            (changes.remove, self._strict),
            (changes.add, False),
            (changes.rescore, True),
        ):
            for change in part:
                if change.item in seen:
                    raise DataError("item is named twice", where=change.where, received=repr(change.item))
                seen.add(change.item)
                if must_live and not self._is_live(change.item):
                    raise DataError(
                        "item is not in the catalogue",
                        where=change.where,
                        received=repr(change.item),
                        remedy="remove the line, or leave out --strict"
                        if part is changes.remove
                        else "add it first",
                    )
        for change in changes.add:
            self._check_new(change)

    def _check_new(self, change: ItemChange) -> None:
        number = self._numbers.get(change.item)
        if number is None and self._bundle.manifest.item_embeddings:
            raise BundleError(
                f"item {change.item!r} cannot be added: the model knows items by their ids alone, and has "
                "learnt nothing of this one",
                where=change.where,
                remedy="train with item features, or train again with the item",
            )
        if number is None and change.features is None:
            raise DataError("a new item needs features", where=change.where, received=repr(change.item))

    def _read_features(self, changes: Sequence[ItemChange]) -> dict[str, list[FeatureValue]]:
        """What the network reads of the items that bring features."""
        features, unknown = {}, 0
        for change in changes:
            given = change.features or {}
            for name in given:
                if name not in self._names:
                    raise DataError(
                        "unknown feature",
                        where=change.where,
                        expected=" | ".join(self._names) or "no features: the bundle takes none",
                        received=repr(name),
                    )
            features[change.item] = [
                reader.read(given.get(name), f"{change.where}: feature {name!r}")
                for name, reader in self._readers.items()
            ]
            unknown += sum(value.num_unknown for value in features[change.item])
        if unknown:
            _log.warning("%d feature values are new to the network, which reads them as missing", unknown)
        return features

    def _changed_titles(self, numbers: Mapping[str, int], changes: Sequence[ItemChange]) -> list[str] | None:
        given = {change.item: change.title for change in changes if change.title is not None}
        old = self._bundle.titles
        if old is None and not any(given.values()):
            return None
        titles = [*(old or ()), *[""] * (len(numbers) - len(old or ()))]
        for item, title in given.items():
            titles[numbers[item] - 1] = title
        return titles

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
            removed=every[~self._live.contains(every)],
        )
