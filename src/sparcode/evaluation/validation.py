"""Validation during training: the metrics that checkpoints are chosen by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparcode.crosses import CrossTable
from sparcode.evaluation.code_scorer import CodeScorer, exhaustive_scorer
from sparcode.evaluation.cross_weight import choose_cross_weight
from sparcode.evaluation.metrics import RANKING_METRICS, parse_metric
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import SCORE_BATCH, ExhaustiveRanker
from sparcode.evaluation.report import relevance
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.model.matching import MatchingNetwork
from sparcode.training.world import World


@dataclass(frozen=True)
class ValidationOptions:
    """What is measured.

    Attributes:
        monitor: metric that checkpoints are chosen by, such as ``ndcg@50``.
        ks: cut-offs of the other metrics.
        cross_weights: weights of the crosses to try, None = as ``choose_cross_weight`` does.
    """

    monitor: str
    ks: Sequence[int]
    cross_weights: Sequence[float] | None = None


class Validator:
    """Full ranking of validation queries as the model is served, or as its first phase has it.

    Served is with the probes of the index and with crosses. A weight of theirs that is not given is chosen on
    the same queries, as that of the best checkpoint is. The queries are divided among the workers.

    Args:
        network: in training; its present weights are measured at every call.
        queries: at least one, of all workers.
        options: what is measured.
        crosses: of weight 1; None = the model has none.
        world: the workers.
    """

    def __init__(
        self,
        network: MatchingNetwork,
        queries: QuerySet,
        options: ValidationOptions,
        crosses: CrossTable | None,
        world: World,
    ) -> None:
        self._network, self._queries, self._options = network, queries, options
        self._crosses, self._world = crosses, world
        self._ks = sorted({*options.ks, parse_metric(options.monitor)[1]})
        self._measures: dict[bool, Callable[[], dict[str, float]]] = {}

    def __call__(self, quantized: bool) -> dict[str, float]:
        """Metrics by name; with crosses ``cross_weight`` as well.

        Args:
            quantized: whether the network's codes are used already.
        """
        if quantized not in self._measures:
            self._measures[quantized] = self._measure(quantized)
        return self._measures[quantized]()

    def _measure(self, quantized: bool) -> Callable[[], dict[str, float]]:
        """What measures the present weights; its graphs are compiled once."""
        network = self._network if quantized else self._network.warm_start()
        num_items, crosses = network.tower.num_items, self._crosses
        if crosses is not None:
            scorer = exhaustive_scorer(network, num_items, SCORE_BATCH, quantized)
            return lambda: self._with_crosses(scorer, crosses)
        ranker = ExhaustiveRanker(network, num_items, quantized)

        def alone() -> dict[str, float]:
            ranker.refresh()
            return relevance(ranker, self._queries, self._ks, True, self._world)

        return alone

    def _with_crosses(self, scorer: ExhaustiveScorer | CodeScorer, crosses: CrossTable) -> dict[str, float]:
        scorer.refresh()
        monitor = self._options.monitor
        keys = [f"{name}@{k}" for name in RANKING_METRICS for k in self._ks]
        keys.sort(key=lambda key: key != monitor)  # the first one decides
        own = self._queries.part(self._world.share(len(self._queries)))
        choice = choose_cross_weight(
            scorer.scores, crosses, own, keys, self._world, self._options.cross_weights
        )
        return {**choice.metrics, "cross_weight": choice.weight}
