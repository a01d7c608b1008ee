"""Command lines of the entry scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparcode.config import command_parser
from sparcode.config.command_lines import (
    parse_eval,
    parse_export,
    parse_infer,
    parse_preprocess,
    parse_train,
)
from sparcode.config.keys import iter_keys
from sparcode.config.loader import dump_config, load_config
from sparcode.config.schema import Config
from sparcode.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No default_config.yaml in the working directory; the one of the repository beside the script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_parser, "script_directory", lambda: ROOT)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    config = Config.model_validate({"model": {"token_size": 16}, "train": {"epochs": 3}, "eval": {"ks": [7]}})
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.yaml").write_text(dump_config(config))
    return directory


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_train_reads_defaults_beside_the_script(tmp_path: Path) -> None:
    parsed = parse_train(["--output_dir", "runs/a"])
    assert (parsed.config, parsed.output_dir, parsed.resume) == (Config(), Path("runs/a"), False)


def test_a_default_config_in_the_working_directory_goes_first(tmp_path: Path) -> None:
    write(tmp_path / "default_config.yaml", "seed: 5\n")
    assert parse_train(["--output_dir", "r"]).config.seed == 5


def test_a_named_file_is_looked_up_in_the_working_directory_then_beside_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    write(beside / "c.yaml", "seed: 5\n")
    monkeypatch.setattr(command_parser, "script_directory", lambda: beside)
    assert parse_train(["--output_dir", "r", "--config_path", "c.yaml"]).config.seed == 5
    write(tmp_path / "c.yaml", "seed: 6\n")
    assert parse_train(["--output_dir", "r", "--config_path", "c.yaml"]).config.seed == 6
    with pytest.raises(ConfigError, match=r"absent\.yaml: configuration file not found"):
        parse_train(["--output_dir", "r", "--config_path", "absent.yaml"])


def test_train_takes_overrides_device_and_resume() -> None:
    argv = ["--output_dir", "r", "--resume", "--set", "seed=3", "--set", "train.epochs=2"]
    parsed = parse_train([*argv, "--device_target", "Ascend"])
    assert parsed.resume
    assert (parsed.config.seed, parsed.config.train.epochs, parsed.config.device.target) == (3, 2, "Ascend")


def test_preprocess_puts_input_and_output_into_the_configuration() -> None:
    parsed = parse_preprocess(["--input", "1e-3", "--output", "out", "--set", "data.source=movielens"])
    assert (parsed.config.data.path, parsed.config.data.dataset_dir) == ("1e-3", "out")


def test_preprocess_refuses_an_input_that_would_not_be_read() -> None:
    with pytest.raises(ConfigError, match=r"--input ratings\.dat.*reads no files"):
        parse_preprocess(["--input", "ratings.dat", "--output", "out"])


def test_eval_uses_the_configuration_of_the_run(run_dir: Path) -> None:
    parsed = parse_eval(["--run_dir", str(run_dir), "--json", "x.json", "--split", "valid"])
    assert parsed.config == load_config(run_dir / "config.yaml")
    assert (parsed.run_dir, parsed.split, parsed.json_path) == (run_dir, "valid", Path("x.json"))


@pytest.mark.parametrize(
    "setting",
    [
        "data.dataset_dir=d",
        "index.top_l=7",
        "eval.ks=[3]",
        "export.tolerance=1e-3",
        "device.mode=pynative",
    ],
)
def test_what_does_not_change_the_model_may_be_set_after_training(run_dir: Path, setting: str) -> None:
    before = load_config(run_dir / "config.yaml")
    for parse in (parse_eval, lambda argv: parse_export([*argv, "--output", "b"])):
        assert parse(["--run_dir", str(run_dir), "--set", setting]).config != before


@pytest.mark.parametrize(
    "setting", ["model.token_size=8", "train.epochs=1", "seed=1", "data.max_history=3", "data={path: x}"]
)
def test_what_changes_the_model_is_refused_after_training(run_dir: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match="would not be the trained model"):
        parse_eval(["--run_dir", str(run_dir), "--set", setting])


def test_eval_accepts_a_file_that_agrees_and_takes_its_open_settings(run_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "same.yaml", "model: {token_size: 16}\nindex: {top_l: 9}\nseed: 4\n")
    config = parse_eval(["--run_dir", str(run_dir), "--config_path", str(path)]).config
    assert (config.index.top_l, config.eval.ks, config.seed, config.train.epochs) == (9, (7,), 0, 3)
    override = ["--set", "index.top_l=11"]
    assert (
        parse_eval(["--run_dir", str(run_dir), "--config_path", str(path), *override]).config.index.top_l
        == 11
    )


def test_eval_refuses_a_file_of_another_model_or_data(run_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "other.yaml", "model: {token_size: 32}\ndata: {max_history: 9}\n")
    with pytest.raises(ConfigError) as caught:
        parse_eval(["--run_dir", str(run_dir), "--config_path", str(path)])
    message = str(caught.value)
    assert "data.max_history (50 there, 9 here), model.token_size (16 there, 32 here)" in message


def test_eval_refuses_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.yaml in the run directory"):
        parse_eval(["--run_dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("model", "default", "refused"),
    [
        ("sparcode", "index", "hnsw"),
        ("two_tower", "exact", "index"),
        ("max_sim", "exact", "index"),
        ("mol", "exact", "hnsw"),
        ("all_to_all", "exact", "ivf"),
    ],
)
def test_the_retriever_must_suit_the_model(tmp_path: Path, model: str, default: str, refused: str) -> None:
    write(tmp_path / "config.yaml", f"model: {{name: {model}}}\n")
    assert parse_eval(["--run_dir", str(tmp_path)]).retriever == default
    assert parse_eval(["--run_dir", str(tmp_path), "--retriever", "popularity"]).retriever == "popularity"
    with pytest.raises(UsageError, match=f"--retriever {refused} cannot serve a {model} model"):
        parse_eval(["--run_dir", str(tmp_path), "--retriever", refused])


@pytest.mark.parametrize(
    ("model", "retriever"), [("sparcode", "index"), ("two_tower", "hnsw"), ("two_tower", "exact")]
)
def test_eval_rescores_by_flag_or_key(tmp_path: Path, model: str, retriever: str) -> None:
    write(tmp_path / "config.yaml", f"model: {{name: {model}}}\n")
    flags = ["--run_dir", str(tmp_path), "--retriever", retriever]
    assert parse_eval(flags).config.eval.rescore == 0
    assert parse_eval([*flags, "--rescore", "70"]).config.eval.rescore == 70
    assert parse_eval([*flags, "--set", "eval.rescore=70"]).config.eval.rescore == 70
    with pytest.raises(ConfigError, match=r"eval\.rescore \(49\).*largest of eval\.ks \(50\)"):
        parse_eval([*flags, "--rescore", "49"])


@pytest.mark.parametrize(
    ("model", "retriever"),
    [("sparcode", "exact"), ("sparcode", "popularity"), ("mol", "exact"), ("two_tower", "popularity")],
)
def test_what_is_no_search_cannot_be_rescored(tmp_path: Path, model: str, retriever: str) -> None:
    write(tmp_path / "config.yaml", f"model: {{name: {model}}}\n")
    with pytest.raises(UsageError, match=f"{retriever} finds for a {model} model cannot be rescored"):
        parse_eval(["--run_dir", str(tmp_path), "--retriever", retriever, "--rescore", "70"])


def test_infer_takes_a_number_to_rescore() -> None:
    flags = ["--bundle", "b", "--input", "q", "--output", "r"]
    assert parse_infer(flags).rescore is None
    assert parse_infer([*flags, "--rescore", "200"]).rescore == 200


def test_infer_takes_a_predicate() -> None:
    flags = ["--bundle", "b", "--input", "q", "--output", "r"]
    assert parse_infer(flags).where is None
    assert parse_infer([*flags, "--where", "year >= 1990"]).where == "year >= 1990"


def test_infer_needs_no_configuration() -> None:
    parsed = parse_infer(["--bundle", "b", "--input", "q", "--output", "r", "--topk", "7"])
    assert (parsed.bundle, parsed.input_path, parsed.topk) == (Path("b"), Path("q"), 7)
    assert (parsed.output_path, parsed.device.target) == (Path("r"), "CPU")


@pytest.mark.parametrize(
    ("parse", "argv", "problem"),
    [
        (parse_train, ["--output_dir", "r", "--rezume"], "--rezume"),
        (parse_train, ["--output", "r"], "--output"),
        (parse_train, ["--output_dir", "r", "--device_target", "TPU"], "TPU"),
        (parse_train, ["--output_dir", "r", "--set"], "--set"),
        (parse_eval, ["--run_dir", "r", "--split", "train"], "train"),
        (parse_infer, ["--bundle", "b", "--input", "q", "--output", "r", "--topk", "0"], "--topk"),
        (parse_infer, ["--bundle", "b", "--input", "q", "--output", "r", "--topk", "x"], "positive integer"),
    ],
)
def test_wrong_flags_raise_one_line(parse, argv: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("parse", [parse_train, parse_preprocess, parse_eval, parse_export])
def test_help_is_short_and_help_keys_lists_every_key(parse, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--config_path", "--set", "--device_target", "--help_keys"):
        assert flag in text
    with pytest.raises(SystemExit) as caught:
        parse(["--help_keys"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for key in iter_keys():
        if not key.is_section:
            assert f"  {key.path} = " in text
            assert key.allowed in text
            assert key.description in text
    assert "train.learning_rate = 0.0  [number >= 0]" in text


def test_help_keys_of_a_section_lists_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_train(["--help_keys", "train.loss"])
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " = " in line and "[" in line]
    assert "train.loss.num_negatives" in keys
    assert all(key.startswith("train.loss.") for key in keys[1:])
    with pytest.raises(UsageError, match=r"no section trian.*did you mean train\?"):
        parse_train(["--help_keys", "trian"])


def test_parsing_never_loads_the_framework() -> None:
    code = (
        "import sys, sparcode.config.command_lines; sys.exit(bool({'mindspore', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
