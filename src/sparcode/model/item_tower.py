"""Item tower: ids and features of items -> item tokens and item vectors."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Tensor, nn, ops

from sparcode.errors import ConfigError
from sparcode.model.features import FeatureEmbedding
from sparcode.model.layers import added_tokens, embedding_table, inverse_lengths
from sparcode.types import FeatureSpec


class ItemTower(nn.Cell):
    """Embeds items; one token for the id and one for each feature.

    Args:
        num_items: catalogue size I; internal ids are 1..I and 0 is padding.
        width: embedding width d.
        specs: item features besides the id.
        use_ids: whether there is an id token. Without, items are known by their features alone, and an item
            that was never trained is as good as any other.
        length: Euclidean length that item vectors have as candidates, 0 = as it comes. With a length, scores
            are cosines times it: an item gains nothing from a longer vector, which popular items would
            otherwise grow (docs/decisions/0012-item-length.md).
        std: standard deviation of the embeddings of ids and features before training, 0 = 1/sqrt(width).

    The tokens feed the interaction scorers; their sum is the item vector of the two-tower model and
    of the history encoders, which read it without the length.

    Raises:
        ConfigError: neither ids nor features.
    """

    def __init__(
        self,
        num_items: int,
        width: int,
        specs: Sequence[FeatureSpec] = (),
        use_ids: bool = True,
        length: float = 0.0,
        std: float = 0.0,
    ) -> None:
        super().__init__()
        if not use_ids and not specs:
            raise ConfigError(
                "items have neither ids nor features",
                where="data.use_item_ids",
                expected="true, or item features in the data set with data.use_item_features",
                received=use_ids,
            )
        self.num_items = num_items
        self.width = width
        self.use_ids = use_ids
        self.length = length
        if use_ids:
            self.id_table = embedding_table(num_items + 1, width, "id_table", std)
        self.features = nn.CellList([FeatureEmbedding(spec, width, std) for spec in specs])
        self.num_item_tokens = int(use_ids) + len(specs)

    def construct(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """ids (C,) int32, one row tensor per feature -> (C, K_i, d), tokens that add up to ``candidates``."""
        tokens: tuple[Tensor, ...] = ()
        if self.use_ids:
            tokens = (ops.gather(self.id_table, ids, 0),)
        for embed, rows in zip(self.features, feature_rows):
            tokens = (*tokens, embed(rows))
        stacked = ops.stack(tokens, 1)
        if self.length:
            stacked = stacked * ops.expand_dims(self._scales(added_tokens(stacked)), 2)
        return stacked

    def candidates(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """As ``vectors``, for items that are scored: (C, d), of the wanted length."""
        vectors = self.vectors(ids, feature_rows)
        return vectors * self._scales(vectors) if self.length else vectors

    def _scales(self, vectors: Tensor) -> Tensor:
        """(C, d) -> (C, 1), the factors that give them the wanted length."""
        return self.length * inverse_lengths(vectors)

    def vectors(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """ids (C,) int32 and one row tensor per feature -> item vectors (C, d), the sum of the tokens."""
        if self.use_ids:
            total = ops.gather(self.id_table, ids, 0)
        else:
            total = ops.zeros((ids.shape[0], self.width), ms.float32)
        for embed, rows in zip(self.features, feature_rows):
            total = total + embed(rows)
        return total
