"""Queries as users write them -> internal ids and feature rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import DataError, UsageError
from sparcode.index.filters import And, FilterCompiler, Predicate, parse_predicate
from sparcode.serving.bundle import Bundle
from sparcode.serving.histories import UserHistories
from sparcode.serving.user_features import FeatureValue, external_id, make_feature_reader

QUERY_KEYS = ("query_id", "user", "history", "features", "exclude", "allow", "where")

_SHOWN = 5
"""Values of predicates that a warning names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnknownCounts:
    """Ids and values that the bundle does not know.

    Attributes:
        history: items of histories, skipped.
        filters: items of exclude and allow lists, without effect.
        features: feature values, read as missing.
        users: users without a kept history.
        values: values of predicates that no item has, such as ``genres "Wra"``.
    """

    history: int = 0
    filters: int = 0
    features: int = 0
    users: int = 0
    values: frozenset[str] = frozenset()

    def __add__(self, other: UnknownCounts) -> UnknownCounts:
        return UnknownCounts(
            self.history + other.history,
            self.filters + other.filters,
            self.features + other.features,
            self.users + other.users,
            self.values | other.values,
        )

    def warn(self, where: object) -> None:
        """Log one warning that names every count above 0."""
        parts = [
            f"{count} {text}"
            for count, text in (
                (self.history, "history items skipped"),
                (self.filters, "excluded or allowed items ignored"),
                (self.features, "feature values read as missing"),
                (self.users, "users"),
            )
            if count
        ]
        if self.values:
            shown = ", ".join(sorted(self.values)[:_SHOWN])
            more = f" and {len(self.values) - _SHOWN} more" if len(self.values) > _SHOWN else ""
            parts.append(f"values in predicates that no item has ({shown}{more})")
        if parts:
            _log.warning("%s: not known to the bundle: %s", where, ", ".join(parts))


@dataclass(frozen=True)
class Query:
    """A query in internal ids.

    Attributes:
        history: known items, oldest first, (n,) int64.
        user_rows: one row per user feature of the bundle, in order.
        exclude: known items that are no results, (n,) int64.
        allow: the only items that may be results, (n,) int64; None = all.
        where: what items must fulfil to be results; None = all may be.
        is_known: whether the encoder has anything to go by.
        unknown: what was not known.
    """

    history: NDArray[np.int64]
    user_rows: tuple[NDArray[Any], ...]
    exclude: NDArray[np.int64]
    allow: NDArray[np.int64] | None
    where: Predicate | None
    is_known: bool
    unknown: UnknownCounts


class QueryReader:
    """Reads the queries of one bundle.

    Args:
        bundle: the bundle.
        filters: compiler of its attributes; None if it has none.
    """

    def __init__(self, bundle: Bundle, filters: FilterCompiler | None = None) -> None:
        manifest = bundle.manifest
        self._items = {external: number for number, external in enumerate(bundle.item_ids, start=1)}
        self._names = [spec.name for spec in manifest.user_features]
        vocabularies = bundle.vocabularies.get("user", {})
        roles = bundle.roles.get("user", {})
        self._readers = [
            make_feature_reader(spec, vocabularies.get(spec.name, []), roles.get(spec.name))
            for spec in manifest.user_features
        ]
        self._filters = filters
        self._needs_history = manifest.query_kind == "history"
        self._encoder_items = manifest.encoder_items
        self._histories = bundle.histories

    def read(self, query: object, where: str, predicate: Predicate | None = None) -> Query:
        """Check and translate one query.

        Args:
            query: mapping with ``history`` (items, oldest first; optional for bundles without histories) and
                optionally ``query_id``, ``features`` (by name), ``exclude`` and ``allow`` (items),
                and ``where`` (a predicate over item attributes as text, docs/filters.md); or ``user``, whose
                kept history stands before ``history``, and whose features are those that are not given.
            where: what the query is called in messages.
            predicate: items must fulfil it beside the query's own.

        Raises:
            DataError: not of that form; an unknown key; a value of another type.
        """
        fields = self._check_fields(query, where)
        user, unknown_user = self._user(fields.get("user"), f"{where}: user")
        history, unknown_history = self._item_list(fields.get("history"), f"{where}: history")
        if user is not None and self._histories is not None:
            history = np.concatenate([self._histories.of(user).astype(np.int64), history])
        exclude, unknown_exclude = self._item_list(fields.get("exclude"), f"{where}: exclude")
        allow, unknown_allow = self._item_list(fields.get("allow"), f"{where}: allow")
        values = self._features(fields.get("features"), where, user)
        wanted = self._predicate(fields.get("where"), f"{where}: where", predicate)
        absent = [] if wanted is None or self._filters is None else self._filters.absent_values(wanted)
        return Query(
            history=history,
            user_rows=tuple(value.row for value in values),
            exclude=exclude,
            allow=None if fields.get("allow") is None else allow,
            where=wanted,
            is_known=any(value.is_known for value in values)
            or (self._needs_history and bool((history <= self._encoder_items).any())),
            unknown=UnknownCounts(
                unknown_history,
                unknown_exclude + unknown_allow,
                sum(value.num_unknown for value in values),
                users=unknown_user,
                values=frozenset(absent),
            ),
        )

    def of_user(self, histories: UserHistories, user: int, predicate: Predicate | None = None) -> Query:
        """The query of a user whose history is in the ids of the bundle.

        Args:
            histories: of many users.
            user: place of one.
            predicate: items must fulfil it.
        """
        history = histories.of(user).astype(np.int64)
        rows = tuple(np.asarray(values[user]) for values in histories.feature_rows)
        is_known = self._needs_history and bool((history <= self._encoder_items).any())
        return Query(
            history=history,
            user_rows=rows,
            exclude=np.zeros(0, np.int64),
            allow=None,
            where=predicate,
            is_known=is_known
            or any(
                not np.array_equal(row, reader.missing.row)
                for row, reader in zip(rows, self._readers, strict=True)
            ),
            unknown=UnknownCounts(),
        )

    def _check_fields(self, query: object, where: str) -> Mapping[str, Any]:
        if not isinstance(query, Mapping):
            raise DataError(
                "a query must be an object", where=where, expected='{"history": [...]}', received=repr(query)
            )
        for key in query:
            if key not in QUERY_KEYS:
                raise DataError(
                    "unknown key of a query", where=where, expected=" | ".join(QUERY_KEYS), received=repr(key)
                )
        needed = "history" if self._needs_history else "features"
        if query.get(needed) is None and query.get("user") is None:
            raise DataError(f"query has no {needed}", where=where, expected=f"key {needed!r}")
        return query

    def _user(self, value: object, where: str) -> tuple[int | None, int]:
        """Place of a user among the kept ones, and whether it is unknown."""
        if value is None:
            return None, 0
        if self._histories is None:
            raise DataError(
                "the bundle keeps no users",
                where=where,
                expected="a history in the query",
                remedy="export the bundle with --with_histories",
            )
        user = self._histories.numbers.get(external_id(value, where))
        return user, int(user is None)

    def _item_list(self, values: object, where: str) -> tuple[NDArray[np.int64], int]:
        """Internal ids of the known items, in order, and the number of the others."""
        if values is None:
            return np.zeros(0, np.int64), 0
        if not isinstance(values, list | tuple | np.ndarray):
            raise DataError("not a list of item ids", where=where, received=repr(values))
        numbers = [self._items.get(external_id(value, where), 0) for value in values]
        known = np.array([number for number in numbers if number], dtype=np.int64)
        return known, len(numbers) - len(known)

    def _predicate(self, text: object, where: str, other: Predicate | None) -> Predicate | None:
        """The query's predicate, checked against the attributes, and the other one."""
        if text is None:
            return other
        if not isinstance(text, str):
            raise DataError("not the text of a predicate", where=where, received=repr(text))
        try:
            own = parse_predicate(text)
            permitted_items(self._filters, own)
        except UsageError as error:
            raise DataError(str(error), where=where) from error
        return own if other is None else And((own, other))

    def _features(self, values: object, where: str, user: int | None) -> list[FeatureValue]:
        if values is not None and not isinstance(values, Mapping):
            raise DataError(
                "features must be an object by name", where=f"{where}: features", received=repr(values)
            )
        given: Mapping[str, Any] = values or {}
        for name in given:
            if name not in self._names:
                raise DataError(
                    "unknown feature",
                    where=f"{where}: features",
                    expected=" | ".join(self._names) or "no features: the bundle takes none",
                    received=repr(name),
                )
        return [
            reader.read(given[name], f"{where}: feature {name!r}")
            if name in given
            else self._kept_feature(place, reader.missing, user)
            for place, (name, reader) in enumerate(zip(self._names, self._readers, strict=True))
        ]

    def _kept_feature(self, place: int, missing: FeatureValue, user: int | None) -> FeatureValue:
        """What the bundle keeps of a user."""
        if user is None or self._histories is None:
            return missing
        row = np.asarray(self._histories.feature_rows[place][user])
        return FeatureValue(row, not np.array_equal(row, missing.row))


def permitted_items(filters: FilterCompiler | None, predicate: Predicate | None) -> NDArray[np.uint64] | None:
    """Bitset of the items that fulfil a predicate; None for no predicate.

    Raises:
        UsageError: the bundle has no attributes, or the predicate does not fit them.
    """
    if predicate is None:
        return None
    if filters is None:
        raise UsageError("the bundle has no item attributes to filter by", received=str(predicate))
    return filters.compile(predicate)
