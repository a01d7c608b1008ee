"""Data frames as a source: the section of the configuration that describes them, stated or guessed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sparcode.config.data_schema import DataConfig
from sparcode.data.inspection import Guess, guess_tables
from sparcode.data.raw import RawInteractions
from sparcode.data.table import read_frames, to_polars
from sparcode.data.table_data import check_columns
from sparcode.errors import DataError, UsageError

_LOG = logging.getLogger(__name__)

ROLES = {
    "user": "user_column",
    "item": "item_column",
    "time": "timestamp_column",
    "rating": "rating_column",
    "event": "event_column",
}
"""Roles of columns of the interactions, and their keys in ``data.table``."""

_SIDES = ("items", "users")


@dataclass(frozen=True)
class Frames:
    """Data frames that are to be trained on.

    Attributes:
        interactions: a row for each event.
        items: a row for each item, or None.
        users: a row for each user, or None.
        roles: columns of the interactions that are known, by role (a key of ``ROLES``).
    """

    interactions: pl.DataFrame
    items: pl.DataFrame | None
    users: pl.DataFrame | None
    roles: Mapping[str, str]

    @classmethod
    def of(cls, interactions: Any, items: Any, users: Any, roles: Mapping[str, str | None]) -> Frames:
        """Take data frames of any kind.

        Args:
            interactions: pandas, polars, or anything with the Arrow PyCapsule interface.
            items: the same, or None.
            users: the same, or None.
            roles: columns by role, None = not known.

        Raises:
            DataError: not a data frame, without a row, or without a column that ``roles`` names.
        """
        given = {"interactions": interactions, "items": items, "users": users}
        frames = {what: None if frame is None else to_polars(frame, what) for what, frame in given.items()}
        log = frames["interactions"]
        if log is None:
            raise DataError("there is no data frame of interactions", where="interactions")
        for what, frame in frames.items():
            if frame is not None and not (frame.height and frame.width):
                raise DataError("the data frame holds no row", where=what, received=f"shape {frame.shape}")
        known = {role: column for role, column in roles.items() if column is not None}
        check_columns(log.columns, list(known.values()), "interactions")
        return cls(log, frames["items"], frames["users"], known)

    def section(self, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the data section: what is stated, and guesses of what is not.

        A ``table`` that is stated describes the interactions in whole; columns of items or users are guessed
        where it says nothing of them. ``roles`` go before all. Paths are left out.

        Args:
            stated: values of the data section, nested.
        """
        table = dict(stated.get("table") or {}) if stated.get("source", "table") == "table" else {}
        open_sides = [side for side in _SIDES if not _is_described(table.get(side))]
        guess = Guess()
        if not table or any(getattr(self, side) is not None for side in open_sides):
            guess = self._guess(table)
        if table:
            guessed_sides = {side: guess.table[side] for side in open_sides if side in guess.table}
            section = {**stated, "table": {**table, **guessed_sides}}
        else:
            section = {**guess.data, **stated, "table": guess.table}
        columns = {ROLES[role]: column for role, column in self.roles.items()}
        section["table"] = _without_paths({**section["table"], **columns})
        return section

    def _guess(self, table: Mapping[str, Any]) -> Guess:
        stated = {role: table[key] for role, key in ROLES.items() if table.get(key)}
        known = {**stated, **self.roles}
        check_columns(self.interactions.columns, list(known.values()), "interactions")
        guess = guess_tables(self.interactions, self.items, self.users, known)
        if table:
            guess.warnings = [text for text in guess.warnings if text.startswith(_SIDES)]
        if guess.warnings:
            _LOG.warning(
                "columns are guessed where none is named: %s; name them (user=, item=, time=, ...) or give a "
                "configuration with data.table to be sure",
                "; ".join(guess.warnings),
            )
        return guess

    def read(self, config: DataConfig) -> RawInteractions:
        """The rows of the data frames.

        Raises:
            UsageError: the configuration has features of a table that is not given.
            ConfigError, DataError: see :func:`sparcode.data.table.read_frames`.
        """
        for side in _SIDES:
            if getattr(self, side) is None and getattr(config.table, side).features:
                raise UsageError(
                    f"the configuration has features of {side}, but no data frame of them is given",
                    where=f"data.table.{side}",
                    remedy=f"give {side}=, or leave the features out",
                )
        return read_frames(self.interactions, self.items, self.users, config)


def _is_described(side: Mapping[str, Any] | None) -> bool:
    return bool(side) and bool(side.get("features") or side.get("id_column"))  # type: ignore[union-attr]


def _without_paths(table: dict[str, Any]) -> dict[str, Any]:
    """A data frame stands in for every file."""
    kept = {key: value for key, value in table.items() if key != "path"}
    for side in _SIDES:
        if kept.get(side):
            kept[side] = {key: value for key, value in kept[side].items() if key != "path"}
    return kept
