"""Base of all models: one encoder, one item tower, and a similarity that tells the models apart."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
from mindspore import Tensor, nn, ops

from sparcode.model.feature_embeddings import FeatureStore
from sparcode.model.item_tower import ItemTower
from sparcode.model.query_encoder import QueryEncoder


@dataclass(frozen=True)
class Towers:
    """What every model has.

    Attributes:
        encoder: query encoder.
        items: item tower.
        store: feature rows of all items.
    """

    encoder: QueryEncoder
    items: ItemTower
    store: FeatureStore


class MatchingNetwork(nn.Cell):
    """Query encoder, item tower and item features; subclasses add the similarity.

    A subclass turns query vectors (Q, d) into a *query part* and item ids into an *item part*, and scores
    parts against each other; both sides are computed once however many pairs there are. The item part is the
    item vector unless a subclass says otherwise.

    Args:
        towers: encoder, item tower and item features.
        owner: whether the weights are named after this network; False for a second view on those of another.
    """

    commitment_weight = 0.0
    """Weight of the squared quantization error in the loss."""

    shares_codes = False
    """Whether a training step scores the distinct codes of its batch: see ``SparCode.shared_cross``."""

    def __init__(self, towers: Towers, owner: bool = True) -> None:
        super().__init__(auto_prefix=owner)
        self.encoder = towers.encoder
        self.tower = towers.items
        self.store = towers.store

    def warm_start(self) -> MatchingNetwork:
        """The network whose scores the phase without quantization trains; it has the same weights."""
        return self

    # ---- query side

    def _history(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """History ids (S, L) -> item vectors (S, L, d) and mask (S, L)."""
        length = history.shape[1]
        flat = history.reshape(-1)
        vectors = self.tower.sums(flat, self.store(flat))
        mask = (history > 0).astype(ms.float32)
        return vectors.reshape(-1, length, vectors.shape[-1]), mask

    def query_vectors(self, history: Tensor, user_rows: tuple[Tensor, ...]) -> Tensor:
        """Query vectors (S, d) of whole histories (S, L) int32, without dropout."""
        items, mask = self._history(history)
        return self.encoder.last(items, mask, user_rows, None)

    def training_queries(
        self,
        history: Tensor,
        user_rows: tuple[Tensor, ...],
        noise: Tensor | None,
        query_index: Tensor | None,
    ) -> Tensor:
        """Query vectors (Q, d): one per row, or at the chosen positions (Q,) of the (S, L) histories."""
        items, mask = self._history(history)
        if query_index is None:
            return self.encoder.last(items, mask, user_rows, noise)
        return self.encoder.at(items, mask, user_rows, noise, query_index)

    # ---- item side

    def item_part(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """Item ids (C,) and their feature rows -> item part (C, P_i)."""
        return self.tower(ids, feature_rows)

    def stored_item_part(self, ids: Tensor) -> Tensor:
        """Item ids (C,) of the catalogue -> item part (C, P_i)."""
        return self.item_part(ids, self.store(ids))

    # ---- similarity

    def query_part(self, queries: Tensor) -> Tensor:
        """Query vectors (Q, d), not quantized -> query part, Q rows."""
        raise NotImplementedError

    def training_parts(
        self, queries: Tensor, quantized_queries: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a training step needs of the queries.

        Args:
            queries: query vectors (Q, d).
            quantized_queries: (Q,) float32, 1 = with quantized tokens, 0 = without; None = all without, and
                the codes are not looked for. Models without a quantizer do not use it.

        Returns:
            query part, squared quantization error (Q,), tokens (Q, K_u, D), codes (Q, K_u, M). Models
            without a quantizer return zeros for the error and placeholders of one element for the others.
        """
        error = ops.zeros_like(queries[:, 0])
        placeholders = ops.zeros((1, 1, 1), ms.float32), ops.zeros((1, 1, 1), ms.int32)
        return self.query_part(queries), error, placeholders[0], placeholders[1]

    def cross(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Every query against every item: -> scores (Q, C)."""
        raise NotImplementedError

    def aligned(self, query_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Each query against its own item: Q query parts, item parts (Q, P_i) -> scores (Q,)."""
        raise NotImplementedError
