"""Movie and user features of the MovieLens distributions.

Format: README files of MovieLens 1M, 10M and 20M (F. M. Harper and J. A. Konstan, "The MovieLens
Datasets", ACM TiiS 2015).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparcode.data.raw import MISSING, RawFeature
from sparcode.data.text import at_line, parse_id, require_file, split_lines
from sparcode.errors import DataError

NO_GENRES = "(no genres listed)"
YEAR = re.compile(r"\((\d{4})\)\s*$")
MOVIE_COLUMNS = ["movieId", "title", "genres"]
USER_COLUMNS = ("gender", "age", "occupation", "zip_region")


@dataclass(frozen=True)
class Movie:
    """What is kept of a movie: year of release ("" if the title has none) and genres."""

    year: str
    genres: tuple[str, ...]


def find_metadata(directory: Path) -> tuple[Path | None, Path | None]:
    """The movies file (``movies.dat`` or ``movies.csv``) and ``users.dat`` of a directory, where present."""
    movies = next((directory / n for n in ("movies.dat", "movies.csv") if (directory / n).is_file()), None)
    users = directory / "users.dat"
    return movies, users if users.is_file() else None


def movie_features(path: Path, item_ids: Sequence[str]) -> tuple[RawFeature, ...]:
    """``genres`` (multi) and ``year`` (categorical) of the items; unknown movies have neither.

    Args:
        path: ``movies.dat`` (``id::title (year)::genre|genre``) or ``movies.csv``.
        item_ids: original movie ids.

    Raises:
        DataError: missing, empty or malformed file, with line.
    """
    rows = _movies_csv(path) if path.suffix == ".csv" else _movies_dat(path)
    movies: dict[str, Movie] = {}
    for number, (movie, title, genres) in rows:
        year = YEAR.search(title)
        names = () if genres in ("", NO_GENRES) else tuple(genres.split("|"))
        key = str(parse_id(movie, "movie id", at_line(path, number)))
        movies[key] = Movie(year.group(1) if year else MISSING, names)
    unknown = Movie(MISSING, ())
    found = [movies.get(item, unknown) for item in item_ids]
    return (
        RawFeature("genres", "multi", [movie.genres for movie in found]),
        RawFeature("year", "categorical", [movie.year for movie in found]),
    )


def _movies_dat(path: Path) -> Iterator[tuple[int, list[str]]]:
    return split_lines(path, "::", len(MOVIE_COLUMNS))


def _movies_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    with require_file(path).open(encoding="utf-8", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if header != MOVIE_COLUMNS:
            raise DataError(
                "unexpected header",
                where=at_line(path, 1),
                expected=",".join(MOVIE_COLUMNS),
                received=",".join(header),
            )
        for row in reader:
            if not row:
                continue
            if len(row) != len(MOVIE_COLUMNS):
                raise DataError(
                    "malformed line",
                    where=at_line(path, reader.line_num),
                    expected=f"{len(MOVIE_COLUMNS)} fields",
                    received=f"{len(row)} fields",
                )
            yield reader.line_num, row


def user_features(path: Path, user_ids: Sequence[str]) -> tuple[RawFeature, ...]:
    """``gender``, ``age``, ``occupation`` and ``zip_region`` (first digit), all categorical.

    Args:
        path: ``users.dat`` (``id::gender::age::occupation::zip``), MovieLens 1M only.
        user_ids: original user ids; users without a line have missing values.

    Raises:
        DataError: missing, empty or malformed file, with line.
    """
    rows: dict[str, tuple[str, ...]] = {}
    for number, (user, gender, age, occupation, zip_code) in split_lines(path, "::", 5):
        key = str(parse_id(user, "user id", at_line(path, number)))
        rows[key] = (gender, age, occupation, zip_code[:1])
    unknown = (MISSING,) * len(USER_COLUMNS)
    found = [rows.get(user, unknown) for user in user_ids]
    return tuple(
        RawFeature(name, "categorical", [row[column] for row in found])
        for column, name in enumerate(USER_COLUMNS)
    )
