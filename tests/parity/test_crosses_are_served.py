"""Crosses: index, exhaustive scoring and bundle agree, and the validation users choose the weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle_cases import LENGTH, LONGER, NUM_ITEMS, Case, exported, external, make_request, tiny_dataset
from helpers import ring_config
from sparcode.config.command_lines import EvalArguments, TrainArguments
from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.histories import history_batch
from sparcode.errors import BundleError, ConfigError
from sparcode.evaluation import crossed_search
from sparcode.evaluation.ann import HnswSearch, IvfSearch, VectorSearch
from sparcode.evaluation.code_scorer import exhaustive_scorer
from sparcode.evaluation.query_set import QuerySet, query_set
from sparcode.evaluation.rankers import ExhaustiveRanker, IndexRanker, VectorRanker
from sparcode.evaluation.rescoring_ranker import RescoringRanker, VectorCandidates, network_candidates
from sparcode.index import InvertedIndex, append_lists
from sparcode.index.search.dense import DenseIndex
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.two_tower import TwoTower
from sparcode.pipeline.choices import CHOICE_FILE
from sparcode.pipeline.crosses import fit_crosses
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.pipeline.runs import open_run
from sparcode.pipeline.train import train_run
from sparcode.serving import Retriever
from sparcode.serving.export.exporter import ExportRequest, export_bundle

RIDGE = Case(crosses="ridge", features=False)
FOLLOWING = Case(crosses="following", encoder="sasrec", features=False)
UPDATABLE = Case(crosses="following", item_ids=False)
TOWERS = Case("two_tower", crosses="following", features=False, rescore=NUM_ITEMS)


def queries() -> QuerySet:
    found = query_set(tiny_dataset(), "valid", LONGER, [])
    assert max(map(len, found.seen)) > LONGER
    return found


@pytest.mark.parametrize("case", [RIDGE, FOLLOWING], ids=["ridge", "following"])
def test_the_index_ranks_as_the_network_with_its_crosses(case: Case) -> None:
    request = exported(case).request
    assert request.index is not None
    exact = ExhaustiveRanker(request.network, NUM_ITEMS, crosses=request.crosses)
    by_index = IndexRanker(request.network, request.index, 8, 1, request.crosses)
    found, wanted = (ranker.rank(queries(), NUM_ITEMS, True) for ranker in (by_index, exact))
    real = found.item_ids > 0
    assert real.sum() > 40
    np.testing.assert_allclose(found.scores[real], wanted.scores[real], rtol=1e-4, atol=1e-4)
    without = ExhaustiveRanker(request.network, NUM_ITEMS).rank(
        replace(queries(), history=queries().history[:, -5:]), NUM_ITEMS, True
    )
    assert (without.item_ids != wanted.item_ids).any()


def oracle(request: ExportRequest, history: np.ndarray) -> np.ndarray:
    """Scores (B, I + 1) of the network, and of the rows of the history items."""
    crosses = request.crosses
    assert crosses is not None
    scores = exhaustive_scorer(request.network, NUM_ITEMS, 4).scores(history[:, -LENGTH:], ())
    weights, rows = crosses.history_weights(), crosses.rows.toarray()
    for user, items in enumerate(history):
        scores[user] += sum(weight * rows[item] for weight, item in zip(weights, items, strict=True) if item)
    return scores


@pytest.mark.parametrize("model", ["sparcode", "two_tower", "all_to_all", "max_sim", "mol"])
def test_every_model_is_ranked_with_its_crosses(model: str) -> None:
    case = replace(RIDGE, model=model)
    request = make_request(case, Path("unused"))
    found = ExhaustiveRanker(request.network, NUM_ITEMS, crosses=request.crosses).rank(queries(), 20, False)
    scores = oracle(request, queries().history)
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :NUM_ITEMS]
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, wanted, 1), rtol=1e-4, atol=1e-4)
    alone = ExhaustiveRanker(request.network, NUM_ITEMS).rank(
        replace(queries(), history=queries().history[:, -LENGTH:]), 20, False
    )
    assert (alone.item_ids != found.item_ids).any()


@pytest.mark.parametrize("kind", [DenseIndex, HnswSearch, IvfSearch])
def test_vector_searches_rank_by_the_sum(kind: type[VectorSearch], monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many candidates as items the approximate searches are exact, rescored or not."""
    request = exported(TOWERS).request
    assert isinstance(request.network, TwoTower)
    vectors = item_vectors(request.network)
    ranker = VectorRanker(request.network, kind(vectors), "any", 4, request.crosses)
    scores = oracle(request, queries().history)
    for row, seen in enumerate(queries().seen):
        scores[row, seen] = -np.inf
    rescored = RescoringRanker(ranker, VectorCandidates(vectors), 8, request.crosses)
    for found in (ranker.rank(queries(), 7, True), rescored.rank(queries(), 7, True)):
        wanted = np.sort(scores, axis=1)[:, ::-1][:, :7]
        np.testing.assert_allclose(found.scores, wanted, rtol=1e-4, atol=1e-4)
    if kind is DenseIndex:
        return
    monkeypatch.setattr(crossed_search, "CANDIDATES", 2)
    found = ranker.rank(queries(), 2, True)  # now of two times two candidates
    history, crosses = queries().history, request.crosses
    assert crosses is not None
    added = crosses.scores(history)
    for row in range(len(history)):
        near = (scores - added)[row, 1:].argsort()[::-1][:2] + 1
        crossed = np.where(np.isfinite(scores[row]), added[row], -np.inf)[1:].argsort()[::-1][:2] + 1
        wanted = max(scores[row, [*near, *crossed]])
        np.testing.assert_allclose(found.scores[row, 0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [replace(TOWERS, crosses="ridge"), TOWERS], ids=["ridge", "following"])
def test_a_bundle_of_vectors_recommends_with_its_crosses(case: Case) -> None:
    """Filters, excluded items and rescoring included."""
    made = exported(case)
    assert made.report.manifest.codes == {"num_terms": NUM_ITEMS, "num_item_terms": NUM_ITEMS}
    scores = oracle(made.request, queries().history)
    raw = [{"history": [external(int(item)) for item in row if item]} for row in queries().history]
    retriever = Retriever.load(made.path)
    number_of = {external(item): item for item in range(1, NUM_ITEMS + 1)}
    everything = retriever.recommend(raw, NUM_ITEMS, exclude_seen=False)
    for row, answer in enumerate(everything):
        assert len(answer) == NUM_ITEMS
        own = scores[row, [number_of[item] for item, _ in answer]]
        np.testing.assert_allclose([score for _, score in answer], own, rtol=1e-4, atol=1e-4)
    best = retriever.recommend(raw, 5, exclude_seen=False)
    again = retriever.recommend(raw, 5, exclude_seen=False, rescore=NUM_ITEMS)
    for answer, other, whole in zip(best, again, everything, strict=True):
        assert answer == whole[:5]
        assert [item for item, _ in other] == [item for item, _ in answer]
        np.testing.assert_allclose(*([s for _, s in rows] for rows in (other, answer)), rtol=1e-4)
    allowed = [external(item) for item in (2, 3, 5, 7, 11)]
    narrow = [{**query, "allow": allowed, "exclude": allowed[:2]} for query in raw]
    for answer, whole in zip(retriever.recommend(narrow, 5, exclude_seen=False), everything, strict=True):
        assert answer == [entry for entry in whole if entry[0] in allowed[2:]]


def test_items_of_a_bundle_of_vectors_are_not_changed() -> None:
    with pytest.raises(BundleError, match="two-tower bundle cannot be changed"):
        Retriever.load(exported(TOWERS).path).update(remove=[external(3)])


def test_export_notices_a_list_that_is_not_of_the_table(tmp_path: Path) -> None:
    request = make_request(TOWERS, tmp_path / "bundle")
    assert request.index is not None
    postings = request.index.postings
    scores = np.array(postings.scores)
    scores[::2] *= 1.5
    other = InvertedIndex.from_postings(postings.indptr, postings.item_ids, scores, num_items=NUM_ITEMS)
    with pytest.raises(BundleError, match="differs from the live model in postings of term"):
        export_bundle(replace(request, index=other))


def test_a_bundle_recommends_as_the_network_with_its_crosses() -> None:
    request = exported(FOLLOWING).request
    dataset = request.dataset
    history = history_batch(dataset, np.arange(6), "valid", LONGER)
    model = oracle(request, history)
    raw = [{"history": [external(int(item)) for item in row if item]} for row in history]
    number_of = {external(item): item for item in range(1, NUM_ITEMS + 1)}
    for answer, scores in zip(
        Retriever.load(exported(FOLLOWING).path).recommend(raw, NUM_ITEMS, exclude_seen=False),
        model,
        strict=True,
    ):
        assert len(answer) > 10
        own = scores[[number_of[item] for item, _ in answer]]
        np.testing.assert_allclose([score for _, score in answer], own, rtol=1e-4, atol=1e-4)


DOT = replace(FOLLOWING, scorer="dot", signed=True)
"""Rescored by compiled dot products; FOLLOWING by the scorer graph."""


@pytest.mark.parametrize("case", [FOLLOWING, DOT], ids=["graph", "compiled"])
def test_rescored_scores_have_whole_crosses_though_the_lists_are_cut(case: Case, tmp_path: Path) -> None:
    """Unquantized scores and crosses of the candidates, by evaluation and by the bundle."""
    depth, k = 12, 6
    made = make_request(replace(case, crosses="none"), tmp_path)
    whole = make_request(replace(case, rescore=depth), tmp_path / "bundle")
    assert made.index is not None
    assert whole.crosses is not None
    cut = append_lists(made.index, whole.crosses.row_blocks(1), 0, signed=False)
    request = replace(whole, index=cut)
    first = IndexRanker(request.network, cut, 8, 1, request.crosses)
    ranker = RescoringRanker(
        first, network_candidates(request.network, NUM_ITEMS, depth), depth, request.crosses
    )
    found, candidates = ranker.rank(queries(), k, True), first.rank(queries(), depth, True)
    exact = ExhaustiveRanker(request.network, NUM_ITEMS, False, request.crosses)
    everything = exact.rank(queries(), NUM_ITEMS, True)
    near = 5e-3 if case is DOT else 1e-4  # float16 vectors
    for row, ids in enumerate(candidates.item_ids):
        best = [place for place, item in enumerate(everything.item_ids[row]) if item in set(ids[ids > 0])][:k]
        wanted = everything.scores[row, best]
        np.testing.assert_allclose(found.scores[row], wanted, rtol=1e-4, atol=near)
        apart = np.abs(np.subtract.outer(wanted, wanted) + np.eye(k)).min(1) > 2 * near
        assert (found.item_ids[row] == everything.item_ids[row, best])[apart].all()
    assert (found.item_ids != candidates.item_ids[:, :k]).any()

    export_bundle(request)
    raw = [{"history": [external(int(item)) for item in row]} for row in queries().seen]
    answers = Retriever.load(request.output).recommend(raw, k, exclude_seen=True, rescore=depth)
    for row, answer in enumerate(answers):
        assert [item for item, _ in answer] == [external(int(item)) for item in found.item_ids[row]]
        np.testing.assert_allclose([score for _, score in answer], found.scores[row], rtol=1e-5, atol=1e-5)


def test_crosses_are_not_rescored_by_what_is_left_of_them_in_lists() -> None:
    retriever = Retriever.load(exported(RIDGE).path)
    with pytest.raises(BundleError, match=r"whole table of crosses.*eval\.rescore"):
        retriever.recommend([{"history": [external(3)]}], 5, rescore=9)


def test_export_notices_crosses_that_are_not_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(TOWERS, tmp_path / "bundle")
    original = CrossTable.lists

    def other(table: CrossTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        borders, items, weights = original(table)
        return borders, items, weights * np.float32(1.1)

    monkeypatch.setattr(CrossTable, "lists", other)
    with pytest.raises(BundleError, match="differs from the live model in crosses of item"):
        export_bundle(request)


def test_the_manifest_tells_terms_of_items_from_those_of_codes() -> None:
    codes = exported(RIDGE).report.manifest.codes
    assert codes["num_item_terms"] == NUM_ITEMS
    assert codes["num_terms"] == 3 * 4**2 + NUM_ITEMS
    assert exported(RIDGE).report.manifest.history_length == LONGER


def test_items_keep_their_crosses_when_a_bundle_is_updated(tmp_path: Path) -> None:
    queries = [{"history": [external(3), external(8), external(2)]}, {"history": [external(5)]}]
    retriever = Retriever.load(exported(UPDATABLE).path)
    before = [dict(answer) for answer in retriever.recommend(queries, NUM_ITEMS, exclude_seen=False)]
    changed = [external(item) for item in (2, 4, 9)]
    retriever.update(rescore=changed)
    retriever.update(remove=changed[:2])
    gone = [dict(answer) for answer in retriever.recommend(queries, NUM_ITEMS, exclude_seen=False)]
    assert not {item for answer in gone for item in answer} & set(changed[:2])
    retriever.update(add=changed[:2])
    retriever.save(tmp_path / "bundle")
    for answered in (retriever, Retriever.load(tmp_path / "bundle")):
        after = [dict(answer) for answer in answered.recommend(queries, NUM_ITEMS, exclude_seen=False)]
        for old, new in zip(before, after, strict=True):
            assert new == pytest.approx(old, rel=1e-4, abs=1e-5)


def ring_run(directory: Path, extra: dict | None = None) -> Config:
    values = {"train.epochs": 2, "index.top_l": 0, "eval.latency_queries": 2}
    return ring_config(directory, {**values, "crosses.kind": "following", **(extra or {})})


def test_training_chooses_the_weight_and_evaluation_uses_it(tmp_path: Path) -> None:
    """On a ring the next item follows from the last one: crosses alone find it, and get a weight."""
    config, run_dir = ring_run(tmp_path, {"crosses.age_decay": 0.5}), tmp_path / "run"
    train_run(TrainArguments(config, run_dir, False))
    (choice,) = json.loads((run_dir / CHOICE_FILE).read_text())["choices"]
    weight = choice["settings"]["cross_weight"]
    best = max(choice["tried"], key=lambda entry: entry["ndcg@10"])
    assert weight == best["cross_weight"] > 0
    assert [entry["cross_weight"] for entry in choice["tried"][:2]] == [None, 0]
    reports = {
        retriever: evaluate_run(EvalArguments(config, run_dir, "test", retriever, None))
        for retriever in ("index", "exact", "crosses")
    }
    assert reports["index"]["crosses"]["weight"] == reports["index"]["settings"]["cross_weight"] == weight
    assert reports["index"]["fidelity"]["ndcg_change@10"] == pytest.approx(0, abs=1e-6)
    assert reports["index"]["metrics"] == pytest.approx(reports["exact"]["metrics"], abs=1e-6)
    cut = {"crosses.age_decay": 0.5, "crosses.top_l": 1, "eval.rescore": 30}
    rescored = evaluate_run(EvalArguments(ring_run(tmp_path, cut), run_dir, "test", "index", None))
    assert rescored["fidelity"]["index_recall@10"] > 0.99
    assert rescored["fidelity"]["max_score_error"] < 2e-3  # float16 vectors
    assert rescored["latency_ms"]["rescore_p50"] > 0
    assert rescored["size_bytes"] > rescored["index"]["size_bytes"]
    assert reports["crosses"]["model"] == "crosses"
    assert reports["crosses"]["metrics"]["ndcg@10"] > 0.5
    (run_dir / CHOICE_FILE).write_text("{")
    run = open_run(config, run_dir)
    assert run.crosses is not None
    assert run.crosses.weight == weight


def test_one_trained_model_is_evaluated_with_and_without_crosses(tmp_path: Path) -> None:
    """A two-tower trained without: they are fitted, and their weight chosen, when an evaluation asks."""
    without = ring_run(tmp_path, {"model.name": "two_tower", "crosses.kind": "none"})
    config = without.model_copy(update={"crosses": ring_run(tmp_path).crosses})
    run_dir = tmp_path / "run"
    train_run(TrainArguments(without, run_dir, False))
    assert not (run_dir / CHOICE_FILE).exists()
    exact, approximate, alone, plain = (
        evaluate_run(EvalArguments(asked, run_dir, "test", retriever, None))
        for asked, retriever in (
            (config, "exact"),
            (config, "hnsw"),
            (config, "crosses"),
            (without, "exact"),
        )
    )
    (choice,) = json.loads((run_dir / CHOICE_FILE).read_text())["choices"]
    weight = choice["weight"]
    assert exact["crosses"]["weight"] == approximate["crosses"]["weight"] == weight > 0
    assert approximate["metrics"] == pytest.approx(exact["metrics"], abs=1e-6)  # 500 candidates are all items
    assert plain["crosses"] is None
    assert plain["metrics"]["ndcg@10"] < exact["metrics"]["ndcg@10"]
    assert alone["metrics"]["ndcg@10"] > 0.5


def test_following_needs_an_order() -> None:
    unordered = replace(tiny_dataset(), ordered=False)
    with pytest.raises(ConfigError, match="need an order"):
        fit_crosses(exported(FOLLOWING).request.config, unordered)
