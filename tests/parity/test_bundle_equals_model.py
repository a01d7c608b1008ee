"""A bundle does what the network does: graphs against cells, recommendations against exhaustive scoring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from bundle_cases import (
    ITEM_FEATURES,
    LENGTH,
    NUM_ITEMS,
    USER_FEATURES,
    Case,
    Exported,
    exported,
    external,
    with_output,
)
from sparcode.errors import BundleError
from sparcode.evaluation.code_scorer import exhaustive_scorer
from sparcode.index import InvertedIndex, tokens_of_terms
from sparcode.model.inference import CodeEncoder, TokenItemScorer, VectorEncoder, VectorItemScorer
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.export.exporter import export_bundle
from sparcode.serving.session import EncoderSession, ScorerSession
from sparcode.types import FeatureSpec

CASES = {
    "pynative": [Case(), Case(encoder="gru4rec", features=False, scorer="dot")],
    "graph": [
        Case(encoder="sasrec", scorer="attention", shared=True),
        Case(model="two_tower", encoder="gru4rec"),
    ],
}
MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}


@pytest.fixture(
    params=[(mode, case) for mode, cases in CASES.items() for case in cases],
    ids=lambda param: f"{param[0]}-{param[1].model}-{param[1].encoder}",
)
def case(request: pytest.FixtureRequest, graph_mode: None) -> Exported:
    """A bundle, exported and used in the mode of its case; ``graph_mode`` restores the usual mode."""
    mode, case = request.param
    ms.set_context(mode=MODES[mode])
    return exported(case)


def random_rows(specs: tuple[FeatureSpec, ...], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    rows: list[np.ndarray] = []
    for spec in specs:
        if spec.kind == "dense":
            rows.append(rng.normal(size=(count, spec.size)).astype(np.float32))
        else:
            shape = (count,) if spec.kind == "categorical" else (count, spec.width)
            rows.append(rng.integers(0, spec.size, shape).astype(np.int32))
    return rows


def as_sets(rows: list[np.ndarray], specs: tuple[FeatureSpec, ...]) -> None:
    """Make the rows of multi features what the data set stores: distinct members, padded behind."""
    for spec, values in zip(specs, rows, strict=True):
        if spec.kind == "multi":
            for row in values:
                members = np.unique(row[row > 0])
                row[:] = 0
                row[: len(members)] = members


def random_histories(count: int, rng: np.random.Generator) -> np.ndarray:
    """Right-aligned, of every length from 0 to L."""
    history = rng.integers(1, NUM_ITEMS + 1, (count, LENGTH)).astype(np.int32)
    lengths = rng.integers(0, LENGTH + 1, count)
    history[np.arange(LENGTH)[None] < LENGTH - lengths[:, None]] = 0
    return history


def user_specs(case: Exported) -> tuple[FeatureSpec, ...]:
    return USER_FEATURES if case.request.config.data.use_user_features else ()


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [Tensor(array) for array in arrays]


def test_the_encoder_graph_equals_the_cell_at_any_batch_size(case: Exported) -> None:
    session, network = EncoderSession(open_bundle(case.path)), case.request.network
    rng = np.random.default_rng(0)
    history = random_histories(9, rng)
    rows = random_rows(user_specs(case), 9, rng)
    if case.report.manifest.model == "two_tower":
        vectors = VectorEncoder(network)(*tensors(history, *rows)).asnumpy()
        expected: list[Any] = [None, None, None, vectors]
    else:
        parts = CodeEncoder(network)(*tensors(history, *rows))
        expected = [*(part.asnumpy() for part in parts), None]
    for part in (slice(0, 9), slice(0, 1), slice(2, 6)):
        encoded = session.encode(history[part], [values[part] for values in rows])
        received = [encoded.term_ids, encoded.weights, encoded.tokens, encoded.vectors]
        assert [value is None for value in received] == [value is None for value in expected]
        for value, wanted in zip(received, expected, strict=True):
            if wanted is not None:
                assert value is not None
                assert value.dtype == wanted.dtype
                np.testing.assert_allclose(value, wanted[part], rtol=1e-5, atol=1e-5)


def test_the_scorer_graph_equals_the_cell_at_any_size(case: Exported) -> None:
    bundle, request = open_bundle(case.path), case.request
    session = ScorerSession(bundle)
    rng = np.random.default_rng(1)
    width = bundle.manifest.scorer.inputs[0].shape[1]
    assert width is not None
    cell = (
        VectorItemScorer(request.network)
        if bundle.manifest.model == "two_tower"
        else TokenItemScorer(request.network)
    )
    specs = ITEM_FEATURES if request.config.data.use_item_features else ()
    tokens = rng.normal(size=(3, width)).astype(np.float32)
    ids = np.array([1, 20, 0, 7, 7], np.int32)
    rows = [request.dataset.item_arrays[spec.name][ids] for spec in specs]
    expected = cell(*tensors(tokens, ids, *rows)).asnumpy()
    np.testing.assert_allclose(session.score(tokens, ids), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(session.score(tokens[:1], ids[3:]), expected[:1, 3:], rtol=1e-5, atol=1e-5)


def test_recommendations_equal_exhaustive_scoring_by_the_network(case: Exported) -> None:
    """Nothing is pruned from these indexes: the model's own top-k, with its scores."""
    request = case.request
    rng = np.random.default_rng(2)
    history = random_histories(8, rng)
    history[:, -1] = np.maximum(history[:, -1], 1)  # nobody without a history: that is the fallback's
    rows = random_rows(user_specs(case), 8, rng)
    as_sets(rows, user_specs(case))
    model = exhaustive_scorer(request.network, NUM_ITEMS, batch_size=8).scores(history, rows)  # (8, I + 1)
    for scores, items in zip(model, history, strict=True):
        scores[items] = -np.inf
    queries = [
        {
            "history": [external(int(item)) for item in items if item],
            "features": raw_features(case, [values[number] for values in rows]),
        }
        for number, items in enumerate(history)
    ]
    answers = Retriever.load(case.path).recommend(queries, k=6, exclude_seen=True)
    number_of = {external(item): item for item in range(1, NUM_ITEMS + 1)}
    for scores, answer in zip(model, answers, strict=True):
        best = np.sort(scores)[::-1][:6]
        if case.report.manifest.model == "sparcode":
            best = best[best > 0]
        received = np.array([score for _, score in answer])
        np.testing.assert_allclose(received, best, rtol=1e-4, atol=1e-4)
        own = scores[[number_of[item] for item, _ in answer]]
        np.testing.assert_allclose(received, own, rtol=1e-4, atol=1e-4)


def raw_features(case: Exported, rows: list[np.ndarray]) -> dict[str, Any]:
    vocabularies = case.request.dataset.user_vocab
    raw: dict[str, Any] = {}
    for spec, row in zip(user_specs(case), rows, strict=True):
        if spec.kind == "dense":
            raw[spec.name] = row.tolist()
        elif spec.kind == "categorical":
            raw[spec.name] = vocabularies[spec.name][int(row)]
        else:
            raw[spec.name] = [vocabularies[spec.name][number] for number in row if number]
    return raw


@pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])
def test_the_codebooks_of_the_bundle_give_the_tokens_of_the_network(shared: bool) -> None:
    case = exported(Case(shared=shared))
    bundle, network = open_bundle(case.path), case.request.network
    assert bundle.codebooks is not None
    every_code = np.array([[a, b] for a in range(4) for b in range(4)], np.int32)  # in the order of term ids
    codes = Tensor(np.repeat(every_code[:, None], 3, 1))  # (16, K_u, M)
    expected = network.lift(network.quantizer.decode(codes)).asnumpy()  # (16, K_u, d)
    for slot in range(1 if shared else 3):
        found = tokens_of_terms(bundle.codebooks, slot * 16 + np.arange(16))
        np.testing.assert_allclose(found, expected[:, slot], rtol=1e-5, atol=1e-5)
    assert len(bundle.codebooks) == (1 if shared else 3)


POSTERIOR = Case(signed=True, features=False, strength=0.5)


def test_a_bundle_of_posterior_lists_recommends_as_the_corrected_network() -> None:
    """Signed lists hold what is above their floors: scores are equal up to a constant of the query."""
    request = exported(POSTERIOR).request
    history = random_histories(8, np.random.default_rng(2))
    history[:, -1] = np.maximum(history[:, -1], 1)
    model, alone = (
        exhaustive_scorer(request.network, NUM_ITEMS, 8, posterior=posterior).scores(history, ())
        for posterior in (request.posterior, None)
    )
    assert (model.argmax(1) != alone.argmax(1)).any()  # self-test: the counts change answers
    queries = [{"history": [external(int(item)) for item in items if item]} for items in history]
    answers = Retriever.load(exported(POSTERIOR).path).recommend(queries, NUM_ITEMS, exclude_seen=False)
    number_of = {external(item): item for item in range(1, NUM_ITEMS + 1)}
    for scores, answer in zip(model, answers, strict=True):
        assert len(answer) >= NUM_ITEMS - 1
        own = scores[[number_of[item] for item, _ in answer]]
        received = np.array([score for _, score in answer])
        np.testing.assert_allclose(received - received[0], own - own[0], rtol=1e-4, atol=1e-4)
        assert own[0] == pytest.approx(scores.max(), abs=1e-4)


def changed_posting(index: InvertedIndex) -> InvertedIndex:
    """The index with the first posting of every list raised."""
    postings = index.postings
    scores = np.array(postings.scores)
    starts = postings.indptr[:-1][np.diff(postings.indptr) > 0]
    scores[starts] += 0.1
    return InvertedIndex.from_postings(
        postings.indptr, postings.item_ids, scores, num_items=index.num_items, floors=index.floors
    )


@pytest.mark.parametrize("change", ["posting", "counts", "no-counts"])
def test_export_notices_lists_that_are_not_those_of_the_counts(tmp_path: Path, change: str) -> None:
    request = with_output(exported(POSTERIOR).request, tmp_path / "bundle")
    assert request.index is not None
    assert request.posterior is not None
    changed = {
        "posting": replace(request, index=changed_posting(request.index)),
        "counts": replace(request, posterior=replace(request.posterior, strength=0.7)),
        "no-counts": replace(request, posterior=None),
    }
    with pytest.raises(BundleError, match="differs from the live model in postings of term"):
        export_bundle(changed[change])
    assert not (tmp_path / "bundle").exists()
    assert export_bundle(request).verification.index_error < 1e-4  # as it is, it passes
