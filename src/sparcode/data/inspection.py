"""Guesses what the columns of own tables are: by their names, then by what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from sparcode.config.data_schema import DataConfig
from sparcode.data.casts import Cast, as_text, cast_number, cast_time

NAMES = {
    "user": "user userid uid customer customerid client clientid visitor visitorid member memberid",
    "item": "item itemid iid product productid sku article articleid movie movieid asin track trackid",
    "time": "time timestamp eventtime date datetime ts createdat unixreviewtime eventdate when",
    "rating": "rating stars score overall",
    "event": "event eventtype action behavior behaviour behaviortype eventname type",
    "title": "title name productname itemname label",
}
"""Names of roles without case, ``_``, ``-`` and space; the first that fits wins."""

EVENT_WEIGHTS = (
    (("purchase", "buy", "order", "transaction", "sale"), 3.0),
    (("cart", "basket", "wish", "fav", "like"), 2.0),
)
"""Words in the name of an event and the weight that it is given; others have 1."""

MAX_EVENTS = 20
MIN_EMBEDDING = 4
"""Numeric columns with a common prefix that make an embedding."""
FEW = 12
"""Distinct integers up to which a column is a category, not a number."""
MOSTLY = 0.95
"""Share of rows that must fit a guess."""


@dataclass
class Guess:
    """What was guessed.

    Attributes:
        table: keys of ``data.table``.
        data: further keys of ``data``.
        warnings: what the user should look at.
    """

    table: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def guess_frames(
    interactions: pl.DataFrame, items: pl.DataFrame | None = None, users: pl.DataFrame | None = None
) -> DataConfig:
    """A data section for data frames.

    Raises:
        pydantic.ValidationError: never for what :func:`guess_tables` gives.
    """
    guess = guess_tables(interactions, items, users)
    values = {"name": "frames", "source": "table", "path": ".", **guess.data, "table": guess.table}
    return DataConfig.model_validate(values)


def guess_tables(
    interactions: pl.DataFrame,
    items: pl.DataFrame | None,
    users: pl.DataFrame | None,
    given: Mapping[str, str] | None = None,
) -> Guess:
    """Guess roles, kinds and events.

    Args:
        interactions: all columns, as text or typed.
        items: the item table, or None.
        users: the user table, or None.
        given: columns of the interactions by role (``user``, ``item``, ``time``, ``rating``, ``event``) that
            are known; others are guessed.
    """
    guess, given = Guess(), given or {}
    user, item = _pair(interactions, items, users, guess, given)
    guess.table |= {"user_column": user, "item_column": item}
    free = [name for name in interactions.columns if name not in (user, item, *given.values())]
    time = given.get("time") or named(free, "time")
    time = time or next((name for name in free if _is_time(interactions[name])), None)
    _guess_time(interactions, time, guess)
    rating, event = (given.get(role) or named(free, role) for role in ("rating", "event"))
    if rating is not None and _fits(cast_number(interactions[rating])):
        guess.table["rating_column"] = rating
    if event is not None and interactions[event].n_unique() <= MAX_EVENTS:
        values = sorted(filter(None, as_text(interactions[event]).drop_nulls().unique().to_list()))
        guess.table |= {"event_column": event, "events": {value: _event_weight(value) for value in values}}
    used = {user, item, *(guess.table.get(f"{role}_column") for role in ("timestamp", "rating", "event"))}
    unused = [name for name in interactions.columns if name not in used]
    if unused:
        guess.warnings.append(f"columns of the interactions that are not used: {', '.join(unused)}")
    for what, frame, key in (("items", items, item), ("users", users, user)):
        if frame is not None:
            _guess_side(what, frame, key, interactions[key], guess)
    return guess


def named(columns: Sequence[str], role: str) -> str | None:
    """The column whose name is one of the names of a role, None if there is none."""
    plain = {re.sub(r"[_\-\s]", "", column.lower()): column for column in reversed(columns)}
    return next((plain[name] for name in NAMES[role].split() if name in plain), None)


def _pair(
    log: pl.DataFrame,
    items: pl.DataFrame | None,
    users: pl.DataFrame | None,
    guess: Guess,
    given: Mapping[str, str],
) -> tuple[str, str]:
    """Columns of user and item: by name, by the other tables, by how many values they have."""
    columns = [name for name in log.columns if name not in given.values()]
    found = {role: given.get(role) or named(columns, role) for role in ("user", "item")}
    for role, frame in (("item", items), ("user", users)):
        free = [name for name in columns if name not in found.values()]
        if found[role] is None and free:
            known = [] if frame is None else [_overlap(log[name], frame) for name in free]
            sizes = [log[name].n_unique() for name in free]
            best = max(range(len(free)), key=lambda n: (known[n] if known else 0.0, sizes[n]))
            found[role] = free[best]
            guess.warnings.append(f"no column is named like one of {role}s: {free[best]} was taken for it")
    return found["user"] or log.columns[0], found["item"] or log.columns[-1]


def _overlap(column: pl.Series, frame: pl.DataFrame) -> float:
    values = as_text(column).drop_nulls().unique()
    found = [values.is_in(as_text(frame[name]).implode()).mean() for name in frame.columns[:5]]
    return max((float(share) for share in found if isinstance(share, float)), default=0.0)


def _is_time(column: pl.Series) -> bool:
    if column.dtype.is_temporal():
        return True
    cast = cast_time(column.head(1000))
    low = cast.values.min() if cast.values.dtype.is_numeric() else None
    return _fits(cast) and isinstance(low, int | float) and low > 1e8


def _guess_time(log: pl.DataFrame, time: str | None, guess: Guess) -> None:
    if time is None:
        guess.data["protocol"] = "ratio"
        guess.warnings.append("no column tells the time: the order of a history is not known")
        return
    guess.table["timestamp_column"] = time
    if _fits(cast_time(log[time])):
        return
    for pattern in ("%m/%d/%Y", "%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y%m%d%H%M%S"):
        for written in (pattern, f"{pattern} %H:%M:%S", f"{pattern} %H:%M"):
            if _fits(cast_time(log[time], written)):
                guess.table["time_format"] = written
                guess.warnings.append(f"{time} is read as {written}: check day and month")
                return
    del guess.table["timestamp_column"]
    guess.data["protocol"] = "ratio"
    guess.warnings.append(f"{time} is named like a time but holds none that is known")


def _fits(cast: Cast) -> bool:
    """Whether nearly all rows of a column fit."""
    bad = sum(int(wrong.sum()) for _, wrong in cast.faults)
    return len(cast.values) > 0 and bad <= (1.0 - MOSTLY) * len(cast.values)


def _event_weight(event: str) -> float:
    for words, weight in EVENT_WEIGHTS:
        if any(word in event.lower() for word in words):
            return weight
    return 1.0


def _guess_side(what: str, frame: pl.DataFrame, key: str, known: pl.Series, guess: Guess) -> None:
    role = what.removesuffix("s")
    column = key if key in frame.columns else named(frame.columns, role)
    if column is None:
        shares = [_overlap(known, frame.select(name)) for name in frame.columns]
        column = frame.columns[int(np.argmax(shares))]
        guess.warnings.append(f"{what}: {column} was taken for the id")
    side: dict[str, Any] = guess.table.setdefault(what, {})
    if column != key:
        side["id_column"] = column
    side["features"] = _features(what, frame.drop(column), guess)


def _features(what: str, frame: pl.DataFrame, guess: Guess) -> dict[str, Any]:
    features: dict[str, Any] = {}
    groups = _embedding_groups(frame)
    title = named(frame.columns, "title") if what == "items" else None
    for name in frame.columns:
        group = next((prefix for prefix, members in groups.items() if name in members), None)
        if group is not None:
            entry = {"kind": "embedding", "columns": f"{group}*"}
            features.setdefault(group.rstrip("_-.") or "embedding", entry)
            continue
        kind = "title" if name == title else guess_kind(frame[name])
        if kind == "title" and what == "items" and "title" not in features.values():
            features[name] = "title"
        elif kind in (None, "title"):
            guess.warnings.append(f"{what}: {name} is not used, its values hardly repeat or are none")
        else:
            features[name] = kind
    return features


def _embedding_groups(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Complete numeric columns whose names differ in a final number, by their prefix."""
    groups: dict[str, list[str]] = {}
    for name in frame.columns:
        match = re.fullmatch(r"(.*?\D)\d+", name)
        if match:
            groups.setdefault(match[1], []).append(name)
    return {
        prefix: members
        for prefix, members in groups.items()
        if len(members) >= MIN_EMBEDDING
        and sum(other.startswith(prefix) for other in frame.columns) == len(members)
        and all(not frame[name].dtype.is_nested() and _fits(cast_number(frame[name])) for name in members)
    }


def guess_kind(column: pl.Series) -> Any:
    """An entry of ``features`` for a column, None where no kind fits."""
    if column.dtype.is_nested():
        inner = getattr(column.dtype, "inner", None)
        return "embedding" if inner is not None and inner.is_numeric() else "multi"
    if column.dtype.is_temporal():
        return None
    text = as_text(column).str.strip_chars()
    present = text.filter((text != "").fill_null(False))
    distinct = present.n_unique()
    if not len(present) or distinct < 2:
        return None
    if column.dtype != pl.Boolean and _fits(cast_number(present)):
        whole = _fits(Cast(present, [("", ~present.str.contains(r"^[+-]?\d+$"))]))
        return "categorical" if whole and distinct <= FEW else "number"
    if _fits(cast_time(present)):
        return None
    return _kind_of_text(present, distinct)


def _kind_of_text(present: pl.Series, distinct: int) -> Any:
    repeats = distinct <= len(present) / 2
    for separator in ("/", ">"):
        if _share(present, separator) >= 0.5 and repeats:
            return "path" if separator == "/" else {"kind": "path", "separator": separator}
    for separator in ("|", ";", ","):
        values = present.str.split(separator).explode(empty_as_null=True)
        if _share(present, separator) >= 0.2 and values.n_unique() <= min(distinct, len(values) / 4):
            return "multi" if separator == "|" else {"kind": "multi", "separator": separator}
    if repeats:
        return "categorical"
    return "title" if float(present.str.len_chars().mean() or 0.0) >= 10.0 else None  # type: ignore[arg-type]


def _share(present: pl.Series, separator: str) -> float:
    return float(present.str.contains(separator, literal=True).mean() or 0.0)  # type: ignore[arg-type]
