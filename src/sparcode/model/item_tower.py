"""Item tower: ids and features of items -> item tokens and item vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mindspore import Tensor, nn, ops

from sparcode.errors import ConfigError
from sparcode.model.feature_embeddings import FeatureEmbedding
from sparcode.model.layers import MLP, embedding_table, inverse_lengths
from sparcode.types import FeatureSpec


@dataclass(frozen=True)
class TowerOptions:
    """How item vectors are made of the embeddings; the fields are keys of the model section.

    Attributes:
        layers: hidden layers of the perceptron over the concatenated embeddings, 0 = the sum alone.
        hidden_size: their width, 0 = the width of the embeddings.
        length: Euclidean length that item vectors have as candidates, 0 = as it comes. With a length, scores
            are cosines times it: an item gains nothing from a longer vector, which popular items would
            otherwise grow (docs/decisions/0012-item-length.md).
        std: standard deviation of the embeddings before training, 0 = 1/sqrt(width).
    """

    layers: int = 0
    hidden_size: int = 0
    length: float = 0.0
    std: float = 0.0


class ItemTower(nn.Cell):
    """Embeds items: one token for the id, one for each feature, and one vector made of them all.

    The item vector of every model is ``v = sum_j e_j + MLP([e_0; e_1; ...])``, the sum of the tokens e_j and
    a residual perceptron of their concatenation. The last layer of the perceptron starts at zero: training
    begins with the sum. An item known by its id alone has nothing to combine, and no perceptron.

    History encoders read the sum without the perceptron and without the length, whatever the model: a batch
    has many times more history items than candidates, and the encoder has layers of its own.

    Args:
        num_items: catalogue size I; internal ids are 1..I and 0 is padding, or an item that is known by its
            features alone: its id token is zero, and training leaves it there.
        width: embedding width d.
        specs: item features besides the id.
        use_ids: whether there is an id token. Without, items are known by their features alone, and an item
            that was never trained is as good as any other.
        options: see TowerOptions.

    Raises:
        ConfigError: neither ids nor features.
    """

    def __init__(
        self,
        num_items: int,
        width: int,
        specs: Sequence[FeatureSpec] = (),
        use_ids: bool = True,
        options: TowerOptions | None = None,
    ) -> None:
        super().__init__()
        if not use_ids and not specs:
            raise ConfigError(
                "items have neither ids nor features",
                where="data.use_item_ids",
                expected="true, or item features in the data set with data.use_item_features",
                received=use_ids,
            )
        options = options or TowerOptions()
        self.num_items = num_items
        self.width = width
        self.use_ids = use_ids
        self.length = options.length
        if use_ids:
            self.id_table = embedding_table(num_items + 1, width, "id_table", options.std)
            values = self.id_table.asnumpy().copy()
            values[0] = 0
            self.id_table.set_data(Tensor(values))
        self.features = nn.CellList([FeatureEmbedding(spec, width, options.std) for spec in specs])
        self.num_item_tokens = int(use_ids) + len(specs)
        self.combines = bool(specs) and options.layers > 0
        if self.combines:
            hidden = [options.hidden_size or width] * options.layers
            self.perceptron = MLP([self.num_item_tokens * width, *hidden, width], zero_output=True)

    @property
    def takes_new_items(self) -> bool:
        """Whether features alone make an item: there are some, and an unknown id adds nothing to them."""
        return bool(len(self.features)) and (not self.use_ids or not self.id_table.asnumpy()[0].any())

    def tokens(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Item ids (C,) int32, one row tensor per feature -> K_i embeddings (C, d), that of the id first."""
        tokens: tuple[Tensor, ...] = ()
        if self.use_ids:
            tokens = (ops.gather(self.id_table, ids, 0),)
        for embed, rows in zip(self.features, feature_rows):
            tokens = (*tokens, embed(rows))
        return tokens

    def sums(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """What history encoders read: (C, d), the sum of the tokens."""
        return _added(self.tokens(ids, feature_rows))

    def combined(self, tokens: tuple[Tensor, ...]) -> Tensor:
        """Tokens of items, K_i times (C, d) -> item vectors (C, d), of the wanted length."""
        vectors = _added(tokens)
        if self.combines:
            vectors = vectors + self.perceptron(ops.concat(tokens, 1))
        return vectors * (self.length * inverse_lengths(vectors)) if self.length else vectors

    def construct(self, ids: Tensor, feature_rows: tuple[Tensor, ...]) -> Tensor:
        """Item ids (C,) int32 and one row tensor per feature -> item vectors (C, d), as items are scored."""
        return self.combined(self.tokens(ids, feature_rows))


def _added(tokens: tuple[Tensor, ...]) -> Tensor:
    total = tokens[0]
    for token in tokens[1:]:
        total = total + token
    return total
