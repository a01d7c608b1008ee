"""What the configuration leaves to the data: rules by hand, and the configurations that they follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcode.config.by_size import (
    DataSize,
    batch_size,
    codebook_size,
    cross_kind,
    filled_from,
    learning_rate,
    left_open,
    num_negatives,
    resolve,
)
from sparcode.config.loader import dump_config, load_config
from sparcode.config.run import RUN_CONFIG_NAME, load_run_config
from sparcode.config.schema import Config
from sparcode.errors import ConfigError

ROOT = Path(__file__).parents[3]
SYNTHETIC = DataSize(True, True, 1_998, 4_300, 85_107)
BEAUTY = DataSize(True, True, 12_101, 22_400, 131_000)
SPORTS = DataSize(True, True, 18_357, 35_600, 190_000)
ML_10M = DataSize(True, True, 10_681, 210_000, 8_900_000)
GOWALLA = DataSize(False, True, 40_981, 810_000, 810_000)
DEEZER = DataSize(False, False, 50_000, 3_000_000, 3_000_000)
TINY = DataSize(True, True, 30, 60, 400)


@pytest.mark.parametrize(
    ("size", "kind", "rows", "negatives", "codes"),
    [
        (SYNTHETIC, "following", 32, 256, 4096),
        (BEAUTY, "following", 128, 512, 8192),
        (SPORTS, "following", 128, 1024, 8192),
        (ML_10M, "following", 256, 512, 8192),
        (GOWALLA, "ridge", 1024, 2048, 8192),
        (DEEZER, "none", 1024, 2048, 8192),
        (TINY, "following", 32, 256, 32),
        (DataSize(False, True, 30, 60, 60), "ridge", 64, 256, 4),
        (DataSize(False, True, 10**7, 10**9, 10**9), "ridge", 1024, 2048, 8192),
        (DataSize(True, True, 0, 0, 0), "following", 32, 256, 2),
    ],
)
def test_rules(size: DataSize, kind: str, rows: int, negatives: int, codes: int) -> None:
    assert cross_kind(size) == kind
    assert (batch_size(size), num_negatives(size), codebook_size(size, 1)) == (rows, negatives, codes)


def test_several_codebooks_share_the_codes() -> None:
    assert codebook_size(GOWALLA, 2) == 256
    assert codebook_size(TINY, 2) == 32
    assert codebook_size(GOWALLA, 40) == 2


@pytest.mark.parametrize(
    ("steps", "rate"), [(1, 0.005), (1999, 0.005), (2000, 0.002), (15_000, 0.002), (15_001, 0.001)]
)
def test_more_steps_are_smaller_ones(steps: int, rate: float) -> None:
    assert learning_rate(steps) == rate


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("synthetic/sparcode", SYNTHETIC),
        ("amazon-beauty/sparcode_sasrec", BEAUTY),
        ("amazon-sports/sparcode_sasrec", SPORTS),
    ],
)
def test_the_rules_give_what_was_measured(path: str, size: DataSize) -> None:
    train = load_config(ROOT / "configs" / f"{path}.yaml").train
    assert batch_size(size) == train.batch_size
    assert num_negatives(size) == train.loss.num_negatives
    assert learning_rate(-(-size.num_rows // train.batch_size) * train.epochs) == train.learning_rate


def test_what_is_stated_stays_and_the_rest_is_decided() -> None:
    config = Config.model_validate({"train": {"batch_size": 7, "epochs": 1}, "crosses": {"kind": "ridge"}})
    found = resolve(config, SYNTHETIC)
    assert (found.train.batch_size, found.crosses.kind) == (7, "ridge")
    assert found.train.loss.num_negatives == 256
    assert found.train.learning_rate == 0.005  # of the steps that batches of 7 make
    assert found.model.quantizer.codebook_size == 4096  # type: ignore[attr-defined]
    assert left_open(found) == []
    assert resolve(found, TINY) == found


def test_a_model_without_codes_has_nothing_to_decide_about_them() -> None:
    towers = Config.model_validate({"model": {"name": "two_tower"}})
    assert "model.quantizer.codebook_size" not in left_open(towers)
    assert left_open(resolve(towers, TINY)) == []


def test_decided_values_must_fit_stated_ones() -> None:
    with pytest.raises(ConfigError, match=r"index\.probes \(33\) must not exceed"):
        resolve(Config.model_validate({"index": {"probes": 33}}), TINY)


def test_a_record_fills_what_is_open_and_nothing_else() -> None:
    recorded = resolve(Config(), SYNTHETIC)
    given = Config.model_validate({"train": {"batch_size": 7}})
    filled = filled_from(given, recorded)
    assert filled.train.batch_size == 7
    assert filled.train.loss == recorded.train.loss
    assert filled_from(Config(), recorded) == recorded


def test_evaluation_accepts_the_file_that_a_run_was_trained_with(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("train:\n  epochs: 3\n", encoding="utf-8")
    run = resolve(load_config(file), SYNTHETIC)
    (tmp_path / RUN_CONFIG_NAME).write_text(dump_config(run), encoding="utf-8")
    assert load_run_config(tmp_path, (), file) == run
    file.write_text("model:\n  quantizer:\n    codebook_size: 8\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="codebook_size"):
        load_run_config(tmp_path, (), file)
