"""Comparing a reloaded bundle with the live model on real queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from sparcode.errors import BundleError
from sparcode.index import InvertedIndex, tokens_of_terms
from sparcode.index.search.dense import DenseIndex
from sparcode.model.inference import ItemParts, TokenBlock
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.sparcode import SparCode
from sparcode.serving.bundle import Bundle
from sparcode.serving.export.real_queries import RealQueries, real_queries
from sparcode.serving.export.rescoring_cases import rescoring_cases
from sparcode.serving.export.writer import ExportRequest, query_encoder
from sparcode.serving.retriever import BATCH_SIZE, Recommendation, Retriever
from sparcode.serving.search import list_adder
from sparcode.serving.session import EncodedQueries, EncoderSession, ScorerSession
from sparcode.types import SearchResult

_CHECKED_TOKENS = 32
_CHECKED_ITEMS = 256
_CHECKED_LISTS = 8


@dataclass(frozen=True)
class Verification:
    """What was compared, and the largest differences, relative to max(1, |value|).

    Attributes:
        num_queries: real queries.
        encoder_error: of tokens or query vectors.
        scorer_error: of the scorer's scores.
        index_error: of postings against the scorer's scores, up to the shift of each list and the error that
            packing may make; 0 for two_tower.
        rescoring_error: of what rescoring reads and answers, up to the rounding of item parts; 0 without.
    """

    num_queries: int
    encoder_error: float
    scorer_error: float
    index_error: float
    rescoring_error: float


def verify_bundle(bundle: Bundle, request: ExportRequest) -> Verification:
    """Check that a reloaded bundle does what the live model does.

    The encoder's term ids must be equal; tokens, vectors and scores within ``export.tolerance``; postings
    equal to the scorer's scores up to one shift per list (which pruning subtracts); and recommendations by
    external ids equal to those of the live model. With ``eval.rescore`` also item parts, crosses, and the
    scores of rescored recommendations.

    Raises:
        BundleError: naming what differs and by how much.
    """
    queries = real_queries(request)
    live = _encode_live(request, queries)
    comparison = _Comparison(bundle, request)
    encoder_error = comparison.encoders(queries, live)
    if isinstance(request.network, SparCode):
        scorer_error, index_error = comparison.tokens(live)
    else:
        scorer_error, index_error = comparison.vectors(live), comparison.item_terms(live)
    comparison.recommendations(queries, live)
    rescoring_error = comparison.rescoring(queries, live) if request.config.eval.rescore else 0.0
    return Verification(len(queries.raw), encoder_error, scorer_error, index_error, rescoring_error)


def _encode_live(request: ExportRequest, queries: RealQueries) -> EncodedQueries:
    """The live encoder, in batches of the size that the retriever uses."""
    cell = query_encoder(request.network, request.crosses)
    cell.set_train(False)
    outputs = []
    for start in range(0, len(queries.raw), BATCH_SIZE):
        arrays = [values[start : start + BATCH_SIZE] for values in (queries.history, *queries.rows)]
        output = cell(*[Tensor(np.ascontiguousarray(array)) for array in arrays])
        outputs.append([part.asnumpy() for part in (output if isinstance(output, tuple) else (output,))])
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    if isinstance(request.network, SparCode):
        return EncodedQueries(*joined)
    return EncodedQueries.of_vectors(*joined)


class _Comparison:
    """The single comparisons; each returns the largest relative difference or raises BundleError."""

    def __init__(self, bundle: Bundle, request: ExportRequest) -> None:
        self._bundle, self._request = bundle, request
        self._scorer = ScorerSession(bundle)
        self._tolerance = request.config.export.tolerance

    def encoders(self, queries: RealQueries, live: EncodedQueries) -> float:
        session = EncoderSession(self._bundle)
        parts = [
            session.encode(
                queries.history[start : start + BATCH_SIZE],
                [rows[start : start + BATCH_SIZE] for rows in queries.rows],
            )
            for start in range(0, len(queries.raw), BATCH_SIZE)
        ]
        error = 0.0
        if live.vectors is not None:
            vectors = np.concatenate([part.vectors for part in parts if part.vectors is not None])
            error = self._close("query vectors", vectors, live.vectors)
        if live.term_ids is None:
            return error
        term_ids = np.concatenate([part.term_ids for part in parts if part.term_ids is not None])
        wrong = int(np.count_nonzero(term_ids != live.term_ids))
        if wrong:
            raise self._differs("term ids", "equal term ids", f"{wrong} of {term_ids.size} that differ")
        weights = np.concatenate([part.weights for part in parts if part.weights is not None])
        error = max(error, self._close("weights of terms", weights, live.weights))
        if live.tokens is None:
            return error
        tokens = np.concatenate([part.tokens for part in parts if part.tokens is not None])
        return max(error, self._close("tokens", tokens, live.tokens))

    def tokens(self, live: EncodedQueries) -> tuple[float, float]:
        """Scorer against network, and postings against scorer, for codes of the queries."""
        codebooks, index = self._bundle.codebooks, self._bundle.index
        if codebooks is None or index is None or live.term_ids is None:
            raise self._differs("bundle", "index and codebooks", None)
        used = np.unique(live.term_ids)
        first_item_term = index.num_terms - self._bundle.manifest.codes.get("num_item_terms", 0)
        item_terms = used[used >= first_item_term]
        used = used[(used >= 0) & (used < first_item_term)]
        terms = _spread(used, _CHECKED_TOKENS)
        tokens = tokens_of_terms(codebooks, terms)
        ids = _spread(np.arange(1, self._bundle.manifest.num_items + 1, dtype=np.int32), _CHECKED_ITEMS)
        parts = ItemParts(self._request.network)(Tensor(ids))
        expected = TokenBlock(self._request.network)(Tensor(tokens), parts).asnumpy()
        scorer_error = self._close("scores", self._scorer.score(tokens, ids), expected)
        filled = used[index.list_lengths()[used] > 0]
        lists = [int(term) for term in _spread(filled, _CHECKED_LISTS)]
        errors = [self._code_list_error(index, term, codebooks) for term in lists]
        return scorer_error, max([*errors, self._item_lists(index, item_terms, first_item_term)], default=0.0)

    def item_terms(self, live: EncodedQueries) -> float:
        """Lists of crosses beside item vectors."""
        index = self._bundle.index
        if index is None or live.term_ids is None:
            return 0.0
        used = np.unique(live.term_ids)
        return self._item_lists(index, used[used >= 0], 0)

    def _item_lists(self, index: InvertedIndex, terms: NDArray[np.int32], first_term: int) -> float:
        filled = _spread(terms[index.list_lengths()[terms] > 0], _CHECKED_LISTS)
        errors = [self._item_list_error(index, int(term), int(term) - first_term + 1) for term in filled]
        return max(errors, default=0.0)

    def _code_list_error(self, index: InvertedIndex, term: int, codebooks: NDArray[np.float32]) -> float:
        """Postings against what the scorer of the bundle and the counts make of the code."""
        items = np.asarray(index.posting_list(term)[0])
        tokens, posterior = tokens_of_terms(codebooks, [term]), self._request.posterior
        if posterior is None:
            return self._posting_error(index, term, self._scorer.score(tokens, items)[0])
        every = np.arange(1, self._bundle.manifest.num_items + 1, dtype=np.int32)
        scores = np.array(self._scorer.score(tokens, every), np.float32)
        posterior.correct(np.array([term]), scores)
        return self._posting_error(index, term, scores[0, items - 1])

    def _item_list_error(self, index: InvertedIndex, term: int, item: int) -> float:
        if self._request.crosses is None:
            raise self._differs("lists of history items", "none", f"term {term}")
        items = np.asarray(index.posting_list(term)[0])
        return self._posting_error(index, term, self._request.crosses.rows[item].toarray()[0, items])

    def _posting_error(self, index: InvertedIndex, term: int, scores: NDArray[np.float32]) -> float:
        """Postings of a list are the scores of its items less one number for the whole list.

        In a packed index each, and so the number too, may differ by what coding did to the score.
        """
        stored = index.posting_list(term)[1]
        shifted = stored + np.median(scores - stored)
        bound = index.coding_error(term)
        slack = bound + bound.max(initial=0.0)
        nearest = np.clip(scores, shifted - slack, shifted + slack)
        return self._close(f"postings of term {term}", nearest, scores)

    def vectors(self, live: EncodedQueries) -> float:
        """Scorer and item vectors against the network."""
        vectors = self._bundle.item_vectors
        if vectors is None or live.vectors is None:
            raise self._differs("bundle", "item vectors", None)
        ids = _spread(np.arange(1, self._bundle.manifest.num_items + 1, dtype=np.int32), _CHECKED_ITEMS)
        parts = ItemParts(self._request.network)(Tensor(ids)).asnumpy()
        queries = np.ascontiguousarray(live.vectors[:_CHECKED_TOKENS])
        error = self._close("scores", self._scorer.score(queries, ids), queries @ parts.T)
        return max(error, self._close("item vectors", vectors[ids], parts))

    def recommendations(self, queries: RealQueries, live: EncodedQueries) -> None:
        """Answers by external ids against a search with the live parts."""
        k = min(max(self._request.config.eval.ks), self._bundle.manifest.num_items)
        answers = Retriever(self._bundle).recommend_detailed(queries.raw, k, exclude_seen=True)
        expected = self._search_live(queries, live, k)
        for number, answer in enumerate(answers):
            if answer.fallback is None:
                self._compare_answer(answer, expected.item_ids[number], expected.scores[number])

    def rescoring(self, queries: RealQueries, live: EncodedQueries) -> float:
        """What rescoring reads and answers against the network and its crosses."""
        cases = rescoring_cases(self._bundle, self._request, queries, live)
        return max((self._close(*case) for case in cases), default=0.0)

    def _search_live(self, queries: RealQueries, live: EncodedQueries, k: int) -> SearchResult:
        lists = self._request.index
        if live.vectors is None and live.term_ids is not None and lists is not None:
            return lists.search(live.term_ids, k, live.weights, exclude=queries.seen)
        add = None if lists is None else list_adder(lists, live)
        vectors = np.asarray(live.vectors)
        return DenseIndex(item_vectors(self._request.network)).search(
            vectors, k, exclude=queries.seen, add=add
        )

    def _compare_answer(
        self, answer: Recommendation, items: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> None:
        found = int(np.count_nonzero(items > 0))
        if len(answer.items) != found:
            raise self._differs("number of recommendations", found, len(answer.items))
        received = np.array([score for _, score in answer.items], np.float32)
        if self._bundle.item_vectors is not None:
            # dot products may differ in the last bit, and near ties change places
            self._close("scores of recommendations", received, scores[:found])
            return
        if isinstance(self._request.network, SparCode) and self._request.network.quantizer.probes > 1:
            # likewise for weights of probes
            self._close("scores of recommendations", received, scores[:found])
            return
        wanted = [self._bundle.item_ids[item - 1] for item in items[:found]]
        if [item for item, _ in answer.items] != wanted or not np.array_equal(received, scores[:found]):
            raise self._differs("recommendations", wanted[:5], answer.items[:5])

    def _close(self, what: str, received: NDArray[Any], expected: NDArray[Any] | None) -> float:
        if expected is None or received.shape != expected.shape:
            shape = None if expected is None else expected.shape
            raise self._differs(f"shape of {what}", shape, received.shape)
        if not expected.size:
            return 0.0
        error = float(np.max(np.abs(received - expected) / np.maximum(1.0, np.abs(expected))))
        if not error <= self._tolerance:  # false for NaN too
            raise self._differs(
                what, f"a difference of at most {self._tolerance:g} (export.tolerance)", f"{error:.3g}"
            )
        return error

    def _differs(self, what: str, expected: object, received: object) -> BundleError:
        return BundleError(
            f"the reloaded bundle differs from the live model in {what}; it was deleted",
            where=self._request.output,
            expected=expected,
            received=received,
        )


def _spread(values: NDArray[Any], count: int) -> NDArray[Any]:
    """At most ``count`` of the values, evenly spread."""
    if len(values) <= count:
        return values
    picked: NDArray[Any] = values[np.linspace(0, len(values) - 1, count).astype(np.int64)]
    return picked
