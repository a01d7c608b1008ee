"""What an entry does without a named run, by flags of the model zoo, and with a slip of the pen."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from sparcode.config import command_parser
from sparcode.config.command_lines import (
    parse_eval,
    parse_export,
    parse_infer,
    parse_preprocess,
    parse_train,
    parse_update,
)
from sparcode.config.compare_command import parse_compare
from sparcode.config.loader import dump_config
from sparcode.config.retrievers import next_commands
from sparcode.config.run_choice import FINISHED_NAME
from sparcode.config.schema import Config
from sparcode.config.tune_command import parse_tune
from sparcode.errors import ConfigError, OutputError, UsageError

ROOT = Path(__file__).parents[3]
DEFAULT_RUN = Path("runs/synthetic-sparcode")
PARSERS = {
    "train.py": parse_train,
    "eval.py": parse_eval,
    "export.py": parse_export,
    "preprocess.py": parse_preprocess,
    "infer.py": parse_infer,
    "update.py": parse_update,
    "compare.py": parse_compare,
    "tune.py": parse_tune,
}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_parser, "script_directory", lambda: ROOT)


def make_run(path: Path | str, *, finished: bool = True, seconds: int = 0, seed: int = 0) -> Path:
    """A run directory as train.py leaves it, without weights in it."""
    run = Path(path)
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(dump_config(Config(seed=seed)), encoding="utf-8")
    for name in ("best", "last"):
        (run / "checkpoints" / f"{name}.ckpt").touch()
    if finished:
        (run / FINISHED_NAME).write_text("{}", encoding="utf-8")
        os.utime(run / FINISHED_NAME, (1e9 + seconds, 1e9 + seconds))
    return run


# ---- train.py without a directory


def test_train_chooses_a_directory_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parsed = parse_train([])
    assert (parsed.config, parsed.output_dir, parsed.resume, parsed.finished) == (
        Config(),
        DEFAULT_RUN,
        False,
        False,
    )
    assert f"training into {DEFAULT_RUN}" in caplog.text
    named = parse_train(["--set", "data.name=my/shop", "--set", "model.name=two_tower"])
    assert named.output_dir == Path("runs/my-shop-two_tower")


def test_a_finished_run_of_the_same_configuration_is_not_trained_again() -> None:
    make_run(DEFAULT_RUN)
    parsed = parse_train(["--set", "device.mode=pynative"])  # how it runs makes no other run
    assert (parsed.output_dir, parsed.finished) == (DEFAULT_RUN, True)


def test_what_is_left_to_the_data_makes_no_other_run() -> None:
    run = make_run(DEFAULT_RUN)
    decided = Config.model_validate({"train": {"batch_size": 64}, "crosses": {"kind": "ridge"}})
    (run / "config.yaml").write_text(dump_config(decided), encoding="utf-8")
    assert parse_train([]).finished
    assert not parse_train(["--set", "train.batch_size=32"]).finished


def test_another_configuration_goes_beside_a_finished_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_run(DEFAULT_RUN)
    parsed = parse_train(["--set", "seed=1"])
    assert (parsed.output_dir, parsed.finished) == (Path("runs/synthetic-sparcode-2"), False)
    assert f"{DEFAULT_RUN} holds a run of another configuration" in caplog.text
    make_run("runs/synthetic-sparcode-2", seed=1)
    assert parse_train(["--set", "seed=1"]).finished
    assert parse_train(["--set", "seed=2"]).output_dir == Path("runs/synthetic-sparcode-3")


def test_an_unfinished_run_is_neither_continued_nor_overwritten_unasked() -> None:
    make_run(DEFAULT_RUN, finished=False)
    with pytest.raises(OutputError, match=r"not finished.*--resume.*--output_dir"):
        parse_train([])
    parsed = parse_train(["--resume"])
    assert (parsed.output_dir, parsed.resume) == (DEFAULT_RUN, True)


def test_resume_takes_the_last_unfinished_run() -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        parse_train(["--resume"])
    make_run(DEFAULT_RUN)
    with pytest.raises(UsageError, match="no run to resume"):
        parse_train(["--resume"])
    make_run(f"{DEFAULT_RUN}-2", finished=False)
    assert parse_train(["--resume"]).output_dir == Path(f"{DEFAULT_RUN}-2")


def test_train_takes_its_directory_by_position_flag_or_checkpoint() -> None:
    run = make_run("r", finished=False)
    assert parse_train(["r"]).output_dir == run
    assert not parse_train(["r"]).resume
    for path in ("r", "r/checkpoints", "r/checkpoints/last.ckpt"):
        parsed = parse_train(["--checkpoint_path", path])
        assert (parsed.output_dir, parsed.resume) == (run, True)
    with pytest.raises(UsageError, match=r"expected RUN/checkpoints/last\.ckpt"):
        parse_train(["--checkpoint_path", "r/checkpoints/best.ckpt"])
    with pytest.raises(UsageError, match=r"write --config_path configs/x\.yaml"):
        parse_train(["configs/x.yaml"])


def test_the_next_commands_suit_the_model() -> None:
    assert next_commands(Path("runs/my run"), Config()) == [
        "python eval.py 'runs/my run'",
        "python export.py 'runs/my run'",
    ]
    mixture = Config.model_validate({"model": {"name": "mol"}})
    assert next_commands(Path("r"), mixture)[1] == "python eval.py r --retriever popularity"


# ---- eval.py, export.py


def test_the_newest_finished_run_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_run("runs/old", seconds=5)
    make_run("runs/quickstart/new", seconds=9)
    make_run("runs/broken", finished=False)
    assert parse_eval([]).run_dir == Path("runs/quickstart/new")
    assert "newest finished run: runs/quickstart/new" in caplog.text
    exported = parse_export([])
    assert (exported.run_dir, exported.output) == (Path("runs/quickstart/new"), Path("bundles/new"))
    assert "exporting to bundles/new" in caplog.text


def test_without_a_finished_run_there_is_a_remedy(tmp_path: Path) -> None:
    make_run("runs/broken", finished=False)
    for parse in (parse_eval, parse_export):
        with pytest.raises(UsageError, match=f"{tmp_path}/runs: no finished run; train one with"):
            parse([])


def test_a_bundle_is_not_replaced_unasked() -> None:
    make_run("runs/a")
    Path("bundles/a").mkdir(parents=True)
    with pytest.raises(OutputError, match="bundles/a: exists already; add --output bundles/a to replace it"):
        parse_export([])
    assert parse_export(["--output", "bundles/a"]).output == Path("bundles/a")


@pytest.mark.parametrize(
    "argv",
    [
        ["r"],
        ["--run_dir", "r"],
        ["--checkpoint_path", "r"],
        ["--checkpoint_path", "r/checkpoints"],
        ["--checkpoint_path", "r/checkpoints/best.ckpt"],
        ["r", "--run_dir", "./r"],
    ],
)
def test_a_run_is_named_in_any_of_the_usual_ways(argv: list[str]) -> None:
    make_run("r")
    assert parse_eval(argv).run_dir.resolve() == Path("r").resolve()


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["r", "--run_dir", "s"], "RUN r and --run_dir s contradict each other"),
        (["--run_dir", "r", "--checkpoint_path", "s"], "contradict each other"),
        (
            ["r", "--device_target", "GPU", "--set", "device.target=CPU"],
            "--set device.target=CPU and --device",
        ),
        (["r", "--rescore", "60", "--set", "eval={rescore: 70}"], "--rescore 60 contradict each other"),
        (["--checkpoint_path", "r/checkpoints/last.ckpt"], r"expected RUN/checkpoints/best.ckpt"),
        (["--checkpoint_path", "r/x.ckpt"], "no such checkpoint"),
        (["runs/shoop"], "no such run directory; did you mean runs/shop?"),
    ],
)
def test_a_contradiction_or_a_wrong_place_is_one_line(argv: list[str], problem: str) -> None:
    for name in ("r", "s", "runs/shop"):
        make_run(name)
    with pytest.raises(UsageError) as caught:
        parse_eval(argv)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_that_agree_are_fine() -> None:
    make_run("r")
    parsed = parse_eval(["r", "--device_target", "CPU", "--set", "device.target=CPU", "--device_id", "0"])
    assert (parsed.config.device.target, parsed.config.device.id) == ("CPU", 0)


def test_export_writes_mindir_only() -> None:
    make_run("r")
    assert parse_export(["r", "--file_format", "MINDIR"]).run_dir == Path("r")
    with pytest.raises(UsageError, match=r"--file_format: this version writes no ONNX; expected MINDIR"):
        parse_export(["r", "--file_format", "ONNX"])


# ---- data and device


def test_data_path_is_raw_data_or_a_data_set_directory() -> None:
    table = ["--set", "data.source=table"]
    assert parse_train([*table, "--data_path", "views.csv"]).config.data.path == "views.csv"
    Path("prepared").mkdir()
    Path("prepared/dataset.json").touch()
    data = parse_train(["--data_path", "prepared"]).config.data
    assert (data.path, data.dataset_dir) == (None, "prepared")
    with pytest.raises(UsageError, match=r"--input a and --data_path b contradict each other"):
        parse_preprocess([*table, "--input", "a", "--data_path", "b"])


def test_a_device_has_a_number() -> None:
    device = parse_train(["--device_target", "Ascend", "--device_id", "3"]).config.device
    assert (device.target, device.id) == ("Ascend", 3)
    files = ["b", "--input", "q", "--output", "r"]
    device = parse_infer([*files, "--device_target", "GPU", "--device_id", "1"]).device
    assert (device.target, device.id) == ("GPU", 1)
    for parse, argv in ((parse_train, []), (parse_infer, files)):
        with pytest.raises(ConfigError, match=r"device\.id \(2\).*must be 0 or null"):
            parse([*argv, "--device_id", "2"])
    with pytest.raises(UsageError, match="at least 0"):
        parse_train(["--device_id", "-1"])


# ---- infer.py, update.py


def test_a_bundle_is_named_by_position_or_flag_or_is_the_newest() -> None:
    files = ["--input", "q", "--output", "r"]
    for named in (["b"], ["--bundle", "b"]):
        assert parse_infer([*named, *files]).bundle == Path("b")
        assert parse_update([*named, "--remove", "x"]).bundle == Path("b")
    with pytest.raises(UsageError, match="contradict"):
        parse_infer(["b", "--bundle", "c", *files])
    with pytest.raises(UsageError, match=r"no bundle; write one with python export\.py"):
        parse_infer(files)
    for number, name in enumerate(("new", "old")):
        Path("bundles", name).mkdir(parents=True)
        Path("bundles", name, "manifest.json").touch()
        os.utime(Path("bundles", name, "manifest.json"), (1e9 - number, 1e9 - number))
    assert parse_infer(files).bundle == Path("bundles/new")
    with pytest.raises(UsageError, match="no bundle is named"):  # an update changes things: never by chance
        parse_update(["--remove", "x"])


# ---- slips of the pen, and help


@pytest.mark.parametrize(
    ("parse", "argv", "suggestion"),
    [
        (parse_train, ["--ouput_dir", "r"], "unknown flag --ouput_dir; did you mean --output_dir?"),
        (parse_train, ["--output-dir=r"], "did you mean --output_dir?"),
        (parse_eval, ["--retreiver", "index"], "did you mean --retriever?"),
        (parse_eval, ["--retriever", "exakt"], "did you mean exact?"),
        (parse_export, ["--file_format", "mindir"], "did you mean MINDIR?"),
        (parse_preprocess, ["--inptu", "r"], "did you mean --input?"),
        (parse_infer, ["--bundel", "b"], "did you mean --bundle?"),
        (parse_update, ["--rescor", "b"], "did you mean --rescore?"),
        (parse_train, ["--device_target", "cpu"], "did you mean CPU?"),
        (parse_train, ["--zzz"], "see python train.py --help"),
        (parse_train, ["--help_keys", "modle"], "did you mean model?"),
    ],
)
def test_the_nearest_flag_or_choice_is_suggested(parse, argv: list[str], suggestion: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert suggestion in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "suggestion"),
    [
        ("data.protocol=leave_one_ot", "did you mean leave_one_out?"),
        ("model.name=sparcod", "did you mean sparcode?"),
        ("train.epoch=3", "did you mean train.epochs?"),
    ],
)
def test_the_nearest_value_or_key_is_suggested(setting: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_train(["--set", setting])
    assert suggestion in str(caught.value)


@pytest.mark.parametrize("script", PARSERS)
def test_help_fits_on_a_screen(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        PARSERS[script](["--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    for flag in ("--device_target", "--device_id"):
        assert any(flag in line for line in lines)


def test_the_list_of_keys_is_folded_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(SystemExit):
        parse_train(["--help_keys", "model"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  model.token_size = 64") for line in lines)
