"""Features as queries and new items give them -> rows of the inputs of graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import DataError
from sparcode.types import FeatureRole, FeatureSpec

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FeatureValue:
    """One feature of one query.

    Attributes:
        row: () int32 for categorical, (width,) int32 for multi, (size,) float32 for dense.
        is_known: whether the value says anything about the query.
        num_unknown: values that are not in the vocabulary.
    """

    row: NDArray[Any]
    is_known: bool
    num_unknown: int = 0


class FeatureReader(Protocol):
    """Reads the values of one feature."""

    @property
    def missing(self) -> FeatureValue:
        """What stands for a feature that a query does not give."""

    def read(self, value: object, where: str) -> FeatureValue:
        """Read a raw value; None is missing.

        Raises:
            DataError: a value of another type or size.
        """


def make_feature_reader(
    spec: FeatureSpec, vocabulary: Sequence[str], role: FeatureRole | None = None, *, cut: bool = False
) -> FeatureReader:
    """The reader of a feature.

    Args:
        spec: the feature.
        vocabulary: external values of a categorical or multi feature by stored id, 0 = missing.
        role: how it was made of the columns of a table; None = it was not.
        cut: whether of a set with more values than the network takes the first ones are read; else it is an
            error.
    """
    if role is not None and role.kind == "number":
        return NumberReader(spec, role)
    if spec.kind == "dense":
        return DenseReader(spec)
    ids = {value: number for number, value in enumerate(vocabulary) if number > 0}
    return CategoricalReader(ids) if spec.kind == "categorical" else MultiReader(spec, ids, role, cut)


def external_id(value: object, where: str) -> str:
    """An external id or feature value: text as it is, an integer in decimal.

    Raises:
        DataError: of another type.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise DataError("not an id", where=where, expected="a string or an integer", received=repr(value))


class CategoricalReader:
    """One value -> its stored id, 0 when it is not in the vocabulary."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = ids

    @property
    def missing(self) -> FeatureValue:
        """What a query without the feature has."""
        return FeatureValue(np.asarray(0, np.int32), False)

    def read(self, value: object, where: str) -> FeatureValue:
        """The value as the encoder takes it.

        Raises:
            DataError: of another type, naming ``where``.
        """
        text = "" if value is None else external_id(value, where)
        if text == "":
            return self.missing
        number = self._ids.get(text, 0)
        return FeatureValue(np.asarray(number, np.int32), number > 0, int(number == 0))


class MultiReader:
    """A list of values -> their stored ids, ascending; those not in the vocabulary are left out.

    Text is taken apart as a field of the table was, where the feature has a role.
    """

    def __init__(
        self, spec: FeatureSpec, ids: Mapping[str, int], role: FeatureRole | None = None, cut: bool = False
    ) -> None:
        self._width, self._ids, self._role, self._cut = spec.width, ids, role, cut

    @property
    def missing(self) -> FeatureValue:
        """What a query without the feature has."""
        return FeatureValue(np.zeros(self._width, np.int32), False)

    def read(self, value: object, where: str) -> FeatureValue:
        """The value as the encoder takes it.

        Raises:
            DataError: of another type, naming ``where``.
        """
        if value is None:
            return self.missing
        numbers = [self._ids.get(text, 0) for text in listed_values(value, where, self._role)]
        members = sorted(set(numbers) - {0})
        spare = max(0, len(members) - self._width)
        if spare and not self._cut:
            raise DataError(
                "more values than the encoder takes", where=where, expected=self._width, received=len(members)
            )
        row = np.zeros(self._width, np.int32)
        row[: len(members)] = members[: self._width]
        return FeatureValue(row, bool(members), numbers.count(0) + spare)


class NumberReader:
    """A number -> its standardised value and 1 if it is missing."""

    def __init__(self, spec: FeatureSpec, role: FeatureRole) -> None:
        self._role, self._stored = role, DenseReader(spec)

    @property
    def missing(self) -> FeatureValue:
        """What a query without the feature has."""
        return FeatureValue(self._role.standardised(np.array([np.nan]))[0], False)

    def read(self, value: object, where: str) -> FeatureValue:
        """The value as the encoder takes it; a list is taken as the data set stores it.

        Raises:
            DataError: not a finite number, naming ``where``.
        """
        if isinstance(value, list | tuple | np.ndarray):
            return self._stored.read(value, where)
        if value is None:
            return self.missing
        return FeatureValue(self._role.standardised(np.array([finite_number(value, where)]))[0], True)


class DenseReader:
    """A list of numbers, standardised as in the data set that the model was trained on."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._size = spec.size

    @property
    def missing(self) -> FeatureValue:
        """What a query without the feature has."""
        return FeatureValue(np.zeros(self._size, np.float32), False)

    def read(self, value: object, where: str) -> FeatureValue:
        """The value as the encoder takes it.

        Raises:
            DataError: of another type, naming ``where``.
        """
        if value is None:
            return self.missing
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != self._size:
            raise DataError(
                "not a vector of the feature's length",
                where=where,
                expected=f"{self._size} numbers",
                received=f"{len(value)} values" if hasattr(value, "__len__") else repr(value),
            )
        row = np.array([finite_number(number, where) for number in value], np.float32)
        return FeatureValue(row, True)


def listed_values(value: object, where: str, role: FeatureRole | None = None) -> list[str]:
    """The values of a set: of a list, or of text that is written as a field of its table.

    A path in text is every level with all above it.

    Raises:
        DataError: neither.
    """
    if isinstance(value, str) and role is not None and role.separator is not None:
        parts = [part.strip() for part in value.split(role.separator) if part.strip()]
        if role.kind == "path":
            return [role.separator.join(parts[: level + 1]) for level in range(len(parts))]
        return parts
    if not isinstance(value, list | tuple):
        raise DataError("not a list of values", where=where, received=repr(value))
    return [external_id(member, where) for member in value]


def finite_number(number: Any, where: str) -> float:
    """A number that float32 holds.

    Raises:
        DataError: it is none.
    """
    if isinstance(number, bool) or not isinstance(number, int | float | np.integer | np.floating):
        raise DataError("not a number", where=where, received=repr(number))
    magnitude: Any = abs(number)
    if not magnitude <= _FLOAT32_MAX:  # false for NaN too
        raise DataError("number is not finite in float32", where=where, received=number)
    return float(number)
