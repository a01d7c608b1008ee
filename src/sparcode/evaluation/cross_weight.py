"""The weight of crosses that ranks queries best beside a model's own scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sparcode.crosses import CrossTable, ScoreBlock, WeightChoice, choose_weight
from sparcode.crosses.choice import Workers
from sparcode.crosses.cross_table import Scores
from sparcode.evaluation.metrics import parse_metric, ranking_metrics
from sparcode.evaluation.query_set import QuerySet
from sparcode.evaluation.rankers import SCORE_BATCH, mask_seen
from sparcode.index.search.results import top_k_of_scores


def choose_cross_weight(
    own: Scores,
    crosses: CrossTable,
    queries: QuerySet,
    keys: Sequence[str],
    workers: Workers,
    weights: Sequence[float] | None = None,
) -> WeightChoice:
    """Rank queries by a model's scores plus crosses of several weights; seen items are no results.

    Args:
        own: scores of the model alone, from histories of ``crosses.encoder_length``.
        crosses: of weight 1.
        queries: of this worker, with histories of ``crosses.history_length``.
        keys: metrics such as ``ndcg@50``; the first one decides.
        workers: that the queries are divided among.
        weights: to try, as of :func:`~sparcode.crosses.choose_weight`.

    Raises:
        ConfigError: no worker has a query.
    """
    ks = sorted({parse_metric(key)[1] for key in keys})

    def blocks() -> Iterator[ScoreBlock]:
        for start in range(0, len(queries), SCORE_BATCH):
            rows = slice(start, min(start + SCORE_BATCH, len(queries)))
            history = queries.history[rows]
            scores = own(history[:, -crosses.encoder_length :], [part[rows] for part in queries.user_rows])
            mask_seen(scores, queries.seen[rows])
            yield ScoreBlock(rows, scores, crosses.scores(history))

    def values(rows: slice, scores: NDArray[np.float32]) -> list[float]:
        part = queries.part(rows)
        item_ids = top_k_of_scores(scores, ks[-1]).item_ids
        found = ranking_metrics(item_ids, part.target_indptr, part.target_items, ks)
        return [found[key] for key in keys]

    return choose_weight(blocks(), values, keys, workers, weights)
