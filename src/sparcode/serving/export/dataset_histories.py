"""Histories and features of the users of a data set, in its own ids or in those of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset
from sparcode.serving.bundle import Bundle
from sparcode.serving.histories import UserHistories
from sparcode.serving.user_features import make_feature_reader
from sparcode.types import FeatureRole, FeatureSpec


def histories_of(dataset: Dataset, specs: Sequence[FeatureSpec]) -> UserHistories:
    """Everything that is known of the users: the items of all splits, and the features of the encoder."""
    parts = [] if dataset.query_kind == "features" else [dataset.train, dataset.valid, dataset.test]
    owners = [np.repeat(np.arange(dataset.num_users), np.diff(part.indptr)) for part in parts]
    users = np.concatenate([np.zeros(0, np.int64), *owners])
    order = np.argsort(users, kind="stable")  # train, then valid, then test of a user
    counts = np.bincount(users.astype(np.int64), minlength=dataset.num_users)
    items = np.concatenate([np.zeros(0, np.int32), *(part.items for part in parts)])
    return UserHistories(
        dataset.user_ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items[order].astype(np.int32),
        tuple(dataset.user_arrays[spec.name] for spec in specs),
    )


def histories_for_bundle(dataset: Dataset, bundle: Bundle) -> UserHistories:
    """The same in the ids and vocabularies of a bundle, which may be of another data set.

    Items and feature values that the bundle does not know are left out, and so are features of another kind.
    """
    specs = bundle.manifest.user_features
    if dataset.fingerprint == bundle.manifest.dataset["fingerprint"]:
        return histories_of(dataset, specs)
    own = histories_of(dataset, ())
    known = {item: number for number, item in enumerate(bundle.item_ids, start=1)}
    numbers = np.array([0, *(known.get(item, 0) for item in dataset.item_ids)], np.int32)
    items = numbers[own.items]
    kept = np.concatenate([[0], np.cumsum(items > 0)])
    rows = tuple(_feature_rows(dataset, bundle, spec) for spec in specs)
    return UserHistories(own.user_ids, kept[own.indptr].astype(np.int64), items[items > 0], rows)


def _feature_rows(dataset: Dataset, bundle: Bundle, spec: FeatureSpec) -> NDArray[Any]:
    """A user feature of a data set as the encoder of a bundle takes it."""
    role = bundle.roles.get("user", {}).get(spec.name)
    reader = make_feature_reader(spec, [], role)
    missing = np.repeat(reader.missing.row[None], dataset.num_users, axis=0)
    given = next((other for other in dataset.user_features if other.name == spec.name), None)
    if given is None or given.kind != spec.kind:
        return missing
    array = np.asarray(dataset.user_arrays[spec.name])
    if spec.kind == "dense":
        other = next((role for role in dataset.user_roles if role.name == spec.name), None)
        return _numbers(array, other, role) if given.size == spec.size else missing
    words = {word: number for number, word in enumerate(bundle.vocabularies["user"][spec.name]) if number}
    codes = np.array([words.get(word, 0) for word in dataset.user_vocab[spec.name]], np.int32)[array]
    if spec.kind == "categorical":
        return codes
    codes = np.sort(np.where(codes > 0, codes, spec.size), axis=1)  # unknown ones last
    missing[:, : codes.shape[1]] = np.where(codes < spec.size, codes, 0)[:, : spec.width]
    return missing


def _numbers(
    array: NDArray[np.float32], given: FeatureRole | None, wanted: FeatureRole | None
) -> NDArray[np.float32]:
    """Dense rows; numbers are standardised as in the bundle."""
    if given is None or wanted is None or given.kind != "number" or wanted.kind != "number":
        return array
    raw = array[:, 0].astype(np.float64) * given.scale + given.mean
    return wanted.standardised(np.where(array[:, 1] > 0, np.nan, raw))
