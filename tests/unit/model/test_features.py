"""Features, item tower and the store of item features, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from sparcode.model.features import FeatureEmbedding, FeatureStore
from sparcode.model.item_tower import ItemTower
from sparcode.types import FeatureSpec

WIDTH = 3
SPECS = (
    FeatureSpec("category", "categorical", 4),
    FeatureSpec("tags", "multi", 5, 3),
    FeatureSpec("content", "dense", 2, 2),
)
ARRAYS = {
    "category": np.array([0, 2, 3, 0], np.int32),
    "tags": np.array([[0, 0, 0], [1, 4, 0], [0, 0, 0], [2, 3, 4]], np.int32),
    "content": np.array([[0, 0], [1, 2], [3, 4], [5, 6]], np.float32),
}


class Tower(nn.Cell):
    """Tokens and vectors of ids of the catalogue."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.store = ItemTower(3, WIDTH, SPECS), FeatureStore(SPECS, ARRAYS)

    def construct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.tower(ids, self.store(ids)), self.tower.vectors(ids, self.store(ids))


def test_a_category_is_its_row_and_a_missing_one_is_zero(mode: str) -> None:
    cell = FeatureEmbedding(SPECS[0], WIDTH)
    found = cell(Tensor(np.array([3, 0, 1], np.int32))).asnumpy()
    table = cell.table.asnumpy()
    np.testing.assert_allclose(found, [table[3], np.zeros(WIDTH), table[1]], rtol=1e-6)
    assert table[0].any()  # so that the zero above is not an accident


def test_a_set_is_the_mean_of_its_values_and_an_empty_one_is_zero(mode: str) -> None:
    cell = FeatureEmbedding(SPECS[1], WIDTH)
    found = cell(Tensor(np.array([[1, 4, 0], [2, 0, 0], [0, 0, 0]], np.int32))).asnumpy()
    table = cell.table.asnumpy()
    np.testing.assert_allclose(found, [(table[1] + table[4]) / 2, table[2], np.zeros(WIDTH)], rtol=1e-5)


def test_a_dense_feature_is_a_linear_map(mode: str) -> None:
    cell = FeatureEmbedding(SPECS[2], WIDTH)
    rows = np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)
    weight, bias = cell.project.weight.asnumpy(), cell.project.bias.asnumpy()
    np.testing.assert_allclose(cell(Tensor(rows)).asnumpy(), rows @ weight.T + bias, rtol=1e-5)


def test_tokens_are_id_and_features_and_the_vector_is_their_sum(mode: str) -> None:
    cell = Tower()
    ids = np.array([2, 0, 3], np.int32)
    tokens, vectors = (part.asnumpy() for part in cell(Tensor(ids)))
    assert tokens.shape == (3, 4, WIDTH)
    assert cell.tower.num_item_tokens == 4
    np.testing.assert_array_equal(tokens[:, 0], cell.tower.id_table.asnumpy()[ids])
    for place, spec in enumerate(SPECS):
        expected = cell.tower.features[place](Tensor(ARRAYS[spec.name][ids])).asnumpy()
        np.testing.assert_allclose(tokens[:, 1 + place], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(vectors, tokens.sum(1), rtol=1e-5, atol=1e-6)


def test_the_store_is_no_trainable_state() -> None:
    cell = Tower()
    assert {parameter.name.split(".")[0] for parameter in cell.get_parameters()} == {"tower"}


@pytest.mark.parametrize("ids", [[1], [3, 3, 0]])
def test_the_store_returns_the_rows_of_the_ids(ids: list[int]) -> None:
    rows = FeatureStore(SPECS, ARRAYS)(Tensor(np.array(ids, np.int32)))
    for spec, found in zip(SPECS, rows, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), ARRAYS[spec.name][ids])
