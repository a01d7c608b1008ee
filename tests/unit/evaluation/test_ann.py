"""Exact and approximate search over item vectors."""

import sys

import numpy as np
import pytest

from sparcode.errors import DependencyError, UsageError
from sparcode.evaluation.ann import HnswSearch, IvfSearch, VectorSearch
from sparcode.evaluation.metrics import index_recall_at_k
from sparcode.index.search import dense
from sparcode.index.search.dense import DenseIndex
from sparcode.index.search.results import top_k_of_scores

RNG = np.random.default_rng(3)
VECTORS = RNG.standard_normal((801, 16)).astype(np.float32)
QUERIES = RNG.standard_normal((30, 16)).astype(np.float32)


@pytest.fixture(params=[DenseIndex, HnswSearch, IvfSearch], scope="module")
def kind(request: pytest.FixtureRequest) -> type[DenseIndex | VectorSearch]:
    if request.param is not DenseIndex:
        pytest.importorskip({"HnswSearch": "hnswlib", "IvfSearch": "faiss"}[request.param.__name__])
    return request.param


@pytest.fixture(scope="module")
def search(kind: type[DenseIndex | VectorSearch]) -> DenseIndex | VectorSearch:
    return kind(VECTORS)


def test_ranking_by_hand(kind: type[DenseIndex | VectorSearch]) -> None:
    vectors = np.array([[9, 9], [1, 0], [0, 2], [1, 1], [-1, 0]], dtype=np.float32)
    result = kind(vectors).search([[1.0, 0.5], [-1.0, 0.0]], 3, exclude=[[], [4]])
    assert result.item_ids.tolist() == [[3, 1, 2], [2, 1, 3]]  # 1.5, 1, 1 (tie) | 0, -1, -1 (tie)
    assert result.scores.tolist() == [[1.5, 1.0, 1.0], [0.0, -1.0, -1.0]]
    assert (result.item_ids.dtype, result.scores.dtype) == (np.int64, np.float32)


def test_exact_search_is_a_sort_of_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_BLOCK_SCORES", 801 * 7)  # seven queries at once
    result = DenseIndex(VECTORS).search(QUERIES, 20)
    products = QUERIES.astype(np.float64) @ VECTORS[1:].T.astype(np.float64)
    np.testing.assert_array_equal(result.item_ids, np.argsort(-products, axis=1)[:, :20] + 1)


def test_approximate_search_finds_most_of_the_exact_result(search: DenseIndex | VectorSearch) -> None:
    exact = DenseIndex(VECTORS).search(QUERIES, 20)
    found = search.search(QUERIES, 20)
    assert index_recall_at_k(found.item_ids, exact.item_ids, exact.scores, tolerance=1e-5) > 0.9
    both = found.item_ids[:, :1] == exact.item_ids[:, :1]
    np.testing.assert_allclose(found.scores[:, :1][both], exact.scores[:, :1][both], rtol=1e-5)


def test_an_approximate_search_tells_its_bytes(search: DenseIndex | VectorSearch) -> None:
    if isinstance(search, VectorSearch):
        assert VECTORS[1:].nbytes < search.size_bytes < 20 * VECTORS.nbytes


def test_long_exclusions_are_searched_past(search: DenseIndex | VectorSearch) -> None:
    exclude = [RNG.permutation(801)[: 26 * query] for query in range(30)]  # up to 754 of 800
    result = search.search(QUERIES, 20, exclude)
    for row, ids in zip(result.item_ids, exclude, strict=True):
        assert (row > 0).all()
        assert not np.isin(row, ids).any()
        assert len(set(row.tolist())) == 20


def test_the_whole_catalogue_can_be_asked_for(search: DenseIndex | VectorSearch) -> None:
    result = search.search(QUERIES[:3], 900, exclude=[[1, 2, 0, -1]] * 3)
    for row, scores in zip(result.item_ids, result.scores, strict=True):
        assert sorted(row[row > 0].tolist()) == list(range(3, 801))
        assert (np.diff(scores[:798]) <= 0).all()
        assert (scores[798:] == -np.inf).all()
        assert (row[798:] == -1).all()


def test_equal_scores_are_cut_at_the_smaller_id() -> None:
    scores = np.array([[1, 2, 1, 2, 1], [-np.inf, 1, -np.inf, -np.inf, -np.inf]], dtype=np.float32)
    assert top_k_of_scores(scores, 3).item_ids.tolist() == [[1, 3, 0], [1, -1, -1]]


def test_wrong_arguments_are_named(search: DenseIndex | VectorSearch) -> None:
    for call, message in [
        (lambda: search.search(QUERIES[:, :4], 3), "differ in width|queries must be a matrix"),
        (lambda: search.search(QUERIES[0], 3), "differ in width|queries must be a matrix"),
        (lambda: search.search(QUERIES, 0), "k out of range"),
        (lambda: search.search(QUERIES[:2], 3, exclude=[[1]]), "exclude"),
        (lambda: search.search(QUERIES[:1], 3, exclude=[[801]]), "exclude"),
        (lambda: search.search(QUERIES[:1] * np.nan, 3), "queries are not finite"),
        (lambda: type(search)(VECTORS[:1]), "item_vectors"),
    ]:
        with pytest.raises(UsageError, match=message):
            call()


@pytest.mark.parametrize(("kind", "module"), [(HnswSearch, "hnswlib"), (IvfSearch, "faiss")])
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[DenseIndex | VectorSearch], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=rf'{module} is not installed; .*pip install -e "\.\[ann\]"'):
        kind(VECTORS)
