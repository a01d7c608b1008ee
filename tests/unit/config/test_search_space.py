"""The search space: the committed one fits every model, and a wrong one is refused by name and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcode.config.loader import build_config, flatten, read_config_file
from sparcode.config.model_schema import MODELS
from sparcode.config.search_space import COMMON, Dimension, check_space, read_space
from sparcode.config.yaml_text import Document
from sparcode.errors import ConfigError

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "configs" / "search_space.yaml"


def test_every_model_has_a_section_and_no_other_is_there() -> None:
    assert set(read_config_file(SPACE).values) == {COMMON, *MODELS}


@pytest.mark.parametrize("kind", ["ridge", "following"])
@pytest.mark.parametrize("model", MODELS)
def test_the_committed_space_fits_every_model(model: str, kind: str) -> None:
    values = {"model": {"name": model, "encoder": {"name": "sasrec"}}, "crosses": {"kind": kind}}
    document = Document(values, {})
    config = build_config(document, (), "test")
    space = read_space(SPACE, model)
    check_space(space, document, "test", config)
    searched = {d.key for d in space if d.applies(flatten(config.model_dump(mode="json")))}
    assert {"train.learning_rate", "model.embedding_size", "model.encoder.dropout"} <= searched
    assert ("crosses.ridge" in searched) == (kind == "ridge")
    assert ("model.quantizer.codebook_size" in searched) == (model == "sparcode")


def test_a_value_of_the_configuration_belongs_to_the_space() -> None:
    choices = Dimension("a", "", choices=(1, 2))
    assert choices.including(5).choices == (5, 1, 2)
    assert choices.including(2) is choices
    rate = Dimension("b", "", low=0.1, high=1.0, log=True)
    assert rate.including(3.0).contains(3.0)
    assert rate.including(0.01).contains(0.5)
    assert rate.including(0.0) == rate  # no order of magnitude
    assert not rate.including(0.0).contains(0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rate: {low: 1.0, high: 0.1}", "line 2.*wrong range"),
        ("train.learning_rate: {low: 0, high: 0.1, log: true}", "line 2.*wrong range"),
        ("train.learning_rate: {low: yes, high: 0.1}", "line 2.*numbers low and high"),
        ("train.learning_rate: 0.1", "line 2.*choices, or low and high"),
        ("train.batch_size: {choices: []}", "line 2.*a list that is not empty"),
        ("train.batch_size: {choices: [1], low: 1}", "line 2.*choices alone"),
        ("train.batch_size: {options: [1]}", "line 2.*wrong entry"),
        ("train.monitor: {choices: [ndcg@10]}", "line 2.*cannot be tuned"),
        ("data.protocol: {choices: [ratio]}", "line 2.*cannot be tuned"),
        ("index.top_l: {low: 10, high: 20}", "line 2.*cannot be tuned"),
        ("train.batch_sise: {choices: [32]}", "unknown configuration key.*did you mean train.batch_size"),
        ("train.batch_size: {choices: [-1]}", "train.batch_size .*line 2.*received -1"),
    ],
)
def test_a_wrong_space_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"common:\n  {text}\n", encoding="utf-8")
    document = Document({"model": {"name": "two_tower"}}, {})
    with pytest.raises(ConfigError, match=message):
        check_space(read_space(path, "two_tower"), document, "test", build_config(document, (), "test"))


def test_a_space_without_the_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("mol:\n  model.embedding_size: {choices: [8]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nothing for a two_tower model"):
        read_space(path, "two_tower")
