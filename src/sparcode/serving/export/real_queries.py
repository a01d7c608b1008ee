"""Queries of users of the data set, as a network reads them and as a user of the bundle writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.data.dataset import Dataset
from sparcode.data.histories import history_batch, user_history
from sparcode.serving.export.writer import ExportRequest
from sparcode.types import FeatureSpec


@dataclass(frozen=True)
class RealQueries:
    """Queries of users of the data set.

    Attributes:
        history: (B, L) int32 encoder input.
        rows: user feature rows.
        seen: all known items of each user.
        raw: the same queries as a user of the bundle writes them.
    """

    history: NDArray[np.int32]
    rows: list[NDArray[Any]]
    seen: list[NDArray[np.int32]]
    raw: list[dict[str, Any]]


def real_queries(request: ExportRequest) -> RealQueries:
    """Queries of at most ``export.verify_queries`` users, evenly spread.

    They are users with test targets, or else with validation targets, or else all.
    """
    dataset = request.dataset
    split, users = _users(dataset)
    count = min(request.config.export.verify_queries, len(users))
    users = users[np.linspace(0, len(users) - 1, count).astype(np.int64)]
    rows = [np.asarray(dataset.user_arrays[spec.name][users]) for spec in request.user_features]
    seen = [np.asarray(user_history(dataset, int(user), split)) for user in users]
    return RealQueries(
        history=history_batch(dataset, users, split, request.history_length),
        rows=rows,
        seen=seen,
        raw=[
            {
                "history": [dataset.item_ids[item - 1] for item in seen[number]],
                "features": _raw_features(request, [values[number] for values in rows]),
            }
            for number in range(count)
        ],
    )


def _users(dataset: Dataset) -> tuple[str, NDArray[np.int64]]:
    for split, targets in (("test", dataset.test), ("valid", dataset.valid)):
        users = np.flatnonzero(targets.counts())
        if len(users):
            return split, users
    return "valid", np.arange(dataset.num_users)


def _raw_features(request: ExportRequest, rows: Sequence[NDArray[Any]]) -> dict[str, Any]:
    return {
        spec.name: _raw_value(spec, row, request.dataset.user_vocab.get(spec.name, []))
        for spec, row in zip(request.user_features, rows, strict=True)
    }


def _raw_value(spec: FeatureSpec, row: NDArray[Any], vocabulary: Sequence[str]) -> Any:
    if spec.kind == "dense":
        return row.tolist()
    if spec.kind == "categorical":
        return vocabulary[int(row)] or None
    return [vocabulary[number] for number in row if number > 0]
