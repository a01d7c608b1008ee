"""Bad input through the entry scripts: exit code 2 and one clear line on stderr.

What a single room refuses is tested in that room (tests/unit/data, config, index, serving); here are the
faults that only the whole job meets, and inputs that look bad and must work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sparcode.environment  # noqa: F401  isort: skip  - before MindSpore
import mindspore as ms
import numpy as np

from helpers import write_ring
from sparcode.entry import run_entry
from sparcode.errors import OutputError
from sparcode.files import write_json

ROOT = Path(__file__).parents[1]

CONFIG = """
data:
  name: ring
  source: user_lines
  path: ring.txt
  dataset_dir: data
  max_history: 6
model:
  embedding_size: 8
  num_query_tokens: 2
  token_size: 4
  encoder: {hidden_size: 8}
  quantizer: {num_codebooks: 2, codebook_size: 4}
train:
  epochs: 1
  batch_size: 32
  monitor: ndcg@10
  loss: {num_negatives: 8}
crosses: {kind: none}
eval:
  ks: [10]
  latency_queries: 0
  fidelity_queries: 0
"""

TRAIN = ("train.py", "--config_path", "c.yaml", "--output_dir", "new")
EVAL = ("eval.py", "--run_dir", "run")


def main_of(script: str) -> Callable[[list[str]], None]:
    """The ``main`` function of an entry script."""
    spec = importlib.util.spec_from_file_location(f"entry_{Path(script).stem}", ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run(script: str, *argv: str) -> int:
    """Run an entry script in this process, in the current directory."""
    return run_entry(main_of(script), list(argv))


def run_apart(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run an entry script in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / argv[0]), *argv[1:]],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def assert_one_error_line(stderr: str, *parts: str) -> None:
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, stderr
    assert stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in stderr
    for part in parts:
        assert part in errors[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration, its data and a run of one epoch."""
    home = tmp_path_factory.mktemp("trained")
    write_ring(home / "ring.txt")
    (home / "c.yaml").write_text(CONFIG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert run("train.py", "--config_path", "c.yaml", "--output_dir", "run") == 0
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``trained`` to spoil, as working directory."""
    shutil.copytree(trained, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.delenv("SPARCODE_DEBUG", raising=False)
    return tmp_path / "home"


def report(*settings: str, retriever: str = "index") -> dict[str, Any]:
    """The JSON of an evaluation that must succeed."""
    assert run(*EVAL, "--retriever", retriever, "--json", "r.json", *settings) == 0
    return dict(json.loads(Path("r.json").read_text("utf-8")))


# ---- configuration and data that do not fit, before anything is written


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("model.widht=3", ["model.widht", "unknown"]),
        ("train.epochs=many", ["train.epochs", "many"]),
        ("train.epochs=0", ["train.epochs", "0"]),
        ("model.token_size=5", ["model.token_size", "divisible", "num_codebooks"]),
        ("model.quantizer.codebook_size=65536", ["8589934592", "2 sets of codebooks", "posting lists"]),
        ("data.path=nowhere.txt", ["nowhere.txt"]),
    ],
)
def test_a_wrong_setting_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], setting: str, parts: list[str]
) -> None:
    extra = ["--set", "data.dataset_dir=other"] if setting.startswith("data.path") else []
    assert run(*TRAIN, "--set", setting, *extra) == 2
    assert_one_error_line(capsys.readouterr().err, *parts)
    assert not (home / "new" / "config.yaml").exists()


def write_table(home: Path, rows: list[str], header: str) -> list[str]:
    """A CSV table and the flags that choose it."""
    (home / "t.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    values = {"data.source": "table", "data.path": "t.csv", "data.dataset_dir": "table"}
    return [flag for key, value in values.items() for flag in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("encoder", ["gru4rec", "sasrec"])
def test_an_encoder_of_sequences_on_data_without_an_order(
    home: Path, capsys: pytest.CaptureFixture[str], encoder: str
) -> None:
    flags = write_table(home, [f"{u},{i}" for u in range(9) for i in range(u, u + 8)], "user,item")
    settings = ["data.protocol=ratio", f"model.encoder.name={encoder}"]
    assert run(*TRAIN, *flags, *(flag for value in settings for flag in ("--set", value))) == 2
    assert_one_error_line(capsys.readouterr().err, "model.encoder.name", encoder, "expected dnn")


def test_feature_queries_without_the_features(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["data.source=deezer", "data.protocol=pre_split", "data.use_user_features=false"]
    assert run(*TRAIN, *(flag for value in settings for flag in ("--set", value))) == 2
    assert_one_error_line(capsys.readouterr().err, "data.use_user_features")


def test_a_split_without_validation_targets(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = write_table(home, [f"{u},{i}" for u in range(9) for i in range(u, u + 8)], "user,item")
    settings = ["data.protocol=ratio", "data.valid_ratio=0.0"]
    assert run(*TRAIN, *flags, *(flag for value in settings for flag in ("--set", value))) == 2
    assert_one_error_line(capsys.readouterr().err, "no user has a validation target")


def test_data_of_another_configuration(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, "--set", "data.min_item_interactions=3") == 2
    assert_one_error_line(capsys.readouterr().err, "data.min_item_interactions", "data.dataset_dir")


# ---- outputs that cannot be written


def test_a_run_directory_that_is_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "new").write_text("precious", encoding="utf-8")
    assert run(*TRAIN) == 2
    assert_one_error_line(capsys.readouterr().err, "new: the run directory cannot be written")
    assert (home / "new").read_text("utf-8") == "precious"


def test_a_disk_that_fills_up_during_training(home: Path) -> None:
    """The checkpoint does not fit below the largest allowed file size."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    process = run_apart(*TRAIN, cwd=home, preexec_fn=limit)
    assert process.returncode == 2, process.stderr
    assert_one_error_line(process.stderr, "ckpt")
    assert not list((home / "new" / "checkpoints").iterdir())


def test_a_report_below_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*EVAL, "--retriever", "popularity", "--json", "c.yaml/r.json") == 2
    assert_one_error_line(capsys.readouterr().err, "c.yaml/r.json: cannot be written")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_report_to_a_full_device_leaves_the_device() -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        write_json(Path("/dev/full"), {})
    assert Path("/dev/full").is_char_device()


def test_a_report_in_place_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


# ---- runs that do not fit


def damaged(home: Path, change: Callable[[bytes], bytes]) -> None:
    best = home / "run" / "checkpoints" / "best.ckpt"
    best.write_bytes(change(best.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], id="flipped"),
    ],
)
def test_a_damaged_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str], change: Callable[[bytes], bytes]
) -> None:
    damaged(home, change)
    assert run(*EVAL) == 2
    assert_one_error_line(capsys.readouterr().err, "best.ckpt: the checkpoint is damaged")


def test_a_run_without_a_checkpoint(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "run" / "checkpoints" / "best.ckpt").unlink()
    assert run(*EVAL) == 2
    assert_one_error_line(capsys.readouterr().err, "best.ckpt: there is no checkpoint", "train first")


def test_the_checkpoint_of_another_configuration(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "run" / "config.yaml"
    text = path.read_text("utf-8")
    assert "codebook_size: 4" in text
    path.write_text(text.replace("codebook_size: 4", "codebook_size: 8"), encoding="utf-8")
    assert run(*EVAL) == 2
    assert_one_error_line(capsys.readouterr().err, "another configuration", "model.quantizer.codebook_size")


def test_the_data_set_of_another_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ring(home / "ring.txt", num_users=50)
    assert run(*EVAL, "--set", "data.dataset_dir=other") == 2
    assert_one_error_line(capsys.readouterr().err, "another data set", "data.dataset_dir")


@pytest.mark.parametrize("target", ["GPU", "Ascend"])
def test_a_device_that_this_installation_lacks(home: Path, target: str) -> None:
    if ms.hal.is_available(target):
        pytest.skip(f"{target} is available")
    process = run_apart(*TRAIN, "--device_target", target, cwd=home)
    assert process.returncode == 2
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert f"device {target} is not available" in errors[0]
    assert "--device_target CPU" in errors[0]


# ---- what looks bad and must work


def test_more_results_than_the_catalogue_holds(home: Path) -> None:
    found = report("--set", "eval.ks=[10, 1000]", retriever="exact")["metrics"]
    assert found["recall@1000"] == 1.0
    assert found["precision@1000"] == pytest.approx(1 / 1000)
    assert 0 <= report("--set", "eval.ks=[10, 1000]")["metrics"]["recall@1000"] <= 1.0


def test_users_without_a_history_and_items_never_trained(home: Path) -> None:
    """Split by time: one user and one item appear in the test period only."""
    rows = [f"{user},{item},{10 * user + item}" for user in range(20) for item in range(user % 7, 12)]
    rows += [f"99,{item},{1000 + item}" for item in (3, 4, 777)]
    flags = write_table(home, rows, "user,item,timestamp")
    flags += ["--set", "data.protocol=global_time", "--set", "data.table.timestamp_column=timestamp"]
    assert run("train.py", "--config_path", "c.yaml", "--output_dir", "time", *flags) == 0
    users = json.loads((home / "table" / "user_ids.json").read_text("utf-8"))
    items = json.loads((home / "table" / "item_ids.json").read_text("utf-8"))
    train = np.load(home / "table" / "train_indptr.npy"), np.load(home / "table" / "train_items.npy")
    late, unseen = users.index("99"), items.index("777") + 1
    assert train[0][late] == train[0][late + 1]
    assert unseen not in train[1]
    for retriever in ("index", "exact", "popularity"):
        assert run("eval.py", "--run_dir", "time", "--retriever", retriever, "--json", "t.json") == 0
        found = json.loads(Path("t.json").read_text("utf-8"))
        assert np.isfinite(list(found["metrics"].values())).all()
        assert found["num_items"] == len(items)
