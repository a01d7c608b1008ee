"""Inference graphs: what evaluation runs and what export writes."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from sparcode.model.matchers.all_to_all import AllToAll
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matchers.two_tower import TwoTower
from sparcode.model.matching import MatchingNetwork


class ItemTerms(nn.Cell):
    """history (B, L') int32 -> term ids (B, L') int32 of its items, -1 for padding, and weights (B, L').

    Args:
        first_term: of item 1.
        history_weights: (L',) float32, what each place counts.
    """

    def __init__(self, first_term: int, history_weights: NDArray[np.float32]) -> None:
        super().__init__(auto_prefix=False)
        self.before_first = first_term - 1
        self.history_weights = Tensor(history_weights[None])  # (1, L')

    def construct(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L') int32 -> term ids (B, L') int32, weights (B, L') float32."""
        terms = ops.select(history > 0, history + self.before_first, ops.full_like(history, -1))
        return terms, (history > 0).astype(ms.float32) * self.history_weights


class VectorEncoder(nn.Cell):
    """history (B, L) int32 and user feature rows -> query vectors (B, d) of a two-tower model.

    With ``history_weights`` (L',) the history is (B, L'), of which the network reads the last ``read_items``,
    and all its items are terms with weights: vectors (B, d), term ids (B, L') and weights (B, L').
    """

    def __init__(
        self, network: TwoTower, history_weights: NDArray[np.float32] | None = None, read_items: int = 0
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.has_items = history_weights is not None
        if history_weights is not None:
            self.skipped = len(history_weights) - read_items
            self.item_terms = ItemTerms(0, history_weights)

    def construct(self, history: Tensor, *user_rows: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """(B, L) -> vectors (B, d); with crosses (B, L') -> also term ids and weights (B, L')."""
        if self.has_items:
            terms, weights = self.item_terms(history)
            return self.network.query_vectors(history[:, self.skipped :], user_rows), terms, weights
        return self.network.query_vectors(history, user_rows)


class CodeEncoder(nn.Cell):
    """history (B, L) int32 and user feature rows -> what a search needs to know of the queries.

    Term ids (B, K_u * P) int32 and their weights (B, K_u * P) float32, P probes of a token together, and
    tokens (B, K_u, d) float32, lifted, without quantization: rescoring starts from them.

    With ``history_weights`` (L',) the history is (B, L'), of which the network reads the last ``read_items``;
    the terms of all its items, -1 for padding, and their weights follow those of the tokens:
    (B, K_u * P + L').

    It keeps the codewords in the form that distances are calculated from, as they are when it is made or
    at the last ``refresh``.
    """

    def __init__(
        self, network: SparCode, history_weights: NDArray[np.float32] | None = None, read_items: int = 0
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        table = Tensor(network.quantizer.distance_table())
        self.table = Parameter(table, name="distance_table", requires_grad=False)
        self.has_items = history_weights is not None
        if history_weights is not None:
            self.skipped = len(history_weights) - read_items
            self.item_terms = ItemTerms(network.quantizer.num_terms, history_weights)

    def refresh(self) -> None:
        """Read the present codebooks of the network."""
        self.table.set_data(Tensor(self.network.quantizer.distance_table()))

    def construct(self, history: Tensor, *user_rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L) or (B, L') -> term ids (B, T) int32, weights (B, T), lifted tokens (B, K_u, d)."""
        read = history[:, self.skipped :] if self.has_items else history
        queries = self.network.query_vectors(read, user_rows)
        terms, weights, tokens = self.network.served_terms(queries, self.table)
        if self.has_items:
            items, counts = self.item_terms(history)
            terms, weights = ops.concat((terms, items), 1), ops.concat((weights, counts), 1)
        return terms, weights, self.network.lift(tokens)


class TrainingTokens(nn.Cell):
    """Tokens (Q, K_u, D) of training queries, as the quantizer sees them.

    Args:
        network: of tokens.
        every_position: whether queries stand at given positions of the histories (ordered data).
    """

    def __init__(self, network: AllToAll, every_position: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.every_position = every_position

    def construct(self, history: Tensor, query_index: Tensor, *user_rows: Tensor) -> Tensor:
        """(S, L) int32, places (Q,) int32 in it and user feature rows (S, ...) -> (Q, K_u, D)."""
        places = query_index if self.every_position else None
        return self.network.tokens(self.network.training_queries(history, user_rows, None, places))


class TrainingTerms(nn.Cell):
    """Term ids (Q, K_u) int32 of training queries; arguments as of ``TrainingTokens``."""

    def __init__(self, network: SparCode, every_position: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.every_position = every_position

    def construct(self, history: Tensor, query_index: Tensor, *user_rows: Tensor) -> Tensor:
        """(S, L) int32, places (Q,) int32 in it and user feature rows (S, ...) -> (Q, K_u)."""
        places = query_index if self.every_position else None
        return self.network.code_terms(self.network.training_queries(history, user_rows, None, places))


class NearestCodes(nn.Cell):
    """history (B, L) int32 and user feature rows -> what every choice of probes starts from.

    Args:
        network: trained sparcode model.
        probes: P, the most that a choice may have.
    """

    def __init__(self, network: SparCode, probes: int) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.probes = probes

    def construct(self, history: Tensor, *user_rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) -> term ids (B, K_u * P) int32, nearest first, and squared distances (B, K_u, P)."""
        quantizer = self.network.quantizer
        tokens = self.network.tokens(self.network.query_vectors(history, user_rows))
        codes, distances = quantizer.nearest(tokens, self.probes)
        return quantizer.probe_terms(codes), distances


class TokenItemScorer(nn.Cell):
    """lifted tokens (T, d), item ids (C,), item feature rows -> (T, C), see AllToAll.token_scores."""

    def __init__(self, network: AllToAll) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: Tensor, ids: Tensor, *feature_rows: Tensor) -> Tensor:
        """(T, d), (C,) int32 and item feature rows (C, ...) -> (T, C)."""
        token_parts = self.network.scorer.token_part(tokens)
        return self.network.token_scores(token_parts, self.network.item_part(ids, feature_rows))


class VectorItemScorer(nn.Cell):
    """query vectors (T, d), item ids (C,) and item feature rows -> dot products (T, C) float32."""

    def __init__(self, network: TwoTower) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, vectors: Tensor, ids: Tensor, *feature_rows: Tensor) -> Tensor:
        """(T, d), (C,) int32 and item feature rows (C, ...) -> (T, C)."""
        return self.network.cross(vectors, self.network.item_part(ids, feature_rows))


class CandidateScores(nn.Cell):
    """lifted tokens (1, K_u, d) of a query and the parts (C, P_i) of items -> its scores (C,)."""

    def __init__(self, network: AllToAll) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: Tensor, item_parts: Tensor) -> Tensor:
        """(1, K_u, d), (C, P_i) -> (C,)."""
        return self.network.cross(self.network.lifted_part(tokens), item_parts)[0]


class ItemParts(nn.Cell):
    """item ids (C,) of the catalogue -> item parts (C, P_i)."""

    def __init__(self, network: MatchingNetwork) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, ids: Tensor) -> Tensor:
        """(C,) int32 -> (C, P_i)."""
        return self.network.stored_item_part(ids)


class TokenBlock(nn.Cell):
    """lifted tokens (T, d) and item parts (C, P_i) -> token scores (T, C)."""

    def __init__(self, network: AllToAll) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: Tensor, item_parts: Tensor) -> Tensor:
        """(T, d), (C, P_i) -> (T, C)."""
        return self.network.token_scores(self.network.scorer.token_part(tokens), item_parts)


class TokenParts(nn.Cell):
    """lifted tokens (T, d) -> token parts (T, P_t)."""

    def __init__(self, network: AllToAll) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: Tensor) -> Tensor:
        """(T, d) -> (T, P_t)."""
        return self.network.scorer.token_part(tokens)


class PartScores(nn.Cell):
    """token parts (T, P_t) and item parts (C, P_i) -> token scores (T, C): the builder's inner loop."""

    def __init__(self, network: AllToAll) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, token_parts: Tensor, item_parts: Tensor) -> Tensor:
        """(T, P_t), (C, P_i) -> (T, C)."""
        return self.network.token_scores(token_parts, item_parts)


class QueryScores(nn.Cell):
    """history (B, L), item parts (C, P_i), user feature rows -> scores (B, C) without quantization."""

    def __init__(self, network: MatchingNetwork) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, history: Tensor, item_parts: Tensor, *user_rows: Tensor) -> Tensor:
        """(B, L) int32, (C, P_i) and user feature rows (B, ...) -> (B, C)."""
        queries = self.network.query_vectors(history, user_rows)
        return self.network.cross(self.network.query_part(queries), item_parts)
