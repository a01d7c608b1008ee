"""Recommendations from a deployment bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import UsageError
from sparcode.index.bitsets import contains
from sparcode.index.filters import FilterCompiler, Predicate, parse_predicate
from sparcode.padding import pad_histories
from sparcode.serving.bundle import Bundle, open_bundle
from sparcode.serving.histories import UserHistories
from sparcode.serving.item_changes import Changes, UpdateReport, read_changes
from sparcode.serving.requests import Query, QueryReader, UnknownCounts, permitted_items
from sparcode.serving.rescorer import Rescorer
from sparcode.serving.search import Filters, make_searcher
from sparcode.serving.session import EncoderSession
from sparcode.serving.updated_bundle import save_bundle
from sparcode.serving.updates import BundleUpdater
from sparcode.types import NO_ITEM, SearchResult

BATCH_SIZE = 256
"""Queries encoded and searched at once."""


@dataclass(frozen=True)
class Recommendation:
    """The answer to one query.

    Attributes:
        items: (external id, score) by descending score, at most k.
        fallback: ``popularity`` when nothing of the query was known: items by descending number of training
            interactions, which is their score; None for an answer of the model.
        unknown: ids and values of the query that the bundle does not know.
    """

    items: list[tuple[str, float]]
    fallback: str | None = None
    unknown: UnknownCounts = field(default_factory=UnknownCounts)


class Retriever:
    """Recommends items of one bundle.

    Not safe for use by several threads at once; ``num_threads`` shares the search of a batch.

    Args:
        bundle: an opened bundle.
        num_threads: threads of the index search.
    """

    def __init__(self, bundle: Bundle, num_threads: int = 1) -> None:
        self._bundle = bundle
        self._read_by(bundle)
        self._encoder = EncoderSession(bundle)
        self._searcher = make_searcher(bundle, num_threads)
        self._updater: BundleUpdater | None = None
        self._rescorer: Rescorer | None = None

    def _read_by(self, bundle: Bundle) -> None:
        """Read queries and predicates by the items and attributes of a bundle."""
        self._filters = FilterCompiler(bundle.attributes) if bundle.attributes is not None else None
        self._reader = QueryReader(bundle, self._filters)
        pairs = zip(bundle.item_ids, bundle.titles or (), strict=False)
        self._titles = {item: title for item, title in pairs if title}

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = True, num_threads: int = 1) -> Retriever:
        """Open a bundle directory.

        Args:
            path: directory written by export.py.
            verify: compare the checksum of every file first.
            num_threads: threads of the index search.

        Raises:
            BundleError: missing, damaged, of another version, or with parts that do not belong together.
        """
        return cls(open_bundle(path, verify=verify), num_threads)

    @property
    def bundle(self) -> Bundle:
        """The opened bundle."""
        return self._bundle

    @property
    def titles(self) -> Mapping[str, str]:
        """Titles for people by external id, of items that have one."""
        return self._titles

    def update(
        self,
        *,
        add: Sequence[Mapping[str, Any] | str] = (),
        remove: Sequence[str] = (),
        rescore: Sequence[Mapping[str, Any] | str] = (),
    ) -> UpdateReport:
        """Change the catalogue; later answers see it. The directory is unchanged until :meth:`save`.

        Args:
            add: new items, or others that are replaced: ``{"item": id, "title": text, "features": {name:
                value, ...}}``; or the id of one that was removed.
            remove: external ids of items that shall be no results any more; others are counted.
            rescore: items to rescore, in the form of ``add``: with other features, or by the same.

        Raises:
            DataError: an item is named twice or malformed, or is to be rescored and unknown.
            BundleError: a new item although the model knows items by their ids; a two-tower bundle.
        """
        if self._updater is None:
            self._updater = BundleUpdater(self._bundle)
        parts = (read_changes(items, name) for name, items in
                 (("remove", remove), ("add", add), ("rescore", rescore)))  # fmt: skip
        report = self._updater.apply(Changes(*parts))
        self._bundle = self._updater.bundle
        self._read_by(self._bundle)
        return report

    def save(self, output: str | os.PathLike[str]) -> None:
        """Write the bundle with all updates; it may replace the directory that it was loaded from.

        Raises:
            OutputError: the place is taken by something that is no bundle, or cannot be written.
        """
        save_bundle(self._bundle, Path(output))

    def recommend(
        self,
        queries: Sequence[Mapping[str, Any]],
        k: int = 50,
        exclude_seen: bool | None = None,
        where: Predicate | str | None = None,
        rescore: int | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Top-k items of each query, as (external id, score) by descending score.

        Args:
            queries: each ``{"history": [item, ...], "features": {...}, "exclude": [...], "allow": [...],
                "where": predicate}`` with external ids, oldest first; only ``history`` is required
                (``features`` by bundles without histories). The last L known items are encoded. In place of
                both, ``{"user": id}`` where the bundle keeps histories; an unknown user gets the fallback.
            k: items per query; fewer are returned when fewer exist, are allowed, or score above 0.
            exclude_seen: leave out all items of the history; None = as the bundle was evaluated.
            where: what items of all answers must fulfil, beside what a query says (docs/filters.md). A query
                with a predicate gets k items whenever so many fulfil it: the last ones may score 0.
            rescore: R, at least k: the best R items of the search, under the same filters, are rescored by
                the network with unquantized tokens and ranked by these scores; None = the search decides.

        Raises:
            DataError: a malformed query, named by its position and ``query_id``.
            UsageError: k below 1, or rescore below k; or a predicate that is malformed or does not fit the
                bundle's attributes.
            BundleError: rescoring is asked of a bundle that was exported before it was possible.
        """
        return [answer.items for answer in self.recommend_detailed(queries, k, exclude_seen, where, rescore)]

    def recommend_detailed(
        self,
        queries: Sequence[Mapping[str, Any]],
        k: int = 50,
        exclude_seen: bool | None = None,
        where: Predicate | str | None = None,
        rescore: int | None = None,
    ) -> list[Recommendation]:
        """As :meth:`recommend`, with a note of what was unknown and whether the fallback answered.

        What is unknown in all queries together is logged as one warning.
        """
        if isinstance(queries, Mapping | str):
            raise UsageError("queries must be a list of objects", received=type(queries).__name__)
        predicate = self.read_predicate(where)
        read = [
            self.read_query(query, _name(number, query), predicate) for number, query in enumerate(queries)
        ]
        answers: list[Recommendation] = []
        for start in range(0, len(read), BATCH_SIZE):
            answers += self.answer(read[start : start + BATCH_SIZE], k, exclude_seen, rescore)
        reduce(add, (query.unknown for query in read), UnknownCounts()).warn(f"{len(read)} queries")
        return answers

    def read_predicate(self, where: Predicate | str | None) -> Predicate | None:
        """Check what all items must fulfil.

        Raises:
            UsageError: malformed, or it does not fit the bundle's attributes.
        """
        predicate = parse_predicate(where) if isinstance(where, str) else where
        permitted_items(self._filters, predicate)
        return predicate

    def warn_of_absent(self, predicate: Predicate | None) -> None:
        """Log one warning of the values in a predicate that no item has."""
        if self._filters is not None and predicate is not None:
            self._filters.warn_of_absent(predicate)

    def read_query(self, query: object, where: str, predicate: Predicate | None = None) -> Query:
        """Check one query and translate its ids.

        Args:
            query: see :meth:`recommend`.
            where: names it in messages.
            predicate: items must fulfil it beside the query's own.

        Raises:
            DataError: malformed.
        """
        return self._reader.read(query, where, predicate)

    def answer(
        self,
        queries: Sequence[Query],
        k: int,
        exclude_seen: bool | None = None,
        rescore: int | None = None,
    ) -> list[Recommendation]:
        """Answer one batch of queries that were read already; logs nothing.

        Raises:
            UsageError: k below 1, or rescore below k.
            BundleError: the bundle is too old to be rescored.
        """
        result, known = self.search(queries, k, exclude_seen, rescore)
        names, fallback = self._bundle.item_ids, self._bundle.manifest.fallback["name"]
        return [
            Recommendation(
                [
                    (names[item - 1], float(score))
                    for item, score in zip(items[items > 0], scores[items > 0], strict=True)
                ],
                None if is_known else fallback,
                query.unknown,
            )
            for query, is_known, items, scores in zip(
                queries, known, result.item_ids, result.scores, strict=True
            )
        ]

    def search(
        self,
        queries: Sequence[Query],
        k: int,
        exclude_seen: bool | None = None,
        rescore: int | None = None,
    ) -> tuple[SearchResult, NDArray[np.bool_]]:
        """As :meth:`answer`, in internal ids.

        Returns:
            (B, min(k, I)) items and scores, short rows padded with -1 and -inf; and (B,) bool, false for
            queries that the fallback has answered.

        Raises:
            UsageError, BundleError: see :meth:`answer`.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise UsageError("k out of range", expected="an integer of at least 1", received=k)
        if rescore is not None and (isinstance(rescore, bool) or rescore < k):
            raise UsageError(
                "fewer items to rescore than to recommend", expected=f"at least k = {k}", received=rescore
            )
        k = min(int(k), self._bundle.manifest.num_items)
        skip_seen = self._bundle.manifest.exclude_seen if exclude_seen is None else exclude_seen
        item_ids = np.full((len(queries), k), NO_ITEM, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        known = np.array([query.is_known for query in queries], np.bool_)
        if known.any():
            found = self._search([q for q in queries if q.is_known], k, skip_seen, rescore)
            item_ids[known], scores[known] = found.item_ids, found.scores
        for row in np.flatnonzero(~known):
            places = self._most_popular(queries[row], k, skip_seen)
            item_ids[row, : len(places)] = self._bundle.popularity[places]
            scores[row, : len(places)] = self._bundle.popularity_counts[places]
        return SearchResult(item_ids, scores), known

    def read_user(self, histories: UserHistories, user: int, predicate: Predicate | None = None) -> Query:
        """The query of a user of kept histories, or of others in the ids of the bundle.

        Args:
            histories: of many users.
            user: place of one.
            predicate: items must fulfil it.
        """
        return self._reader.of_user(histories, user, predicate)

    def _search(self, queries: list[Query], k: int, skip_seen: bool, rescore: int | None) -> SearchResult:
        manifest = self._bundle.manifest
        known = manifest.encoder_items if manifest.query_kind == "history" else 0
        histories = [query.history[query.history <= known] for query in queries]
        rows = [
            np.stack([query.user_rows[number] for query in queries])
            for number in range(len(manifest.user_features))
        ]
        encoded = self._encoder.encode(pad_histories(histories, manifest.history_length), rows)
        filters = Filters(
            exclude=[_excluded(query, skip_seen) for query in queries],
            allow=[query.allow for query in queries],
            mask=None
            if self._filters is None
            else self._filters.masks([q.where for q in queries], len(queries)),
            fill=np.array([query.where is not None for query in queries]),
        )
        depth = k if rescore is None else min(int(rescore), manifest.num_items)
        result = self._searcher.search(encoded, depth, filters)
        if rescore is None:
            return result
        if self._rescorer is None:
            self._rescorer = Rescorer(self._bundle)
        return self._rescorer.rescore(self._bundle, encoded, result, k)

    def _most_popular(self, query: Query, k: int, skip_seen: bool) -> NDArray[np.int64]:
        """Places in the popularity ranking of the k most popular permitted items."""
        ranking = self._bundle.popularity
        keep = ~np.isin(ranking, np.concatenate([_excluded(query, skip_seen), self._bundle.removed]))
        if query.allow is not None:
            keep &= np.isin(ranking, query.allow)
        permitted = permitted_items(self._filters, query.where)
        if permitted is not None:
            keep &= contains(permitted, ranking.astype(np.int64))
        return np.flatnonzero(keep)[:k]


def _excluded(query: Query, skip_seen: bool) -> NDArray[np.int64]:
    if not skip_seen:
        return query.exclude
    return np.concatenate([query.exclude, query.history]) if len(query.exclude) else query.history


def _name(number: int, query: object) -> str:
    identity = query.get("query_id") if isinstance(query, Mapping) else None
    return f"query {number}" if identity is None else f"query {number} (query_id {identity!r})"
