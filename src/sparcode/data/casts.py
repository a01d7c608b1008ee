"""Columns of tables -> ids, numbers and times, all rows at once; what does not fit is told by row.

Text and typed columns (Parquet, data frames) go the same way: types that are not numbers or dates are read as
the text that they print.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from sparcode.data.text import MAX_INT64

Faults = list[tuple[str, pl.Series]]
"""What is wrong, and a boolean for every row: whether it is wrong there."""

EXACT_DIGITS = 15
"""Decimal digits that every float64 keeps."""

_INTEGER = r"^[+-]?\d+(\.0*)?$"
DATE_FORMATS = tuple(
    (f"{day}{time}{zone}", zone)
    for zone in ("", "Z", "%#z")
    for day, time in (
        ("%Y-%m-%d", "T%H:%M:%S%.f"),
        ("%Y-%m-%d", " %H:%M:%S%.f"),
        ("%Y-%m-%d", "T%H:%M"),
        ("%Y-%m-%d", " %H:%M"),
        ("%Y-%m-%d", ""),
    )
    if time or not zone
)
"""ISO 8601: formats and their time zones (none, Z, an offset)."""
YEARS = ("1678", "2261")
"""First and last year that nanoseconds since 1970 reach in whole."""


@dataclass(frozen=True)
class Cast:
    """A column after its conversion.

    Attributes:
        values: (n,) the converted column; rows with a fault hold anything.
        faults: what is wrong where; a row counts for the first of them.
    """

    values: pl.Series
    faults: Faults = field(default_factory=list)


def as_text(column: pl.Series) -> pl.Series:
    """Any column as strings; null stays null."""
    return column if column.dtype == pl.String else column.cast(pl.String, strict=False)


def cast_label(column: pl.Series) -> Cast:
    """External ids: text that is not empty, or integers."""
    if column.dtype.is_float() or column.dtype == pl.Boolean or column.dtype.is_nested():
        return Cast(column, _faults(f"is of type {column.dtype}, an id is an integer or text", _all(column)))
    text = as_text(column)
    return Cast(text, _faults("is empty", text.is_null() | (text == "").fill_null(False)))


def cast_integer(column: pl.Series) -> Cast:
    """Non-negative 64-bit integers in their plain writing."""
    text = as_text(column).str.strip_chars()
    values = text.cast(pl.Int64, strict=False)
    if not values.null_count() and not (values < 0).any():
        return Cast(values)
    lower = text.str.to_lowercase()
    digits = text.str.contains(r"^\+?\d+$").fill_null(False)
    return Cast(
        values,
        _faults("is NaN", (lower == "nan").fill_null(False))
        + _faults("is negative", (values < 0).fill_null(False))
        + _faults(f"overflows, expected at most {MAX_INT64}", values.is_null() & digits)
        + _faults("is not an integer", values.is_null()),
    )


def cast_number(column: pl.Series, *, optional: bool = False) -> Cast:
    """Finite numbers as float64.

    Args:
        column: text or numbers.
        optional: empty text and null are NaN, not faults.
    """
    if column.dtype == pl.Boolean or column.dtype.is_nested() or column.dtype.is_temporal():
        return Cast(column, _faults(f"is of type {column.dtype}, not a number", _all(column)))
    text = None if column.dtype.is_numeric() else as_text(column).str.strip_chars()
    values = (column if text is None else text).cast(pl.Float64, strict=False)
    empty = column.is_null() if text is None else text.is_null() | (text == "").fill_null(False)
    wrong = values.is_null() & ~empty
    faults = (
        _faults("is not a number", wrong)
        + _faults("is NaN", values.is_nan().fill_null(False))
        + _faults("is not finite", values.is_infinite().fill_null(False))
    )
    if optional:
        return Cast(values.fill_null(float("nan")), faults)
    return Cast(values, _faults("is empty", empty) + faults)


def cast_time(column: pl.Series, time_format: str | None = None) -> Cast:
    """Times that sort exactly: int64 numbers or nanoseconds since 1970, or float64 numbers.

    A column holds numbers or dates, with or without a time zone: what most of its rows hold.

    Args:
        column: text, numbers, dates or timestamps.
        time_format: of dates in text (strftime); None = numbers or ISO 8601.
    """
    if column.dtype.is_temporal() and column.dtype not in (pl.Duration, pl.Time):
        return _cast_timestamps(column)
    if column.dtype.is_float():
        return _positive(Cast(column.cast(pl.Float64), _not_finite(column)))
    if column.dtype == pl.Boolean or column.dtype.is_nested():
        return Cast(column, _faults(f"is of type {column.dtype}, not a time", _all(column)))
    text = as_text(column).str.strip_chars()
    if time_format is not None:
        return _cast_format(text, time_format)
    head = text.head(1000)
    if head.cast(pl.Float64, strict=False).null_count() * 2 <= len(head):
        return _cast_numbers(text)
    if (dates := _cast_dates(text)) is not None:
        return dates
    expected = "expected a number or ISO 8601, or data.table.time_format"
    return Cast(text, _faults(f"is not a time, {expected}", _all(text)))


def _cast_numbers(text: pl.Series) -> Cast:
    whole = text.str.strip_suffix(".0")
    integers = whole.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return _positive(Cast(integers))
    missing = integers.is_null()
    rest = text.filter(missing)
    parsed = rest.cast(pl.Float64, strict=False)
    longer = rest.str.contains(_INTEGER).fill_null(False)
    fractions = parsed.is_finite().fill_null(False) & ~longer
    if not fractions.any():  # faulty rows alone
        faults = _faults("is NaN", _spread(missing, parsed.is_nan().fill_null(False)))
        faults += _faults(f"overflows, expected at most {MAX_INT64}", _spread(missing, longer))
        faults += _faults("is not finite", _spread(missing, parsed.is_infinite().fill_null(False)))
        return _positive(Cast(integers, [*faults, *_faults("is not a time, expected a number", missing)]))
    values = text.cast(pl.Float64, strict=False)
    faults = _faults("is not a time, expected a number", values.is_null()) + _not_finite(values)
    faults += _faults("has more digits than a fractional time keeps in order", _collides(whole, values))
    return _positive(Cast(values, faults))


def _collides(text: pl.Series, values: pl.Series) -> pl.Series:
    """Rows whose number is not the only one that rounds to its float64: their order would be lost."""
    long = text.str.count_matches(r"\d").fill_null(0) > EXACT_DIGITS
    if not long.any():
        return long
    several = pl.DataFrame({"value": values, "text": text}).select(
        pl.col("text").n_unique().over("value") > 1
    )
    return long & several.to_series()


def _cast_dates(text: pl.Series) -> Cast | None:
    """ISO 8601 in text, in nanoseconds; None when hardly a row is a date."""
    head = text.head(1000)
    found = [len(head) - _parsed(head, pattern).null_count() for pattern, _ in DATE_FORMATS]
    if 2 * sum(found) < len(head) or not max(found, default=0):
        return None
    best = DATE_FORMATS[found.index(max(found))]
    zoned = bool(best[1])
    others = [(pattern, zone) for pattern, zone in DATE_FORMATS if bool(zone) == zoned and pattern != best[0]]
    values = _parsed(text, best[0])
    for pattern, _ in others:
        missing = values.is_null()
        if not missing.any():
            break
        values = values.zip_with(~missing, _parsed(text.set(~missing, None), pattern))
    what = "with a time zone" if zoned else "without a time zone"
    faults = _faults("is empty", (text == "").fill_null(False) | text.is_null())
    faults += _faults(f"is not a time, expected a date {what} as in other rows", values.is_null())
    inside = text.str.head(4).is_between(pl.lit(YEARS[0]), pl.lit(YEARS[1]))
    return Cast(values, [*faults, *_faults(_YEARS_FAULT, ~inside)])


_YEARS_FAULT = f"is outside of the years {YEARS[0]} to {YEARS[1]}"


def _parsed(text: pl.Series, pattern: str) -> pl.Series:
    frame = pl.DataFrame({"t": text})
    parsed = pl.col("t").str.to_datetime(pattern, time_unit="ns", strict=False, exact=True)
    if pattern.endswith("z"):
        parsed = parsed.dt.convert_time_zone("UTC")
    return frame.select(parsed.dt.timestamp("ns")).to_series()


def _cast_format(text: pl.Series, pattern: str) -> Cast:
    try:
        values = _parsed(text, pattern)
    except pl.exceptions.PolarsError:
        dates = pl.DataFrame({"t": text}).select(pl.col("t").str.to_date(pattern, strict=False))
        values = dates.to_series().cast(pl.Datetime("ns")).cast(pl.Int64)
    return Cast(values, _faults(f"is not a time of the format {pattern}", values.is_null()))


def _cast_timestamps(column: pl.Series) -> Cast:
    frame = pl.DataFrame({"t": column})
    year = frame.select(pl.col("t").dt.year()).to_series()
    outside = ~year.is_between(int(YEARS[0]), int(YEARS[1])).fill_null(True)
    values = column.set(outside, None).cast(pl.Datetime("ns")).cast(pl.Int64)
    return Cast(values, _faults("is empty", column.is_null()) + _faults(_YEARS_FAULT, outside))


def _not_finite(values: pl.Series) -> Faults:
    return (
        _faults("is empty", values.is_null())
        + _faults("is NaN", values.is_nan().fill_null(False))
        + _faults("is not finite", values.is_infinite().fill_null(False))
    )


def _positive(cast: Cast) -> Cast:
    return Cast(cast.values, [*cast.faults, *_faults("is negative", (cast.values < 0).fill_null(False))])


def _faults(what: str, where: pl.Series) -> Faults:
    where = where.fill_null(True)
    return [(what, where)] if where.any() else []


def _all(column: pl.Series) -> pl.Series:
    return pl.repeat(True, len(column), dtype=pl.Boolean, eager=True)


def _spread(places: pl.Series, flags: pl.Series) -> pl.Series:
    """``flags`` of the rows where ``places`` is true, as a boolean for every row."""
    spread = places.to_numpy().copy()
    spread[spread] = flags.to_numpy()
    return pl.Series(spread)
