"""Rescoring equals exhaustive scoring without quantization once every item is a candidate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

import bundle_cases
from bundle_cases import NUM_ITEMS, Case, exported, external, with_output
from helpers import tiny_config, tiny_dataset
from network_cases import TokenEncoder
from sparcode.errors import BundleError, UsageError
from sparcode.evaluation.query_set import QuerySet, query_set
from sparcode.evaluation.rankers import ExhaustiveRanker, IndexRanker, VectorRanker
from sparcode.evaluation.report import fidelity, latency
from sparcode.evaluation.rescoring_ranker import (
    RescoringRanker,
    TokenCandidates,
    VectorCandidates,
    network_candidates,
)
from sparcode.index import BuildOptions, build_index
from sparcode.index.search.dense import DenseIndex
from sparcode.index.search.rescoring import half_parts
from sparcode.model.block_scorer import ExhaustiveScorer, NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.item_vectors import item_vectors
from sparcode.serving import Retriever
from sparcode.serving.export import writer
from sparcode.serving.export.exporter import export_bundle
from sparcode.serving.manifest import MANIFEST_NAME
from sparcode.serving.offline import OfflineOptions, recommend_file
from sparcode.training.encoding import encode_queries

ITEMS = 30
DATASET = tiny_dataset(num_items=ITEMS, features=False)


def ring_queries() -> QuerySet:
    return query_set(DATASET, "test", 6, [])


def index_ranker(values: dict[str, Any], options: BuildOptions) -> tuple[Any, IndexRanker]:
    """A network with coarse codes, so that unquantized tokens score differently, and its index."""
    ms.set_seed(3)
    config = tiny_config({"model.quantizer.codebook_size": 3, "model.score_bias": 2.0, **values})
    network: Any = build_network(config.model, DataShape(ITEMS, 6, (), (), {}))
    rng = np.random.default_rng(1)
    for parameter in network.scorer.trainable_params():
        shift = rng.normal(0, 0.8, parameter.shape).astype(np.float32)
        parameter.set_data(ms.Tensor(parameter.asnumpy() + shift))
    queries = ring_queries()
    (tokens,) = encode_queries(TokenEncoder(network), queries.history, (), 16)
    network.quantizer.fit(tokens, 0)
    built = build_index(NetworkBlockScorer(network, ITEMS), network.term_codebooks(), options)
    return network, IndexRanker(network, built.index, 16, 1)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({"model.scorer.name": "dot"}, BuildOptions(top_l=0, signed=True)),
        ({"model.scorer.name": "attention"}, BuildOptions(top_l=0, signed=True)),
        ({"model.scorer.name": "mlp", "model.signed_scores": False}, BuildOptions(top_l=0)),
    ],
    ids=["dot", "attention", "mlp-relu"],
)
def test_all_items_as_candidates_are_ranked_as_by_the_network(
    values: dict[str, Any], options: BuildOptions
) -> None:
    network, first = index_ranker(values, options)
    queries = ring_queries()
    scorer = network_candidates(network, ITEMS, ITEMS)
    is_dot = values["model.scorer.name"] == "dot"
    assert isinstance(scorer, VectorCandidates if is_dot else TokenCandidates)
    ranker = RescoringRanker(first, scorer, ITEMS)
    reference = ExhaustiveRanker(network, ITEMS, quantize=False)
    for exclude_seen in (True, False):
        found = ranker.rank(queries, 12, exclude_seen)
        exact = reference.rank(queries, 12, exclude_seen)
        np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-4, atol=1e-3 if is_dot else 1e-4)
        same = found.item_ids == exact.item_ids
        ties = np.isclose(found.scores, np.roll(found.scores, 1, 1), rtol=1e-4) | np.isclose(
            found.scores, np.roll(found.scores, -1, 1), rtol=1e-4
        )
        assert (same | ties).all()
        assert same.mean() > 0.9
        quantized = first.rank(queries, 12, exclude_seen)
        assert (quantized.item_ids != exact.item_ids).any()  # self-test: rescoring had something to do


def test_few_candidates_keep_their_places_in_the_list_of_the_first_stage() -> None:
    network, first = index_ranker({}, BuildOptions(top_l=0, signed=True))
    queries = ring_queries()
    ranker = RescoringRanker(first, VectorCandidates(item_vectors(network)), 8)
    found, candidates = ranker.rank(queries, 8, True), first.rank(queries, 8, True)
    for mine, theirs in zip(found.item_ids, candidates.item_ids, strict=True):
        assert set(mine) == set(theirs)
    assert (found.item_ids != candidates.item_ids).any()
    exact = ExhaustiveRanker(network, ITEMS, quantize=False)
    report = fidelity(ranker, exact, queries, 8, True, signed=True)
    assert 0.3 < report["index_recall@8"] < 1.0
    assert report["max_score_error"] < 1e-4  # by float32 vectors
    halves = RescoringRanker(first, network_candidates(network, ITEMS, 8), 8)
    assert halves.rank(queries, 8, True).item_ids.shape == found.item_ids.shape
    assert halves.size_bytes == first.size_bytes + (ITEMS + 1) * 8 * 2
    times = latency(ranker, queries.take(3), 5, True, 1)
    assert min(times[f"{stage}_p50"] for stage in ("encode", "search", "rescore")) > 0
    assert times["rescore_p99"] >= times["rescore_p50"]


def test_vectors_are_rescored_by_dot_products() -> None:
    towers: Any = build_network(
        tiny_config({"model.name": "two_tower"}).model, DataShape(ITEMS, 6, (), (), {})
    )
    vectors = item_vectors(towers)
    rounded = np.round(vectors * 4) / 4  # a search that is as wrong as a compressed index
    queries = ring_queries()
    exact = VectorRanker(towers, DenseIndex(vectors), "exact", 16).rank(queries, 5, True)
    coarse = VectorRanker(towers, DenseIndex(rounded), "ivf", 16)
    found = RescoringRanker(coarse, VectorCandidates(vectors), ITEMS).rank(queries, 5, True)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5)
    np.testing.assert_array_equal(found.item_ids, exact.item_ids)
    assert (coarse.rank(queries, 5, True).item_ids != exact.item_ids).any()


# ---- the same stage in a bundle

CASES = [
    Case(top_l=6),
    Case(scorer="dot", signed=True),
    Case(scorer="dot", signed=True, rescore=NUM_ITEMS),
    Case(model="two_tower"),
]
HISTORIES = [[2, 9, 4], [11], [20, 3, 3, 8, 1, 6]]


def served(case: Case) -> tuple[Retriever, np.ndarray]:
    """A retriever, and the unquantized scores (B, I + 1) of the live network for its queries."""
    bundle = exported(case)
    history = np.zeros((len(HISTORIES), bundle_cases.LENGTH), np.int32)
    for row, items in zip(history, HISTORIES, strict=True):
        row[-len(items[-len(row) :]) :] = items[-len(row) :]
    arrays = (bundle.request.dataset.user_arrays[spec.name] for spec in bundle_cases.USER_FEATURES)
    rows = [np.zeros((3, *np.shape(values)[1:]), values.dtype) for values in arrays]
    scorer = ExhaustiveScorer(bundle.request.network, NUM_ITEMS, 3)
    return Retriever.load(bundle.path), scorer.scores(history, rows)


def raw_queries() -> list[dict[str, Any]]:
    return [{"history": [external(item) for item in items]} for items in HISTORIES]


@pytest.mark.parametrize("case", CASES, ids=["relu", "signed", "float16", "two_tower"])
def test_a_bundle_rescores_as_the_network_scores(case: Case) -> None:
    retriever, model = served(case)
    candidates = retriever.recommend(raw_queries(), k=NUM_ITEMS)
    answers = retriever.recommend(raw_queries(), k=6, rescore=NUM_ITEMS)
    number_of = {external(item): item for item in range(1, NUM_ITEMS + 1)}
    for row, (answer, found) in enumerate(zip(answers, candidates, strict=True)):
        own = {item: model[row, number_of[item]] for item, _ in found}
        best = sorted(own.values(), reverse=True)[:6]
        near = 1e-3 * max(map(abs, own.values())) if case.rescore else 1e-4  # float16 vectors
        np.testing.assert_allclose([score for _, score in answer], best, rtol=1e-4, atol=near)
        for item, score in answer:
            assert score == pytest.approx(own[item], rel=1e-4, abs=near)
        assert not {item for item, _ in answer} & {external(item) for item in HISTORIES[row]}
    if case.model == "sparcode":
        assert any(
            [item for item, _ in answer] != [item for item, _ in found[:6]]
            for answer, found in zip(answers, candidates, strict=True)
        )


def test_filters_hold_for_rescored_items(tmp_path: Path) -> None:
    retriever, _ = served(CASES[1])
    allowed = [external(item) for item in (1, 5, 7, 12, 13, 14)]
    query = {**raw_queries()[0], "allow": allowed, "exclude": [external(7)]}
    (plain,) = retriever.recommend([query], k=NUM_ITEMS)
    (answer,) = retriever.recommend([query], k=4, rescore=NUM_ITEMS)
    assert {item for item, _ in answer} <= {item for item, _ in plain} <= set(allowed) - {external(7)}
    where = 'genre has "Drama"'
    (plain,) = retriever.recommend(raw_queries()[:1], k=NUM_ITEMS, where=where)
    (answer,) = retriever.recommend(raw_queries()[:1], k=NUM_ITEMS, where=where, rescore=NUM_ITEMS)
    assert {item for item, _ in answer} == {item for item, _ in plain}
    # a file is answered as the call is
    queries = tmp_path / "queries.jsonl"
    queries.write_text("".join(json.dumps(query) + "\n" for query in raw_queries()), encoding="utf-8")
    output = tmp_path / "answers.jsonl"
    recommend_file(retriever, queries, output, OfflineOptions(k=3, rescore=9))
    lines = [json.loads(line)["items"] for line in output.read_text(encoding="utf-8").splitlines()]
    expected = retriever.recommend(raw_queries(), k=3, rescore=9)
    assert [[(entry["item"], entry["score"]) for entry in line] for line in lines] == expected


@pytest.mark.parametrize("rescore", [0, NUM_ITEMS], ids=["graph", "compiled"])
def test_items_that_were_added_or_scored_anew_are_rescored_by_their_present_features(
    rescore: int, tmp_path: Path
) -> None:
    case = Case(item_ids=False, signed=True, scorer="dot", rescore=rescore)
    retriever, model = served(case)
    arrays = exported(case).request.dataset.item_arrays
    vocabulary = exported(case).request.dataset.item_vocab

    def features(item: int) -> dict[str, Any]:
        return {
            "genre": [vocabulary["genre"][code] for code in arrays["genre"][item] if code],
            "year": vocabulary["year"][int(arrays["year"][item])],
            "content": arrays["content"][item].tolist(),
        }

    retriever.recommend(raw_queries(), k=2, rescore=4)  # the stage is open before the update
    retriever.update(
        add=[{"item": "new", "features": features(15)}],
        rescore=[{"item": external(10), "features": features(16)}],
    )
    answers = retriever.recommend(raw_queries(), k=NUM_ITEMS + 1, rescore=NUM_ITEMS + 1)
    for row, answer in enumerate(answers):
        scores = dict(answer)
        for item, like in (("new", 15), (external(10), 16)):
            if item in scores:
                near = 1e-3 * np.abs(model[row, 1:]).max() if rescore else 1e-4  # float16 vectors
                assert scores[item] == pytest.approx(model[row, like], rel=1e-4, abs=near)
    retriever.save(tmp_path / "bundle")
    saved = Retriever.load(tmp_path / "bundle")
    assert (saved.bundle.item_parts is not None) == bool(rescore)
    again = saved.recommend(raw_queries(), k=NUM_ITEMS + 1, rescore=NUM_ITEMS + 1)
    for answer, other in zip(answers, again, strict=True):
        assert dict(other) == pytest.approx(dict(answer), rel=1e-5, abs=1e-5)
    assert sum("new" in dict(answer) for answer in answers) >= 2
    assert sum(external(10) in dict(answer) for answer in answers) >= 2


@pytest.mark.parametrize("rescore", [4, 0, True])
def test_fewer_candidates_than_results_are_refused(rescore: int) -> None:
    retriever = Retriever.load(exported(CASES[0]).path)
    with pytest.raises(UsageError, match="fewer items to rescore than to recommend"):
        retriever.recommend(raw_queries(), k=5, rescore=rescore)


def test_export_notices_item_parts_that_are_not_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = exported(CASES[2]).request
    assert exported(CASES[2]).report.verification.rescoring_error < 1e-5
    assert exported(CASES[1]).report.verification.rescoring_error == 0
    monkeypatch.setattr(writer, "half_parts", lambda parts: half_parts(parts * np.float32(1.01)))
    with pytest.raises(BundleError, match="differs from the live model in scores of rescored recommend"):
        export_bundle(with_output(request, tmp_path / "bundle"))


def test_a_bundle_that_does_not_say_how_scores_add_up_is_refused(tmp_path: Path) -> None:
    bundle = Retriever.load(exported(CASES[0]).path).bundle
    silent = replace(bundle, manifest=replace(bundle.manifest, signed_scores=None))
    retriever = Retriever(silent)
    assert retriever.recommend(raw_queries(), k=5)[0]
    with pytest.raises(BundleError, match="does not say how the scores of tokens add up"):
        retriever.recommend(raw_queries(), k=5, rescore=9)
    copy = tmp_path / "bundle"
    shutil.copytree(exported(CASES[0]).path, copy)
    assert json.loads((copy / MANIFEST_NAME).read_text(encoding="utf-8"))["signed_scores"] is False
