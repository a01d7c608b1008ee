"""Text files with one user a line: ``user item item ...``.

One file is read as ordered, oldest item first (the format of the S3-Rec files of Amazon reviews); a file
``*item2attributes.json`` beside it, ``{"item": [attribute, ...]}``, becomes the item feature
``attributes``. A directory with ``train.txt`` and ``test.txt`` is split by its publisher and has no order;
``item_map.txt`` and ``user_map.txt`` (``original new`` a line) there give the external ids, to which
``movies.dat`` and ``users.dat`` refer.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcode.config.data_schema import DataConfig
from sparcode.data import movielens_metadata
from sparcode.data.raw import TEST, TRAIN, RawFeature, RawInteractions
from sparcode.data.text import at_line, parse_id, require_file, split_lines
from sparcode.data.vocabulary import encode_integers
from sparcode.errors import DataError

TRAIN_FILE, TEST_FILE = "train.txt", "test.txt"
ITEM_MAP, USER_MAP = "item_map.txt", "user_map.txt"
ATTRIBUTES = "item2attributes.json"


@dataclass
class _Lines:
    """Parsed lines of one file."""

    path: Path
    users: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    items: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def locate(self, row: int) -> str:
        line = bisect_right(list(accumulate(self.counts)), row)
        return at_line(self.path, self.numbers[line])


def read_user_lines(config: DataConfig) -> RawInteractions:
    """Read one ordered file, or a directory with ``train.txt`` and ``test.txt``.

    Ids are non-negative integers below 2**63; blank lines are skipped.

    Raises:
        DataError: a file is missing or empty, an id does not parse or overflows, a user has no item or
            more than one line.
    """
    path = Path(str(config.path))
    if path.is_dir() and ((path / TRAIN_FILE).exists() or (path / TEST_FILE).exists()):
        return _read_pre_split(path)
    return _read_ordered(_only_text_file(path) if path.is_dir() else path)


def _only_text_file(directory: Path) -> Path:
    files = sorted(directory.glob("*.txt"))
    if len(files) != 1:
        raise DataError(
            "cannot tell which file holds the interactions",
            where=directory,
            expected=f"{TRAIN_FILE} and {TEST_FILE}, or exactly one .txt file",
            received=", ".join(file.name for file in files) or "no .txt file",
            remedy="give the file itself as data.path",
        )
    return files[0]


def _read_ordered(path: Path) -> RawInteractions:
    lines = _parse(path)
    users, user_numbers = encode_integers(_repeat_users(lines))
    items, item_numbers = encode_integers(_as_numpy(lines.items))
    item_ids = [str(number) for number in item_numbers]
    attribute_file = _find_attributes(path)
    return RawInteractions(
        users=users,
        items=items,
        user_ids=[str(number) for number in user_numbers],
        item_ids=item_ids,
        ordered=True,
        locate=lines.locate,
        item_features=() if attribute_file is None else (_read_attributes(attribute_file, item_ids),),
        files=(path,) if attribute_file is None else (path, attribute_file),
    )


def _read_pre_split(directory: Path) -> RawInteractions:
    train, test = _parse(directory / TRAIN_FILE), _parse(directory / TEST_FILE)
    users, user_numbers = encode_integers(np.concatenate([_repeat_users(train), _repeat_users(test)]))
    items, item_numbers = encode_integers(np.concatenate([_as_numpy(train.items), _as_numpy(test.items)]))
    boundary = len(train.items)
    splits = np.full(len(items), TEST, dtype=np.int8)
    splits[:boundary] = TRAIN
    user_ids = _external_ids(directory / USER_MAP, user_numbers)
    item_ids = _external_ids(directory / ITEM_MAP, item_numbers)
    movies_file, users_file = movielens_metadata.find_metadata(directory)
    optional = (directory / ITEM_MAP, directory / USER_MAP, movies_file, users_file)
    return RawInteractions(
        users=users,
        items=items,
        user_ids=user_ids,
        item_ids=item_ids,
        ordered=False,
        locate=lambda row: train.locate(row) if row < boundary else test.locate(row - boundary),
        splits=splits,
        user_features=movielens_metadata.user_features(users_file, user_ids) if users_file else (),
        item_features=movielens_metadata.movie_features(movies_file, item_ids) if movies_file else (),
        files=(train.path, test.path, *(file for file in optional if file is not None and file.is_file())),
    )


def _parse(path: Path) -> _Lines:
    lines = _Lines(require_file(path))
    first_line: dict[int, int] = {}
    with path.open("rb") as stream:
        for number, text in enumerate(stream, start=1):
            tokens = text.split()
            if tokens:
                _parse_line(lines, tokens, number)
                user = lines.users[-1]
                if first_line.setdefault(user, number) != number:
                    raise DataError(
                        "user has two lines",
                        where=at_line(path, number),
                        expected="one line a user",
                        received=f"user {user}, also on line {first_line[user]}",
                    )
    if not lines.users:
        raise DataError("file holds blank lines only", where=path, remedy="restore the file")
    return lines


def _parse_line(lines: _Lines, tokens: list[bytes], number: int) -> None:
    where = at_line(lines.path, number)
    try:
        if not b"".join(tokens).isdigit():  # int() would also take signs and underscores
            raise ValueError
        lines.users.append(int(tokens[0]))
        lines.items.extend(map(int, tokens[1:]))
    except (ValueError, OverflowError):
        for token in tokens:
            parse_id(token.decode("utf-8", "replace"), "id", where)
        raise
    if len(tokens) == 1:
        raise DataError(
            "user has no item",
            where=where,
            expected="user item item ...",
            received=tokens[0].decode(),
            remedy="remove the line or add the items",
        )
    lines.counts.append(len(tokens) - 1)
    lines.numbers.append(number)


def _as_numpy(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, dtype=np.int64)


def _repeat_users(lines: _Lines) -> NDArray[np.int64]:
    return np.repeat(_as_numpy(lines.users), _as_numpy(lines.counts))


def _external_ids(path: Path, numbers: NDArray[np.int64]) -> list[str]:
    if not path.is_file():
        return [str(number) for number in numbers]
    originals: dict[int, str] = {}
    for line, (original, new) in split_lines(path, " ", 2):
        where = at_line(path, line)
        if originals.setdefault(parse_id(new, "new id", where), original) != original:
            raise DataError("id occurs twice in the map", where=where, received=new)
    missing = next((number for number in numbers.tolist() if number not in originals), None)
    if missing is not None:
        raise DataError("id is not in the map", where=path, received=missing, remedy="complete the map")
    external = [originals[number] for number in numbers.tolist()]
    if len(set(external)) != len(external):
        raise DataError("two ids have the same original id", where=path, expected="distinct original ids")
    return external


def _find_attributes(path: Path) -> Path | None:
    own = path.with_name(f"{path.stem}_{ATTRIBUTES}")
    if own.is_file():
        return own
    others = sorted(path.parent.glob(f"*{ATTRIBUTES}"))
    return others[0] if len(others) == 1 else None


def _read_attributes(path: Path, item_ids: Sequence[str]) -> RawFeature:
    try:
        table = json.loads(require_file(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"not a JSON file ({error})", where=path) from error
    if not isinstance(table, dict) or not all(isinstance(values, list) for values in table.values()):
        raise DataError("unexpected contents", where=path, expected='{"item": [attribute, ...], ...}')
    return RawFeature("attributes", "multi", [[str(v) for v in table.get(item, ())] for item in item_ids])
