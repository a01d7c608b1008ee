"""Recommendations for every user, as one Parquet file that a second call completes after a kill."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from sparcode.errors import OutputError
from sparcode.files import cannot_write, replacing_file, text_sha256, write_text
from sparcode.progress import Progress
from sparcode.serving.histories import UserHistories
from sparcode.serving.retriever import Retriever

BATCH = 2048
"""Users encoded and searched at once."""

PART = 8 * BATCH
"""Users of a part, which is a row group of the file in the end."""

_STATE = "state.json"


@dataclass(frozen=True)
class AllUsersOptions:
    """What is recommended.

    Attributes:
        k: items per user.
        exclude_seen: leave out the history; None = as the bundle was evaluated.
        where: what all recommended items must fulfil, as text.
        rescore: best items of the search that the scorer rescores; None = none.
    """

    k: int = 50
    exclude_seen: bool | None = None
    where: str | None = None
    rescore: int | None = None


@dataclass(frozen=True)
class AllUsersReport:
    """What was written.

    Attributes:
        num_users: users of the file.
        num_resumed: of these, answered by an earlier call.
        num_fallbacks: of the others, answered by popularity.
        seconds: wall-clock time of this call.
    """

    num_users: int
    num_resumed: int
    num_fallbacks: int
    seconds: float


def recommend_all(
    retriever: Retriever,
    histories: UserHistories,
    output: Path,
    options: AllUsersOptions | None = None,
    part_users: int = PART,
) -> AllUsersReport:
    """Write the best items of every user: columns ``user``, ``item``, ``score``, ``rank`` from 1, ``title``.

    Finished parts lie in ``.NAME.parts`` beside the output until all are there; a call with the same bundle,
    users and options goes on with them, any other begins anew.

    Args:
        retriever: of a bundle.
        histories: users in the ids of the bundle.
        output: Parquet file to make or to replace.
        options: what is recommended.
        part_users: users of a part.

    Raises:
        UsageError: k below 1, rescore below k, or a predicate that does not fit the bundle's attributes.
        OutputError: the output cannot be written; finished parts stay.
    """
    options = options or AllUsersOptions()
    started = time.perf_counter()
    recommender = UserRecommender(retriever, histories, options)
    directory = output.with_name(f".{output.name}.parts")
    total = len(histories)
    parts = {
        directory / f"{number:06d}.parquet": range(start, min(start + part_users, total))
        for number, start in enumerate(range(0, total, part_users))
    }
    fallbacks = 0
    try:
        _open_parts(directory, _identity(retriever, histories, options, part_users))
        missing = {file: users for file, users in parts.items() if not file.exists()}
        done = resumed = total - sum(map(len, missing.values()))
        with Progress("recommend", "users", total, resumed=resumed > 0) as progress:
            progress.update(done)
            for file, users in missing.items():
                tables = []
                for first in range(0, len(users), BATCH):
                    batch = users[first : first + BATCH]
                    table, count = recommender.table(batch)
                    tables.append(table)
                    fallbacks, done = fallbacks + count, done + len(batch)
                    progress.update(done)
                with replacing_file(file) as stream:
                    pyarrow.parquet.write_table(pa.concat_tables(tables), stream.buffer)
        _join(list(parts), output, retriever)
        shutil.rmtree(directory)
    except OSError as error:
        raise cannot_write(output, error) from error
    return AllUsersReport(total, resumed, fallbacks, time.perf_counter() - started)


class UserRecommender:
    """Tables of recommendations for users of one bundle.

    Args:
        retriever: of the bundle.
        histories: users in the ids of the bundle.
        options: what is recommended.

    Raises:
        UsageError: a predicate that does not fit the bundle's attributes.
    """

    def __init__(self, retriever: Retriever, histories: UserHistories, options: AllUsersOptions) -> None:
        self._retriever, self._histories, self._options = retriever, histories, options
        self._predicate = retriever.read_predicate(options.where)
        retriever.warn_of_absent(self._predicate)
        bundle = retriever.bundle
        names = {"item": bundle.item_ids, "title": bundle.titles}
        self._names = {
            column: pa.array([None, *(text or None for text in texts)], pa.string())
            for column, texts in names.items()
            if texts is not None
        }

    def table(self, users: range) -> tuple[pa.Table, int]:
        """The best items of one batch of users.

        Returns:
            A table as in :func:`recommend_all`; and how many users were answered by popularity.

        Raises:
            UsageError: k below 1, or rescore below k.
        """
        options = self._options
        queries = [self._retriever.read_user(self._histories, user, self._predicate) for user in users]
        result, known = self._retriever.search(queries, options.k, options.exclude_seen, options.rescore)
        rows, places = np.nonzero(result.item_ids > 0)
        items = pa.array(result.item_ids[rows, places])
        user_ids = pa.array([self._histories.user_ids[user] for user in users], pa.string())
        columns = {
            "user": user_ids.take(pa.array(rows)),
            "item": self._names["item"].take(items),
            "score": pa.array(result.scores[rows, places]),
            "rank": pa.array((places + 1).astype(np.int32)),
        }
        if "title" in self._names:
            columns["title"] = self._names["title"].take(items)
        return pa.table(columns, schema=_schema(self._retriever)), int(np.count_nonzero(~known))


def _schema(retriever: Retriever) -> pa.Schema:
    fields = [("user", pa.string()), ("item", pa.string()), ("score", pa.float32()), ("rank", pa.int32())]
    titles = [] if retriever.bundle.titles is None else [("title", pa.string())]
    return pa.schema([*fields, *titles])


def _identity(
    retriever: Retriever, histories: UserHistories, options: AllUsersOptions, part_users: int
) -> str:
    """Text that is the same for calls that write the same parts."""
    users = text_sha256("\n".join(histories.user_ids))
    return json.dumps(
        {
            "bundle_id": retriever.bundle.manifest.bundle_id,
            "items": [retriever.bundle.manifest.num_items, int(retriever.bundle.removed.sum())],
            "users": users,
            "interactions": [int(histories.indptr[-1]), int(histories.items.astype(np.int64).sum())],
            "options": asdict(options),
            "part_users": part_users,
        },
        sort_keys=True,
    )


def _open_parts(parts: Path, identity: str) -> None:
    """Keep the parts that belong to this call, or make an empty directory for them."""
    state = parts / _STATE
    if state.exists() and state.read_text(encoding="utf-8") == identity:
        return
    foreign = not state.exists() and parts.exists()
    if foreign and any(not path.name.endswith(".partial") for path in parts.iterdir()):
        raise OutputError(
            "the place of the parts is taken", where=parts, remedy="move it or choose another output"
        )
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_text(state, identity)


def _join(files: list[Path], output: Path, retriever: Retriever) -> None:
    """Write the parts as row groups of one file."""
    with (
        replacing_file(output) as stream,
        pyarrow.parquet.ParquetWriter(stream.buffer, _schema(retriever)) as writer,
    ):
        for file in files:
            writer.write_table(pyarrow.parquet.read_table(file, partitioning=None))
