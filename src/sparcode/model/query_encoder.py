"""Query encoder: history encoder plus optional user features."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Tensor, nn, ops

from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.encoders.sasrec import AttentionBlock
from sparcode.model.feature_embeddings import FeatureEmbedding
from sparcode.model.layers import MLP
from sparcode.types import FeatureSpec


class MLPJoin(MLP):
    """History state and feature vectors side by side through a perceptron: (B, 1 + F, d) -> (B, d).

    Args:
        width: d.
        num_features: F.
        hidden_size: width of the hidden layer.
    """

    def __init__(self, width: int, num_features: int, hidden_size: int) -> None:
        super().__init__([width * (1 + num_features), hidden_size, width])

    def construct(self, parts: Tensor) -> Tensor:
        """(B, 1 + F, d) -> (B, d)."""
        return super().construct(parts.reshape(parts.shape[0], -1))


class AttentionJoin(nn.Cell):
    """Self-attention among history state and feature vectors, then their mean: (B, 1 + F, d) -> (B, d).

    The self-attention encoder over feature embeddings of SparCode's cold-start table: every feature sees
    every other.

    Args:
        width: d, divisible by num_heads.
        num_heads: attention heads.
        hidden_size: width of the feed-forward layer.
    """

    def __init__(self, width: int, num_heads: int, hidden_size: int) -> None:
        super().__init__()
        self.block = AttentionBlock(width, num_heads, hidden_size, dropout=0.0)
        self.open = Tensor(0.0, ms.float32)

    def construct(self, parts: Tensor) -> Tensor:
        """(B, 1 + F, d) -> (B, d)."""
        return self.block(parts, self.open, ()).mean(1)


class QueryEncoder(nn.Cell):
    """Encodes histories and user features into query vectors.

    Args:
        history: encoder of the item sequence.
        width: width d of item embeddings and query vectors.
        join: what history state and user features become a query by; None without features.
        specs: user features; none leaves the history state as it is.
    """

    def __init__(
        self,
        history: HistoryEncoder,
        width: int,
        join: MLPJoin | AttentionJoin | None,
        specs: Sequence[FeatureSpec] = (),
    ) -> None:
        super().__init__()
        self.history = history
        self.noise_layers = history.noise_layers
        self.features = nn.CellList([FeatureEmbedding(spec, width) for spec in specs])
        self.has_features = join is not None
        if join is not None:
            self.join = join

    def _with_features(self, state: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        parts: tuple[Tensor, ...] = (state,)
        for embed, rows in zip(self.features, feature_rows):
            parts = (*parts, embed(rows))
        return state + self.join(ops.stack(parts, 1))

    def last(
        self, items: Tensor, mask: Tensor, feature_rows: tuple[Tensor, ...], noise: Tensor | None
    ) -> Tensor:
        """Item vectors (S, L, d), mask (S, L), user feature rows (S, ...) -> query vectors (S, d)."""
        state = self.history.last(items, mask, noise)
        return self._with_features(state, feature_rows) if self.has_features else state

    def at(
        self,
        items: Tensor,
        mask: Tensor,
        feature_rows: tuple[Tensor, ...],
        noise: Tensor | None,
        query_index: Tensor,
    ) -> Tensor:
        """Query vectors (Q, d) at chosen positions.

        query_index (Q,) int32 counts places of the (S, L) history: row * L + position.
        """
        rows, length, width = items.shape
        states = self.history.states(items, mask, noise).reshape(rows * length, width)
        state = self.history.output(ops.gather(states, query_index, 0))  # (Q, d)
        if not self.has_features:
            return state
        row = ops.floor_divide(query_index, length).astype(ms.int32)
        picked: tuple[Tensor, ...] = ()
        for values in feature_rows:
            picked = (*picked, ops.gather(values, row, 0))
        return self._with_features(state, picked)
