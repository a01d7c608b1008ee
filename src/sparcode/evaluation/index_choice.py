"""How an index is asked and corrected: chosen on validation queries, by searches of short lists.

Only the lists that some query may ask for are built, once for each prior strength; probes, temperature and
weight of the crosses are weights of terms, so that trying them takes searches alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.crosses import CrossTable
from sparcode.evaluation.metrics import RANKING_METRICS, parse_metric, ranking_metrics
from sparcode.evaluation.query_set import QuerySet
from sparcode.index import BuildOptions, CodeCounts, InvertedIndex, Posterior, append_lists
from sparcode.index.build.builder import lists_of_terms
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.inference import NearestCodes
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.quantizer import LEAST_DISTANCE
from sparcode.training.encoding import encode_queries
from sparcode.training.world import World

PROBES = (1, 2, 4, 8, 16)
TEMPERATURES = (0.2, 0.5, 1.0, 2.5, 6.0)
STRENGTHS = (None, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Prior strengths that are tried; None = the network alone."""

OCTAVES = range(-4, 6)
"""Weights of crosses that are tried: powers of two times the ratio of the spreads of the two scores."""


@dataclass(frozen=True)
class IndexSettings:
    """What is chosen.

    Attributes:
        probes: P.
        probe_temperature: of the weights of the probes.
        prior_strength: None = lists of the network alone.
        cross_weight: None = there are no crosses.
    """

    probes: int
    probe_temperature: float
    prior_strength: float | None
    cross_weight: float | None = None


@dataclass(frozen=True)
class SettingsTried:
    """Values to choose from; a single one is given, not chosen.

    Attributes:
        probes, temperatures, strengths: see ``IndexSettings``.
        cross_weight: None = chosen, if there are crosses.
    """

    probes: Sequence[int] = PROBES
    temperatures: Sequence[float] = TEMPERATURES
    strengths: Sequence[float | None] = STRENGTHS
    cross_weight: float | None = None

    @property
    def fixed(self) -> IndexSettings | None:
        """The settings where none is left to choose but perhaps the weight; None otherwise."""
        if max(map(len, (self.probes, self.temperatures, self.strengths))) > 1:
            return None
        return IndexSettings(self.probes[0], self.temperatures[0], self.strengths[0], self.cross_weight)


@dataclass(frozen=True)
class ListSources:
    """What lists are made of.

    Attributes:
        network: trained, with fitted codebooks.
        num_items: I.
        options: of the index.
        counts: of the training queries of each code; None = only the network alone can be tried.
        scale: see ``Posterior``.
        crosses: of weight 1, and their ``top_l``; None = there are none.
    """

    network: SparCode
    num_items: int
    options: BuildOptions
    counts: CodeCounts | None
    scale: float
    crosses: tuple[CrossTable, int] | None


class IndexChoice:
    """Tries settings on queries.

    Args:
        sources: of the lists.
        queries: of this worker, with histories as long as the crosses want them.
        metric: such as ``ndcg@50``; the best one decides.
        world: the workers, who divide the queries.
        most_probes: the most that are tried.
    """

    def __init__(
        self,
        sources: ListSources,
        queries: QuerySet,
        metric: str,
        world: World,
        most_probes: int = max(PROBES),
    ) -> None:
        self._sources, self._queries, self._world = sources, queries, world
        self._metric, self._k = metric, parse_metric(metric)[1]
        self.tried: list[dict[str, Any]] = []
        self.best_value = -np.inf
        network, crosses = sources.network, sources.crosses
        length = crosses[0].encoder_length if crosses else queries.history.shape[1]
        cell = NearestCodes(network, most_probes)
        size = min(256, max(len(queries), 1))
        read = queries.history[:, -length:]
        terms, self._distances = encode_queries(cell, read, queries.user_rows, size)
        self._used = np.unique(world.gather(terms.reshape(-1))).astype(np.int64)
        self._places = np.searchsorted(self._used, terms).reshape(
            self._distances.shape
        )  # (B, K_u, P), numbers of lists
        self._scorer = NetworkBlockScorer(network, sources.num_items)

    def choose(self, settings: SettingsTried) -> IndexSettings:
        """The settings that rank the queries best: probes and strength by tokens alone, then the weight.

        Of each strength the best probes are found without crosses, and the best weight with these; the
        strength that is best with its crosses wins.
        """
        found: list[tuple[float, IndexSettings]] = []
        for strength in settings.strengths:
            index = self._index(strength)
            value, one = self._best_probes(index, strength, settings)
            if self._sources.crosses is not None:
                value, one = self._best_weight(index, one, settings.cross_weight)
            found.append((value, one))
        self.best_value, best = max(found, key=lambda pair: pair[0])
        return best

    def _index(self, strength: float | None) -> InvertedIndex:
        """The lists that the queries may ask for, and those of all history items."""
        sources = self._sources
        posterior = None
        if strength is not None and sources.counts is not None:
            posterior = Posterior(sources.counts, strength, sources.scale)
        codebooks = sources.network.term_codebooks()
        lists = lists_of_terms(self._scorer, codebooks, sources.options, self._used, posterior)
        floors = lists.floors if lists.floors.any() else None
        index = InvertedIndex(lists.postings(sources.num_items), floors=floors)
        if sources.crosses is None:
            return index
        crosses, top_l = sources.crosses
        return append_lists(index, crosses.row_blocks(top_l), 0, signed=False)

    def _best_probes(
        self, index: InvertedIndex, strength: float | None, settings: SettingsTried
    ) -> tuple[float, IndexSettings]:
        found = [
            IndexSettings(probes, temperature, strength)
            for probes, temperature in _combinations(settings, self._distances.shape[2])
        ]
        return max(((self._value(index, one), one) for one in found), key=lambda pair: pair[0])

    def _best_weight(
        self, index: InvertedIndex, settings: IndexSettings, given: float | None
    ) -> tuple[float, IndexSettings]:
        weights = [given] if given is not None else self._weights(index, settings)
        values = {weight: self._value(index, replace(settings, cross_weight=weight)) for weight in weights}
        best = max(values, key=lambda weight: values[weight])
        if given is None and best > 0:  # half an octave to both sides
            for weight in (best / 2**0.5, best * 2**0.5):
                values[weight] = self._value(index, replace(settings, cross_weight=weight))
            best = max(values, key=lambda weight: values[weight])
        return values[best], replace(settings, cross_weight=best)

    def _weights(self, index: InvertedIndex, settings: IndexSettings) -> list[float]:
        """0, and powers of two about the ratio of the mean list scores of tokens and of history items."""
        postings, first = index.postings, len(self._used)
        border = postings.indptr[first]
        own, added = postings.scores[:border], postings.scores[border:]
        if not len(own) or not len(added):
            return [0.0]
        ratio = float(own.mean() / added.mean())
        return [0.0, *(ratio * 2.0**octave for octave in OCTAVES)]

    def _value(self, index: InvertedIndex, settings: IndexSettings) -> float:
        """The metric over the queries of all workers."""
        value = self._metrics(index, settings, (self._k,))[self._metric]
        self.tried.append({**asdict(settings), self._metric: value})
        return value

    def metrics(self, settings: IndexSettings, ks: Sequence[int]) -> dict[str, float]:
        """All metrics of settings at some cut-offs, over the queries of all workers."""
        return self._metrics(self._index(settings.prior_strength), settings, ks)

    def _metrics(self, index: InvertedIndex, settings: IndexSettings, ks: Sequence[int]) -> dict[str, float]:
        queries = self._queries
        own = {f"{name}@{k}": 0.0 for k in ks for name in RANKING_METRICS}
        if len(queries):
            terms, weights = self._terms(settings)
            found = index.search(terms, max(ks), weights, exclude=queries.seen)
            own |= ranking_metrics(found.item_ids, queries.target_indptr, queries.target_items, ks)
        return self._world.mean(own, len(queries))

    def _terms(self, settings: IndexSettings) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers of lists (B, T) and weights (B, T)."""
        count = len(self._places)
        distances = self._distances[:, :, : settings.probes]
        places = self._places[:, :, : settings.probes].reshape(count, -1).astype(np.int64)
        weights = probe_weights(distances, settings.probe_temperature).reshape(count, -1)
        if settings.cross_weight is None or self._sources.crosses is None:
            return places, weights
        crosses = self._sources.crosses[0]
        history = self._queries.history
        items = np.where(history > 0, history - 1 + len(self._used), -1)
        share = (history > 0) * replace(crosses, weight=settings.cross_weight).history_weights()
        both = np.concatenate([weights, share], 1).astype(np.float32)
        return np.concatenate([places, items], 1), both


def probe_weights(distances: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Weights (..., P) of probes as of ``ProductQuantizer.probe``, from squared distances (..., P)."""
    scaled = distances / (temperature * np.maximum(distances[..., :1], LEAST_DISTANCE))
    raised = np.exp(scaled[..., :1] - scaled)
    weights: NDArray[np.float32] = (raised / raised.sum(-1, keepdims=True)).astype(np.float32)
    return weights


def _combinations(settings: SettingsTried, codes: int) -> Iterator[tuple[int, float]]:
    """Probes and temperatures; that of a single probe does not matter."""
    for probes in settings.probes:
        if probes <= codes:
            for temperature in settings.temperatures[: 1 if probes == 1 else None]:
                yield probes, temperature
