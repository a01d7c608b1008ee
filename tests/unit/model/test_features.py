"""Features, item tower and the store of item features, by hand."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from sparcode.model.feature_embeddings import FeatureEmbedding, FeatureStore
from sparcode.model.item_tower import ItemTower, TowerOptions
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
    """Tokens, what histories read, and item vectors of ids of the catalogue."""

    def __init__(self, options: TowerOptions) -> None:
        super().__init__()
        self.tower = ItemTower(3, WIDTH, SPECS, options=options)
        self.store = FeatureStore(SPECS, ARRAYS)

    def construct(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = self.store(ids)
        return ops.stack(self.tower.tokens(ids, rows), 1), self.tower.sums(ids, rows), self.tower(ids, rows)


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


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_tokens_are_id_and_features_and_the_vector_starts_as_their_sum(mode: str, layers: int) -> None:
    cell = Tower(TowerOptions(layers))
    ids = np.array([2, 0, 3], np.int32)
    tokens, sums, vectors = (part.asnumpy() for part in cell(Tensor(ids)))
    assert tokens.shape == (3, 4, WIDTH)
    assert cell.tower.num_item_tokens == 4
    np.testing.assert_array_equal(tokens[:, 0], cell.tower.id_table.asnumpy()[ids])
    for place, spec in enumerate(SPECS):
        expected = cell.tower.features[place](Tensor(ARRAYS[spec.name][ids])).asnumpy()
        np.testing.assert_allclose(tokens[:, 1 + place], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(sums, tokens.sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(vectors, sums)


@pytest.mark.parametrize(("layers", "hidden"), [(1, 0), (2, 5)])
def test_the_perceptron_reads_all_tokens_side_by_side_and_is_added_to_the_sum(
    mode: str, layers: int, hidden: int
) -> None:
    cell = Tower(TowerOptions(layers, hidden))
    rng = np.random.default_rng(1)
    dense = list(cell.tower.perceptron.layers)
    for parameter in cell.tower.perceptron.get_parameters():
        parameter.set_data(Tensor(rng.normal(size=parameter.shape).astype(np.float32)))
    assert [layer.weight.shape for layer in dense][:1] == [(hidden or WIDTH, 4 * WIDTH)]
    assert len(dense) == layers + 1
    tokens, sums, vectors = (part.asnumpy() for part in cell(Tensor(np.array([2, 1, 3], np.int32))))
    x = tokens.reshape(3, -1)
    for layer in dense[:-1]:
        x = np.maximum(x @ layer.weight.asnumpy().T + layer.bias.asnumpy(), 0)
    expected = sums + x @ dense[-1].weight.asnumpy().T + dense[-1].bias.asnumpy()
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(vectors - sums).min() > 1e-3


def test_an_item_known_by_its_id_alone_is_its_embedding_whatever_the_depth() -> None:
    tower = ItemTower(3, WIDTH, options=TowerOptions(2))
    assert [parameter.name for parameter in tower.get_parameters()] == ["id_table"]
    ids = np.array([2, 3], np.int32)
    np.testing.assert_array_equal(tower(Tensor(ids), ()).asnumpy(), tower.id_table.asnumpy()[ids])


def test_with_a_length_candidates_have_it_and_histories_do_not(mode: str) -> None:
    cell = Tower(TowerOptions(length=50.0))  # far from the length of any vector at the start
    ids = np.array([2, 1, 3], np.int32)
    tokens, sums, vectors = (part.asnumpy() for part in cell(Tensor(ids)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 50.0, rtol=1e-5)
    np.testing.assert_allclose(tokens.sum(1), sums, rtol=1e-4, atol=1e-6)
    scales = 50.0 / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, sums * scales, rtol=1e-5)  # the direction is that of the vector
    assert scales.min() > 2


def test_an_item_without_any_vector_has_a_finite_gradient_under_a_length() -> None:
    tower = ItemTower(3, WIDTH, options=TowerOptions(length=1.0))
    tower.id_table.set_data(Tensor(np.zeros((4, WIDTH), np.float32)))

    def total(ids: Tensor) -> Tensor:
        return tower(ids, ()).sum()

    gradient = ms.grad(total, None, tower.id_table)(Tensor(np.array([1, 2], np.int32)))
    assert np.isfinite(gradient.asnumpy()).all()


@pytest.mark.parametrize("std", [0.0, 0.02])
def test_ids_and_features_of_items_start_with_the_spread_that_is_asked_for(std: float) -> None:
    spec = FeatureSpec("genre", "categorical", 500)
    tower = ItemTower(500, 16, [spec], options=TowerOptions(std=std))
    for table in (tower.id_table, tower.features[0].table):
        assert table.asnumpy().std() == pytest.approx(std or 0.25, rel=0.05)


def test_the_store_is_no_trainable_state() -> None:
    cell = Tower(TowerOptions(1))
    assert {parameter.name.split(".")[0] for parameter in cell.get_parameters()} == {"tower"}


@pytest.mark.parametrize("ids", [[1], [3, 3, 0]])
def test_the_store_returns_the_rows_of_the_ids(ids: list[int]) -> None:
    rows = FeatureStore(SPECS, ARRAYS)(Tensor(np.array(ids, np.int32)))
    for spec, found in zip(SPECS, rows, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), ARRAYS[spec.name][ids])
