"""No committed configuration has an index that reads much of its catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcode.config.loader import load_config
from sparcode.config.schema import Config
from sparcode.evaluation.index_choice import PROBES

CONFIGS = Path(__file__).parents[3] / "configs"
MOST = 8_192
TYPICAL_HISTORY = 100
"""Items of a history that counts here: longer ones are few."""


def served() -> list[Path]:
    paths = [*CONFIGS.glob("*/*.yaml"), CONFIGS.parent / "default_config.yaml"]
    return [path for path in sorted(paths) if load_config(path, []).model.name == "sparcode"]


def most_postings(config: Config) -> int:
    """Postings that a query of a typical history reads at most, with as many probes as may be chosen."""
    index, crosses = config.index, config.crosses
    assert index.top_l > 0, "lists without a limit hold the catalogue"
    probes = index.probes or max(PROBES)
    read = config.model.num_query_tokens * probes * index.top_l
    if crosses.kind != "none":
        assert crosses.top_l > 0, "rows of crosses without a limit"
        read += min(crosses.max_history or config.data.max_history, TYPICAL_HISTORY) * crosses.top_l
    return read


@pytest.mark.parametrize("path", served(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_query_reads_a_bounded_number_of_postings(path: Path) -> None:
    assert most_postings(load_config(path, [])) <= MOST


def test_an_index_of_complete_lists_would_be_noticed() -> None:
    config = load_config(CONFIGS / "ml-1m" / "sparcode_dnn.yaml", ["index.top_l=3260"])
    assert most_postings(config) > MOST
    with pytest.raises(AssertionError):
        most_postings(load_config(CONFIGS / "ml-1m" / "sparcode_dnn.yaml", ["index.top_l=0"]))
