"""Item tower: ids and features of items -> item tokens and item vectors."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from sparcode.model.features import FeatureEmbedding
from sparcode.model.layers import embedding_table
from sparcode.types import FeatureSpec


class ItemTower(nn.Cell):
    """Embeds items; one token for the id and one for each feature.

    Args:
        num_items: catalogue size I; internal ids are 1..I and 0 is padding.
        width: embedding width d.
        specs: item features besides the id.

    The tokens feed the interaction scorers; their sum is the item vector of the two-tower model and
    of the history encoders.
    """

    def __init__(self, num_items: int, width: int, specs: Sequence[FeatureSpec] = ()) -> None:
        super().__init__()
        self.id_table = embedding_table(num_items + 1, width, "id_table")
        self.features = nn.CellList([FeatureEmbedding(spec, width) for spec in specs])
        self.num_item_tokens = 1 + len(specs)

    def construct(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """ids (C,) int32 and one row tensor per feature -> item tokens (C, K_i, d)."""
        tokens: tuple[Tensor, ...] = (ops.gather(self.id_table, ids, 0),)
        for embed, rows in zip(self.features, feature_rows):
            tokens = (*tokens, embed(rows))
        return ops.stack(tokens, 1)

    def vectors(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """ids (C,) int32 and one row tensor per feature -> item vectors (C, d), the sum of the tokens."""
        total = ops.gather(self.id_table, ids, 0)
        for embed, rows in zip(self.features, feature_rows):
            total = total + embed(rows)
        return total
