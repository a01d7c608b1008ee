"""Recommendations for a file of queries: JSON objects, one a line, in and out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sparcode.errors import DataError, UsageError
from sparcode.files import replacing_file
from sparcode.index.filters import Predicate
from sparcode.progress import Progress
from sparcode.serving.requests import Query, UnknownCounts
from sparcode.serving.retriever import BATCH_SIZE, Recommendation, Retriever
from sparcode.serving.user_features import external_id


@dataclass(frozen=True)
class OfflineOptions:
    """How a file is answered.

    Attributes:
        k: items per query.
        exclude_seen: leave out the history; None = as the bundle was evaluated.
        where: what all recommended items must fulfil, beside what a query says.
        rescore: best items of the search that the scorer rescores; None = none.
        batch_size: queries held in memory at once.
    """

    k: int = 50
    exclude_seen: bool | None = None
    where: str | None = None
    rescore: int | None = None
    batch_size: int = BATCH_SIZE


@dataclass
class OfflineReport:
    """What was answered.

    Attributes:
        num_queries: lines written.
        num_fallbacks: of these, answered by popularity.
        unknown: ids and values that the bundle does not know.
        seconds: wall-clock time.
    """

    num_queries: int = 0
    num_fallbacks: int = 0
    unknown: UnknownCounts = field(default_factory=UnknownCounts)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Line:
    query_id: str
    query: Query
    end: int
    """Bytes of the file read with this line."""


def recommend_file(
    retriever: Retriever, input_path: Path, output_path: Path, options: OfflineOptions | None = None
) -> OfflineReport:
    """Answer every query of a file, in constant memory; the output appears complete or not at all.

    A line is ``{"query_id": "u1", "history": ["item", ...], "features": {...}, "exclude": [...], "allow":
    [...], "where": "predicate"}``, answered by ``{"query_id": "u1", "items": [{"item": "external id",
    "score": 1.23}, ...]}``, an item with its ``title`` where it has one, and with ``"fallback":
    "popularity"`` when nothing of the query was known.
    A query without an id is called by its user, if it names one, or by its line number. Blank lines are
    skipped.

    Raises:
        DataError: the input is missing, empty or malformed, naming file and line.
        OutputError: the output cannot be written.
        UsageError: k below 1, rescore below k, or the output is the input.
    """
    options = options or OfflineOptions()
    started = time.perf_counter()
    report = OfflineReport()
    if output_path.exists() and input_path.exists() and output_path.samefile(input_path):
        raise UsageError("output is the input", where=output_path)
    with replacing_file(output_path) as stream:
        _answer_all(retriever, input_path, stream, options, report)
    report.unknown.warn(input_path)
    report.seconds = time.perf_counter() - started
    return report


def _answer_all(
    retriever: Retriever, path: Path, stream: TextIO, options: OfflineOptions, report: OfflineReport
) -> None:
    predicate = retriever.read_predicate(options.where)
    with Progress("recommend", "bytes", _input_size(path)) as progress:
        for batch in _batches(_read_lines(retriever, path, predicate), options.batch_size):
            answers = retriever.answer(
                [line.query for line in batch], options.k, options.exclude_seen, options.rescore
            )
            for line, answer in zip(batch, answers, strict=True):
                document = _answer_document(line.query_id, answer, retriever.titles)
                stream.write(json.dumps(document, ensure_ascii=False) + "\n")
                report.num_fallbacks += answer.fallback is not None
                report.unknown += answer.unknown
            report.num_queries += len(batch)
            progress.update(batch[-1].end, note=f"{report.num_queries:,} queries")
    if not report.num_queries:
        raise DataError("file holds no query", where=path, expected='{"history": [...]} on each line')


def _answer_document(query_id: str, answer: Recommendation, titles: Mapping[str, str]) -> dict[str, Any]:
    items = [
        {"item": item, "title": titles[item], "score": score}
        if item in titles
        else {"item": item, "score": score}
        for item, score in answer.items
    ]
    document: dict[str, Any] = {"query_id": query_id, "items": items}
    if answer.fallback is not None:
        document["fallback"] = answer.fallback
    return document


def _batches(lines: Iterator[_Line], size: int) -> Iterator[list[_Line]]:
    batch: list[_Line] = []
    for line in lines:
        batch.append(line)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _input_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError("queries cannot be read", where=path, received=error.strerror) from error


def _read_lines(retriever: Retriever, path: Path, predicate: Predicate | None) -> Iterator[_Line]:
    try:
        with path.open("rb") as stream:
            end = 0
            for number, raw in enumerate(stream, start=1):
                end += len(raw)
                if raw.strip():
                    query_id, query = _parse_line(retriever, raw, (path, number), predicate)
                    yield _Line(query_id, query, end)
    except OSError as error:
        raise DataError("queries cannot be read", where=path, received=error.strerror) from error


def _parse_line(
    retriever: Retriever, raw: bytes, place: tuple[Path, int], predicate: Predicate | None
) -> tuple[str, Query]:
    path, number = place
    where = f"{path}:{number}"
    try:
        document = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError("line is not JSON", where=where, received=error) from error
    query = retriever.read_query(document, where, predicate)
    identity = document.get("query_id", document.get("user"))
    query_id = str(number) if identity is None else external_id(identity, f"{where}: query_id")
    return query_id, query
