"""Query encoder: history encoder plus optional user features."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Tensor, nn, ops

from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.features import FeatureEmbedding
from sparcode.model.layers import MLP
from sparcode.types import FeatureSpec


class QueryEncoder(nn.Cell):
    """Encodes histories and user features into query vectors.

    Args:
        history: encoder of the item sequence.
        width: width d of item embeddings and query vectors.
        hidden_size: hidden width of the network that joins history and user features.
        specs: user features; none leaves the history state as it is.
    """

    def __init__(
        self, history: HistoryEncoder, width: int, hidden_size: int, specs: Sequence[FeatureSpec] = ()
    ) -> None:
        super().__init__()
        self.history = history
        self.noise_layers = history.noise_layers
        self.features = nn.CellList([FeatureEmbedding(spec, width) for spec in specs])
        self.has_features = len(specs) > 0
        if self.has_features:
            self.join = MLP([width * (1 + len(specs)), hidden_size, width])

    def _with_features(self, state: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        parts: tuple[Tensor, ...] = (state,)
        for embed, rows in zip(self.features, feature_rows):
            parts = (*parts, embed(rows))
        return state + self.join(ops.concat(parts, 1))

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
        state = ops.gather(states, query_index, 0)  # (Q, d)
        if not self.has_features:
            return state
        row = ops.floor_divide(query_index, length).astype(ms.int32)
        picked: tuple[Tensor, ...] = ()
        for values in feature_rows:
            picked = (*picked, ops.gather(values, row, 0))
        return self._with_features(state, picked)
