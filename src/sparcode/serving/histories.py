"""What a bundle keeps of its users, if it was told to: their items and features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError
from sparcode.files import write_json
from sparcode.types import FeatureSpec

DIRECTORY = "histories"
_USERS, _INDPTR, _ITEMS = "users.json", "indptr.npy", "items.npy"
_REMEDY = "export the bundle again, or copy it again as a whole"


@dataclass(frozen=True, eq=False)
class UserHistories:
    """Items and features of users.

    Attributes:
        user_ids: external ids of U users.
        indptr: (U + 1,) int64, the items of user u are ``items[indptr[u] : indptr[u + 1]]``.
        items: internal item ids, oldest first, int32.
        feature_rows: one array for each user feature of the encoder, U rows: categorical (U,) int32, multi
            (U, width) int32, dense (U, size) float32.
    """

    user_ids: Sequence[str]
    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    feature_rows: tuple[NDArray[Any], ...] = ()

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Place of every user by external id."""
        return {user: number for number, user in enumerate(self.user_ids)}

    def of(self, user: int) -> NDArray[np.int32]:
        """Items of a user, oldest first."""
        return self.items[self.indptr[user] : self.indptr[user + 1]]


def feature_file(number: int) -> str:
    """Path within the bundle of the rows of the n-th user feature."""
    return f"{DIRECTORY}/feature_{number}.npy"


def write_histories(bundle: Path, histories: UserHistories) -> None:
    """Write the files of a bundle directory.

    Raises:
        OSError, OutputError: a file cannot be written.
    """
    directory = bundle / DIRECTORY
    directory.mkdir()
    write_json(directory / _USERS, list(histories.user_ids), indent=None)
    arrays: dict[str, NDArray[Any]] = {
        f"{DIRECTORY}/{_INDPTR}": histories.indptr,
        f"{DIRECTORY}/{_ITEMS}": histories.items,
    }
    arrays |= {feature_file(number): rows for number, rows in enumerate(histories.feature_rows)}
    for file, array in arrays.items():
        np.save(bundle / file, array, allow_pickle=False)


def read_histories(bundle: Path, specs: Sequence[FeatureSpec], num_items: int) -> UserHistories:
    """Open the files of a bundle directory; arrays stay on disk.

    Args:
        bundle: its directory.
        specs: user features of the encoder, in order.
        num_items: size of the catalogue.

    Raises:
        BundleError: naming the file that is damaged or does not fit the others.
    """
    directory = bundle / DIRECTORY
    try:
        users = json.loads((directory / _USERS).read_bytes())
        indptr, items, *rows = (
            np.asarray(np.load(bundle / file, mmap_mode="r", allow_pickle=False))
            for file in (
                f"{DIRECTORY}/{_INDPTR}",
                f"{DIRECTORY}/{_ITEMS}",
                *(feature_file(number) for number in range(len(specs))),
            )
        )
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(
            "histories cannot be read", where=directory, received=error, remedy=_REMEDY
        ) from error
    widths = [() if spec.kind == "categorical" else (spec.width,) for spec in specs]
    fits = (
        isinstance(users, list)
        and indptr.dtype == np.int64
        and items.dtype == np.int32
        and items.ndim == 1
        and indptr.shape == (len(users) + 1,)
        and all(row.shape == (len(users), *width) for row, width in zip(rows, widths, strict=True))
    )
    if not fits or indptr[0] != 0 or indptr[-1] != len(items) or (np.diff(indptr) < 0).any():
        raise BundleError("histories do not fit together", where=directory, remedy=_REMEDY)
    if len(items) and not 1 <= items.min() <= items.max() <= num_items:
        raise BundleError("item id out of range", where=directory / _ITEMS, remedy=_REMEDY)
    return UserHistories([str(user) for user in users], indptr, items, tuple(rows))
