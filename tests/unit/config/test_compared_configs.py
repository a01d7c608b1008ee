"""Configurations of one table differ in nothing but what the table compares."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from sparcode.config.keys import iter_keys
from sparcode.config.loader import flatten, load_config
from sparcode.config.model_schema import MODELS

CONFIGS = Path(__file__).parents[3] / "configs"

MAY_DIFFER = {
    "model.name": "what the table compares",
    "model.num_query_tokens": "how a model represents the query is a part of it: vectors, components, tokens",
    "model.token_size": "the same",
    "model.scorer": "the interaction is what tells the models with tokens apart",
    "train.quantize_from": "only SparCode has a phase with codes",
    "train.quantized_share": "the same",
    "index": "only SparCode is served from an inverted index",
}
"""Keys, and sections with all their keys, in which configurations of one table may differ, and why.

Keys that only one of two models has are options of that model and not listed.
"""


PAPER_MAY_DIFFER = {
    "model.signed_scores": "relu(E + b) is the published form",
    "model.quantizer": "so are two shared codebooks",
    "train.loss": "the whole catalogue is too much for a perceptron on token and item",
}
"""What the published form of SparCode may differ in besides, and why."""


def tables() -> dict[str, list[Path]]:
    """Files of each table: those of a data set whose names differ in the model alone."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(CONFIGS.glob("*/*.yaml")):
        name = next((name for name in [*MODELS, "paper"] if path.stem.startswith(name)), None)
        if name is not None:
            found[f"{path.parent.name}{path.stem.removeprefix(name)}"].append(path)
    return found


def unexplained(first: Path, second: Path, *settings: str) -> list[str]:
    """Keys that both have, with different values and no reason; the settings change the second."""
    left, right = (
        flatten(load_config(path, chosen).model_dump()) for path, chosen in ((first, ()), (second, settings))
    )
    differing = [key for key in left.keys() & right.keys() if left[key] != right[key]]
    paper = any(path.stem.startswith("paper") for path in (first, second))
    explained = [*MAY_DIFFER, *(PAPER_MAY_DIFFER if paper else ())]
    return sorted(
        key for key in differing if not any(key == name or key.startswith(f"{name}.") for name in explained)
    )


@pytest.mark.parametrize("table", sorted(tables()))
def test_configurations_of_a_table_differ_in_named_keys_only(table: str) -> None:
    for first, second in itertools.combinations(tables()[table], 2):
        assert unexplained(first, second) == [], f"{first.name} and {second.name}"


def test_every_real_data_set_has_a_table_of_several_models() -> None:
    sizes = {table: len(files) for table, files in tables().items()}
    assert (sizes["ml-1m_dnn"], sizes["amazon-beauty_sasrec"], sizes["synthetic"]) == (6, 5, 3)
    assert len({table.partition("_")[0] for table, size in sizes.items() if size > 1}) >= 6


@pytest.mark.parametrize(
    "setting",
    ["train.epochs=7", "model.item_std=0.5", "model.encoder.dropout=0.25", "seed=3"],
)
def test_a_difference_is_noticed_whatever_its_section(setting: str) -> None:
    first, second = tables()["amazon-beauty_sasrec"][:2]
    assert unexplained(first, second, setting) == [setting.partition("=")[0]]


def test_the_list_names_keys_that_exist() -> None:
    assert {*MAY_DIFFER, *PAPER_MAY_DIFFER} <= {key.path for key in iter_keys()}
