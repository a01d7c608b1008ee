"""What is left open is chosen on the validation users, kept in the run, and served with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import ring_config, tiny_config, tiny_dataset
from sparcode.config.command_lines import EvalArguments, ExportArguments, TrainArguments
from sparcode.config.schema import Config
from sparcode.evaluation import index_loss
from sparcode.evaluation.index_choice import STRENGTHS, TEMPERATURES, IndexChoice, SettingsTried
from sparcode.evaluation.rankers import ExhaustiveRanker
from sparcode.evaluation.report import relevance
from sparcode.model.factory import build_network
from sparcode.pipeline import choices, summary
from sparcode.pipeline.choices import CHOICE_FILE, TrainedModel, count_codes
from sparcode.pipeline.evaluate import evaluate_run
from sparcode.pipeline.export import export_run
from sparcode.pipeline.model_inputs import validation_queries
from sparcode.pipeline.runs import Run, data_shape, open_run
from sparcode.pipeline.summary import SUMMARY_FILE
from sparcode.pipeline.train import train_run
from sparcode.training.world import World

OPEN: dict[str, Any] = {"index.probes": 0, "index.probe_temperature": 0.0, "index.prior_strength": 0.0}
GIVEN: dict[str, Any] = {"index.probes": 3, "index.probe_temperature": 0.5, "index.prior_strength": 30.0}
VALUES: dict[str, Any] = {
    **OPEN,
    "model.num_query_tokens": 2,
    "model.quantizer.num_codebooks": 1,
    "model.quantizer.codebook_size": 16,
    "train.epochs": 2,
    "train.quantize_from": 1.0,
    "index.top_l": 12,
    "crosses.kind": "following",
    "crosses.max_history": 8,
    "crosses.top_l": 5,
    "eval.latency_queries": 0,
    "eval.fidelity_queries": 20,
}


@dataclass(frozen=True)
class Trained:
    """A run on the ring, and its configuration with some keys changed."""

    home: Path
    run_dir: Path

    def config(self, **values: Any) -> Config:
        return ring_config(self.home, {**VALUES, **values})

    def open(self, **values: Any) -> Run:
        return open_run(self.config(**values), self.run_dir)

    def copy(self, target: Path) -> Trained:
        shutil.copytree(self.run_dir, target)
        return Trained(self.home, target)

    def choices(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.run_dir / CHOICE_FILE).read_text())["choices"]
        return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("ring")
    one = Trained(home, home / "run")
    train_run(TrainArguments(one.config(), one.run_dir, False))
    return one


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[SettingsTried]:
    """What was chosen from, each time that a choice was made."""
    calls: list[SettingsTried] = []
    plain = IndexChoice.choose

    def counting(self: IndexChoice, settings: SettingsTried) -> Any:
        calls.append(settings)
        return plain(self, settings)

    monkeypatch.setattr(IndexChoice, "choose", counting)
    return calls


def test_evaluation_on_the_validation_users_finds_the_chosen_value(
    trained: Trained, made: list[SettingsTried]
) -> None:
    (choice,) = trained.choices()
    report = evaluate_run(EvalArguments(trained.config(), trained.run_dir, "valid", "index", None))
    crossed = [tried for tried in choice["tried"] if tried["cross_weight"] is not None]
    assert report["metrics"]["ndcg@10"] == pytest.approx(max(tried["ndcg@10"] for tried in crossed))
    assert report["settings"] == choice["settings"]
    assert report["crosses"]["weight"] == choice["settings"]["cross_weight"] > 0
    most = 2 * 12 * choice["settings"]["probes"] + 8 * 5
    assert 0 < report["index"]["postings_read_p50"] <= report["index"]["postings_read_p99"] <= most
    assert {tried["prior_strength"] for tried in choice["tried"]} == set(STRENGTHS)
    assert made == []


def test_a_choice_is_made_once_and_stands_beside_the_others(
    trained: Trained, made: list[SettingsTried], tmp_path: Path
) -> None:
    run = trained.copy(tmp_path / "run")
    first = run.open().served.settings
    run.open(**{"index.packing": "uint8", "index.threads": 2, "eval.ks": (5,)})  # no choice depends on these
    assert made == []
    for number, change in enumerate(
        ({"index.top_l": 9}, {"crosses.kind": "none"}, {"eval.first_items": 2}), 1
    ):
        for _ in range(2):
            settings = run.open(**change).served.settings
        assert len(made) == number
        assert [asdict(settings)] == [choice["settings"] for choice in run.choices()[number:]]  # type: ignore[arg-type]
    assert run.open().served.settings == first
    assert len(made) == 3
    assert len(run.choices()) == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"choices": 3}', '{"choices": [7, {}]}'])
def test_a_damaged_file_is_made_anew(
    trained: Trained, made: list[SettingsTried], tmp_path: Path, text: str
) -> None:
    run = trained.copy(tmp_path / "run")
    (run.run_dir / CHOICE_FILE).write_text(text)
    run.open()
    assert len(made) == 1
    assert run.choices()[-1] == trained.choices()[0]


def test_given_settings_are_served_and_not_chosen(
    trained: Trained, made: list[SettingsTried], tmp_path: Path
) -> None:
    run = trained.copy(tmp_path / "run")
    (run.run_dir / CHOICE_FILE).unlink()
    opened = run.open(**GIVEN, **{"crosses.weight": 2.5})
    assert made == []
    assert not (run.run_dir / CHOICE_FILE).exists()
    quantizer, posterior = opened.network.quantizer, opened.served.posterior
    assert (quantizer.probes, quantizer.probe_temperature) == (3, 0.5)
    assert posterior is not None
    assert (posterior.strength, posterior.scale) == (30.0, 2.0)
    assert opened.crosses is not None
    assert opened.crosses.weight == 2.5


def test_one_given_setting_narrows_the_choice(
    trained: Trained, made: list[SettingsTried], tmp_path: Path
) -> None:
    run = trained.copy(tmp_path / "run")
    settings = run.open(**{"index.probes": 3, "crosses.weight": 2.5}).served.settings
    (tried,) = made
    assert settings is not None
    assert (tried.probes, settings.probes) == ((3,), 3)
    assert (tried.cross_weight, settings.cross_weight) == (2.5, 2.5)
    assert (tried.temperatures, tried.strengths) == (TEMPERATURES, STRENGTHS)


def test_lists_of_the_network_alone_need_no_counts(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr(choices, "count_codes", refuse)
    run = trained.copy(tmp_path / "run")
    served = run.open(**{"index.prior_strength": None}).served
    assert served.posterior is None
    assert {tried["prior_strength"] for tried in run.choices()[-1]["tried"]} == {None}
    with pytest.raises(AssertionError, match="counted"):
        run.open(**{"index.prior_strength": 30.0})


@pytest.mark.parametrize("packing", ["none", "uint8"])
def test_a_run_with_posterior_lists_is_exported_and_verified(
    trained: Trained, tmp_path: Path, packing: str
) -> None:
    config = trained.config(**GIVEN, **{"index.packing": packing, "crosses.weight": 2.5})
    report = export_run(ExportArguments(config, trained.run_dir, tmp_path / "bundle"))
    assert report is not None
    assert report.verification.num_queries == 60
    assert report.verification.index_error < 1e-4


# ---- in memory


def model_of(values: dict[str, Any], ordered: bool = True) -> TrainedModel:
    config, dataset = tiny_config(values), tiny_dataset(ordered=ordered)
    network: Any = build_network(config.model, data_shape(config, dataset))
    network.quantizer.fit(np.random.default_rng(0).normal(size=(40, 3, 4)).astype(np.float32), 0)
    return TrainedModel(config, dataset, network, 0)


def test_unsigned_scores_are_not_corrected() -> None:
    for signed, strengths in ((True, STRENGTHS), (False, (None,))):
        model = model_of({**OPEN, "model.signed_scores": signed})
        tried = choices._tried(model.config, model.network)  # type: ignore[arg-type]
        assert tried.strengths == strengths


@pytest.mark.parametrize(
    ("ordered", "change"),
    [(True, {"train.targets_per_sequence": 1}), (False, {"train.vary_history": True})],
    ids=["sequences", "pairs"],
)
def test_codes_are_counted_of_every_target_whatever_training_leaves_out(
    ordered: bool, change: dict[str, Any]
) -> None:
    model, other = model_of({}, ordered), model_of(change, ordered)
    found = count_codes(model, model.network, World())  # type: ignore[arg-type]
    again = count_codes(
        TrainedModel(other.config, model.dataset, model.network, 0),
        model.network,
        World(),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(found.counts, again.counts)
    np.testing.assert_array_equal(found.item_ids, again.item_ids)
    interactions = len(model.dataset.train.items)
    if not ordered:
        assert found.counts.sum() == pytest.approx(3 * interactions)
    assert found.counts.sum() >= 3 * (interactions - model.dataset.num_users)


# ---- the summary that a training ends with


def summary_of(run: Trained) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.run_dir / SUMMARY_FILE).read_text())["choices"][0]
    return found


@pytest.mark.parametrize(
    ("row", "retriever"),
    [("popularity", "popularity"), ("crosses alone", "crosses"), ("from the index", "index")],
)
def test_the_summary_is_what_evaluation_finds_on_the_validation_users(
    trained: Trained, row: str, retriever: str
) -> None:
    report = evaluate_run(EvalArguments(trained.config(), trained.run_dir, "valid", retriever, None))
    assert summary_of(trained)["rows"][row] == pytest.approx(report["metrics"])


def test_exact_rows_are_those_of_the_network_with_and_without_the_crosses_that_are_served(
    trained: Trained,
) -> None:
    run, rows = trained.open(), summary_of(trained)["rows"]
    for crosses, row in ((run.crosses, "with crosses, exact"), (None, "network, exact")):
        length = run.config.data.max_history if crosses is None else crosses.history_length
        ranker = ExhaustiveRanker(run.network, run.dataset.num_items, False, crosses)
        queries = validation_queries(run.config, run.dataset, length)
        assert rows[row] == pytest.approx(relevance(ranker, queries, (5, 10), True, run.world))


def test_export_and_evaluation_warn_of_what_the_index_loses(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (index_loss, summary):
        monkeypatch.setattr(module, "TOLERATED", -100.0)  # the ring is too easy to lose anything
    run = trained.copy(tmp_path / "run")
    short = run.config(**{"index.top_l": 1, "crosses.kind": "none"})
    export_run(ExportArguments(short, run.run_dir, tmp_path / "bundle"))
    report = evaluate_run(EvalArguments(short, run.run_dir, "valid", "index", None))
    warnings = [record.message for record in caplog.records if "the index loses" in record.message]
    assert len(warnings) == 2
    rows = json.loads((run.run_dir / SUMMARY_FILE).read_text())["choices"][-1]["rows"]
    measured = (rows["from the index"]["ndcg@10"], rows["network, exact"]["ndcg@10"])
    told = (report["fidelity"]["index_ndcg@10"], report["fidelity"]["model_ndcg@10"])
    for warning, (index, exact) in zip(warnings, (measured, told), strict=True):
        assert f"own ndcg@10: {index:.4f}, exact scores {exact:.4f}" in warning
        assert "index.top_l (1)" in warning
