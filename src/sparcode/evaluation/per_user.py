"""Metrics of every user in a Parquet file, with all that they belong to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from sparcode.errors import DataError
from sparcode.files import replacing_file

USER_COLUMN = "user"
_META = b"sparcode"
_REMEDY = "write it with eval.py --per_user"


@dataclass(frozen=True, eq=False)
class PerUser:
    """Metrics of each user of an evaluation.

    Attributes:
        users: external ids of B users with a target, in the order of the data set.
        metrics: by name such as ``ndcg@10``, (B,) float64 each.
        belongs_to: what was evaluated, plain data that JSON can express; the same evaluation says the same.
        report: of the evaluation, as ``eval.py --json`` writes it.
    """

    users: list[str]
    metrics: dict[str, NDArray[np.float64]]
    belongs_to: dict[str, Any]
    report: dict[str, Any]


def write_per_user(path: Path, per_user: PerUser) -> None:
    """Write a Parquet file: the column ``user``, then one for each metric.

    Raises:
        OutputError: it cannot be written.
    """
    table = pa.table({USER_COLUMN: pa.array(per_user.users, pa.string()), **per_user.metrics})
    meta = {"belongs_to": per_user.belongs_to, "report": per_user.report}
    table = table.replace_schema_metadata({_META: json.dumps(meta).encode()})
    with replacing_file(path) as stream:
        pyarrow.parquet.write_table(table, stream.buffer)


def read_per_user(path: Path) -> PerUser:
    """Read what :func:`write_per_user` wrote.

    Raises:
        DataError: no such file, damaged, or another kind of file.
    """
    try:
        table = pyarrow.parquet.read_table(path, partitioning=None)
        meta = json.loads((table.schema.metadata or {})[_META])
        users = table.column(USER_COLUMN).to_pylist()
        metrics = {name: table.column(name).to_numpy() for name in table.column_names if name != USER_COLUMN}
        return PerUser(users, metrics, dict(meta["belongs_to"]), dict(meta["report"]))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(
            "no file of per-user metrics", where=path, received=str(error) or None, remedy=_REMEDY
        ) from error
