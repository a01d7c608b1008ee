"""Second stage of serving: the best items of the search, by the unquantized scores of the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError
from sparcode.index.search.rescoring import CandidateParts, CandidateRanking, HistoryLists, score_each
from sparcode.serving.bundle import Bundle
from sparcode.serving.manifest import Manifest
from sparcode.serving.session import EncodedQueries, ScorerSession
from sparcode.types import SearchResult


class Rescorer:
    """Scores candidates by the tokens of the query as they are, without quantization.

    A score is what the network gives for unquantized tokens: the sum over the tokens of E, or of relu(E + b);
    with crosses, and what their whole table adds. Dot products are compiled where the bundle holds item parts
    or vectors, other scores come from the scorer graph.
    For a two-tower bundle they are those that the search has already used.

    Args:
        bundle: an opened bundle.

    Raises:
        BundleError: the bundle does not say how token scores add up, or holds crosses only as far as they are
            in its lists.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if manifest.signed_scores is None:
            raise BundleError(
                "the bundle does not say how the scores of tokens add up, so nothing can be rescored",
                where=bundle.directory,
                remedy="export it again with this version of sparcode",
            )
        if manifest.codes.get("num_item_terms") and bundle.crosses is None:
            raise BundleError(
                "the bundle does not hold the whole table of crosses, so nothing can be rescored",
                where=bundle.directory,
                remedy="export it again with --set eval.rescore=R",
            )
        self._signed = manifest.signed_scores
        self._ranking = CandidateRanking(bundle.crosses)
        self._vectors = _item_vectors(bundle)
        self._parts = None if self._vectors is None else CandidateParts(self._vectors)
        self._scorer: ScorerSession | None = None

    def rescore(self, bundle: Bundle, queries: EncodedQueries, found: SearchResult, k: int) -> SearchResult:
        """Top-k of the candidates of encoded queries.

        Args:
            bundle: the bundle in its present state, which may have other items than at first.
            queries: B encoded queries.
            found: (B, R) their candidates.
            k: results per query.

        Raises:
            BundleError: the scorer graph cannot be loaded.
        """
        vectors = _item_vectors(bundle)
        if vectors is not None and vectors is not self._vectors:  # items were changed
            self._vectors, self._parts = vectors, CandidateParts(vectors)
        tokens = queries.vectors[:, None] if queries.vectors is not None else np.asarray(queries.tokens)
        if self._parts is not None:
            scores = self._parts.scores(tokens.sum(axis=1), found.item_ids)
        else:
            scores = self._graph_scores(bundle, tokens, found.item_ids)
        return self._ranking.best(found.item_ids, scores, k, _history_lists(bundle.manifest, queries))

    def _graph_scores(
        self, bundle: Bundle, tokens: NDArray[np.float32], item_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Scores (B, R) by the scorer graph, for tokens (B, K_u, d) and candidates (B, R)."""
        scorer = self._scorer = self._scorer or ScorerSession(bundle)
        known = bundle.manifest.encoder_items

        def score(row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
            rows = [np.asarray(array[ids]) for array in bundle.item_arrays]
            items = np.where(ids <= known, ids, 0).astype(np.int32)
            parts = scorer.score_rows(tokens[row], items, rows)  # (K_u, n)
            total: NDArray[np.float32] = (parts if self._signed else np.maximum(parts, 0)).sum(0)
            return total

        return score_each(item_ids, score)


def _item_vectors(bundle: Bundle) -> NDArray[np.floating] | None:
    """What queries are multiplied by; None where it takes the scorer graph."""
    return bundle.item_parts if bundle.item_vectors is None else bundle.item_vectors


def _history_lists(manifest: Manifest, queries: EncodedQueries) -> HistoryLists | None:
    """The lists of crosses that the last terms of a query name; None without crosses."""
    item_terms = manifest.codes.get("num_item_terms", 0)
    if not item_terms or queries.term_ids is None or queries.weights is None:
        return None
    places = slice(-manifest.history_length, None)
    first = manifest.codes["num_terms"] - item_terms
    return HistoryLists(queries.term_ids[:, places] - first, queries.weights[:, places])
