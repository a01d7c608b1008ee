"""Second stage of serving: the best items of the search, scored by the bundle's scorer graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import BundleError
from sparcode.index.search.rescoring import listed_scores, rescore
from sparcode.serving.bundle import Bundle
from sparcode.serving.search import list_adder
from sparcode.serving.session import EncodedQueries, ScorerSession
from sparcode.types import SearchResult


class Rescorer:
    """Scores candidates by the tokens of the query as they are, without quantization.

    A score is what the network gives for unquantized tokens: the sum over the tokens of E, or of relu(E + b);
    with crosses, and what the index holds of them.
    For a two-tower bundle it is the dot product, which the search has already used.

    Args:
        bundle: an opened bundle.

    Raises:
        BundleError: the bundle does not say how token scores add up, or its scorer cannot be loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.manifest.signed_scores is None:
            raise BundleError(
                "the bundle does not say how the scores of tokens add up, so nothing can be rescored",
                where=bundle.directory,
                remedy="export it again with this version of sparcode",
            )
        self._signed = bundle.manifest.signed_scores
        self._scorer = ScorerSession(bundle)

    def rescore(self, bundle: Bundle, queries: EncodedQueries, found: SearchResult, k: int) -> SearchResult:
        """Top-k of the candidates of encoded queries.

        Args:
            bundle: the bundle in its present state, which may have other items than at first.
            queries: B encoded queries.
            found: (B, R) their candidates.
            k: results per query.
        """
        tokens = queries.vectors[:, None] if queries.vectors is not None else np.asarray(queries.tokens)
        known = bundle.manifest.encoder_items

        def scores(row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
            rows = [np.asarray(array[ids]) for array in bundle.item_arrays]
            items = np.where(ids <= known, ids, 0).astype(np.int32)
            parts = self._scorer.score_rows(tokens[row], items, rows)  # (K_u, n)
            total: NDArray[np.float32] = (parts if self._signed else np.maximum(parts, 0)).sum(0)
            return total

        return rescore(found, scores, k, self._kept_scores(bundle, queries, found.item_ids))

    @staticmethod
    def _kept_scores(
        bundle: Bundle, queries: EncodedQueries, item_ids: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        """What candidates have from crosses, which no scorer replaces; None without crosses."""
        manifest = bundle.manifest
        if not manifest.codes.get("num_item_terms") or bundle.index is None:
            return None
        if queries.term_ids is None or queries.weights is None:
            return None
        if bundle.live is None:
            added = np.zeros((len(item_ids), manifest.num_items + 1), np.float32)
            list_adder(bundle.index, queries)(added, 0)
            return np.take_along_axis(added, np.maximum(item_ids, 0), axis=1)
        items = slice(-manifest.history_length, None)
        terms, weights = queries.term_ids[:, items], queries.weights[:, items]
        return listed_scores(bundle.live.search, terms, weights, item_ids)
