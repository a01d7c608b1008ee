"""Crosses: index, exhaustive scoring and bundle agree, and the validation users choose the weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle_cases import LONGER, NUM_ITEMS, Case, exported, external, tiny_dataset
from helpers import ring_config
from sparcode.config.arguments import EvalArguments, TrainArguments
from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.histories import history_batch
from sparcode.errors import ConfigError
from sparcode.evaluation.queries import QuerySet, query_set
from sparcode.evaluation.rankers import ExhaustiveRanker, IndexRanker
from sparcode.evaluation.reranking import RerankingRanker, TokenCandidates
from sparcode.model.block_scorer import ExhaustiveScorer
from sparcode.pipeline.crosses import CHOICE_FILE, fit_crosses
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.pipeline.runs import open_run
from sparcode.pipeline.train import train_run
from sparcode.serving import Retriever

RIDGE = Case(crosses="ridge", features=False)
FOLLOWING = Case(crosses="following", encoder="sasrec", features=False)
UPDATABLE = Case(crosses="following", item_ids=False)


def crosses_of(case: Case) -> CrossTable:
    crosses = exported(case).request.crosses
    assert crosses is not None
    return crosses


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
    # lists of signed weights lack their floors, the same for all items of a query
    shift = wanted.scores[:, :1] - found.scores[:, :1] if case.crosses == "ridge" else 0.0
    real = found.item_ids > 0
    assert real.sum() > 40
    np.testing.assert_allclose((found.scores + shift)[real], wanted.scores[real], rtol=1e-4, atol=1e-4)
    without = ExhaustiveRanker(request.network, NUM_ITEMS).rank(
        replace(queries(), history=queries().history[:, -5:]), NUM_ITEMS, True
    )
    assert (without.item_ids != wanted.item_ids).any()


def test_exhaustive_scores_are_those_of_network_and_table() -> None:
    crosses, network = crosses_of(RIDGE), exported(RIDGE).request.network
    history = queries().history
    both = ExhaustiveScorer(network, NUM_ITEMS, 4, crosses=crosses).scores(history, ())
    alone = ExhaustiveScorer(network, NUM_ITEMS, 4).scores(history[:, -5:], ())
    weights, rows = crosses.history_weights(), crosses.rows.toarray()
    for user, items in enumerate(history):
        added = sum(weight * rows[item] for weight, item in zip(weights, items, strict=True) if item)
        np.testing.assert_allclose(both[user, 1:], (alone[user] + added)[1:], rtol=1e-5, atol=1e-5)


def test_a_bundle_recommends_as_the_network_with_its_crosses() -> None:
    request = exported(FOLLOWING).request
    dataset = request.dataset
    history = history_batch(dataset, np.arange(6), "valid", LONGER)
    model = ExhaustiveScorer(request.network, NUM_ITEMS, 8, crosses=request.crosses).scores(history, ())
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


def test_re_ranking_keeps_the_crosses() -> None:
    """All items re-ranked: unquantized scores and crosses, by evaluation and by the bundle."""
    request = exported(FOLLOWING).request
    assert request.index is not None
    exact = ExhaustiveRanker(request.network, NUM_ITEMS, False, request.crosses)
    first = IndexRanker(request.network, request.index, 8, 1, request.crosses)
    candidates = TokenCandidates(request.network, NUM_ITEMS, NUM_ITEMS)
    found = RerankingRanker(first, candidates, NUM_ITEMS).rank(queries(), 5, False)
    wanted = exact.rank(queries(), NUM_ITEMS, False)
    raw = [{"history": [external(int(item)) for item in row if item]} for row in queries().history]
    answers = Retriever.load(exported(FOLLOWING).path).recommend(raw, 5, exclude_seen=False, rerank=NUM_ITEMS)
    for row, answer in enumerate(answers):
        scores = dict(zip(wanted.item_ids[row].tolist(), wanted.scores[row].tolist(), strict=True))
        ranked = [scores[item] for item in found.item_ids[row].tolist()]
        np.testing.assert_allclose(found.scores[row], ranked, rtol=1e-4, atol=1e-4)
        assert [item for item, _ in answer] == [external(int(item)) for item in found.item_ids[row]]
        np.testing.assert_allclose([score for _, score in answer], ranked, rtol=1e-4, atol=1e-4)


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
    values = {"train.epochs": 2, "model.signed_scores": True, "index.top_l": 0, "eval.latency_queries": 2}
    return ring_config(directory, {**values, "crosses.kind": "following", **(extra or {})})


def test_training_chooses_the_weight_and_evaluation_uses_it(tmp_path: Path) -> None:
    """On a ring the next item follows from the last one: crosses alone find it, and get a weight."""
    config, run_dir = ring_run(tmp_path, {"crosses.age_decay": 0.5}), tmp_path / "run"
    train_run(TrainArguments(config, run_dir, False))
    choice = json.loads((run_dir / CHOICE_FILE).read_text())
    best = max(choice["tried"], key=lambda entry: entry["ndcg@10"])
    assert choice["weight"] == best["weight"] > 0
    assert choice["tried"][0]["weight"] == 0
    reports = {
        retriever: evaluate_run(EvalArguments(config, run_dir, "test", retriever, None))
        for retriever in ("index", "exact", "crosses")
    }
    assert reports["index"]["crosses"]["weight"] == choice["weight"]
    assert reports["index"]["fidelity"]["ndcg_change@10"] == pytest.approx(0, abs=1e-6)
    assert reports["index"]["metrics"] == pytest.approx(reports["exact"]["metrics"], abs=1e-6)
    assert reports["crosses"]["model"] == "crosses"
    assert reports["crosses"]["metrics"]["ndcg@10"] > 0.5
    (run_dir / CHOICE_FILE).write_text("{")
    run = open_run(config, run_dir)
    assert run.crosses is not None
    assert run.crosses.weight == choice["weight"]


def test_following_needs_an_order() -> None:
    unordered = replace(tiny_dataset(), ordered=False)
    with pytest.raises(ConfigError, match="need an order"):
        fit_crosses(exported(FOLLOWING).request.config, unordered)
