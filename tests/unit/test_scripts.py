"""The shell scripts' refusals and messages, without network and without training."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from sparcode.config.data_schema import DataConfig, SyntheticConfig
from sparcode.data.dataset import preprocess
from sparcode.data.synthetic import generate_synthetic

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def bash(
    script: Path, *argv: str, path: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", str(script), *argv],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", sorted(p.name for p in SCRIPTS.glob("[!_]*.sh")))
def test_every_script_explains_itself_before_it_does_anything(script: str) -> None:
    done = bash(SCRIPTS / script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: bash scripts/{script}")


@pytest.mark.parametrize(
    ("script", "argv", "problem"),
    [
        ("run_eval.sh", [], "RUN_DIR is missing"),
        ("run_eval.sh", ["absent"], "absent: no such run directory"),
        ("run_export.sh", ["run"], "RUN_DIR and BUNDLE are needed"),
        ("run_eval.sh", [str(ROOT), "--workers"], "--workers needs a value"),
        ("run_standalone_train.sh", ["absent.yaml"], "absent.yaml: no such configuration file"),
        ("run_distribute_train.sh", [], "WORKERS is missing"),
        ("run_distribute_train.sh", ["configs/ml-1m/sparcode_dnn.yaml"], "WORKERS must be a positive number"),
        ("run_distribute_train.sh", ["0"], "WORKERS must be a positive number, not '0'"),
        ("run_distribute_train.sh", ["2", "absent.yaml"], "absent.yaml: no such configuration file"),
        ("run_distribute_train.sh", ["2", "--nodes"], "--nodes needs a value"),
        ("quickstart.sh", ["--tiny"], "unknown argument '--tiny'"),
        ("reproduce_paper.sh", ["ml-1m"], "a data set is needed, deezer or ml-10m"),
        ("reproduce.sh", ["ml-2m"], "a data set is needed: ml-1m, amazon-beauty, amazon-sports or gowalla"),
        ("ablate.sh", [], "RUN_DIR is missing"),
        ("download_data.sh", [], "a data set and a directory are needed"),
        ("download_data.sh", ["ml-2m", "d"], "unknown data set 'ml-2m'"),
    ],
)
def test_wrong_arguments_are_refused_with_code_2(script: str, argv: list[str], problem: str) -> None:
    done = bash(SCRIPTS / script, *argv)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert problem in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the helper with a project that needs nothing installed."""
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPTS / "_setup.sh", root / "scripts")
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = '0'\n")
    (root / "scripts" / "go.sh").write_text(
        'set -euo pipefail\nsource "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"\n'
        'setup_environment base\n"$PYTHON_BIN" -c "import sys; print(sys.version_info[:2])"\n'
    )
    return root


def test_setup_skips_interpreters_that_do_not_run_and_installs_once(checkout: Path, tmp_path: Path) -> None:
    # Shims that exist and fail, as pyenv leaves them for versions that are not selected.
    for name in ("python3.12", "python3.11"):
        executable(tmp_path / "bin" / name, "exit 127")
    executable(tmp_path / "bin" / "python3.10", f'exec {shutil.which("python3")} "$@"')
    go = checkout / "scripts" / "go.sh"
    first = bash(go, path=str(tmp_path / "bin"), PYTHON="", SPARCODE_VENV="")
    assert first.returncode == 0, first.stderr
    assert "creating" in first.stderr
    assert "installing requirements" in first.stderr
    second = bash(go, SPARCODE_VENV="")
    assert "environment ready" in second.stderr
    assert "installing" not in second.stderr
    (checkout / "requirements.txt").write_text("# something else\n")
    third = bash(go, SPARCODE_VENV="")
    assert "creating" not in third.stderr
    assert "installing requirements" in third.stderr


@pytest.mark.parametrize(("failures", "code"), [(1, 0), (2, 2)])
def test_setup_tries_a_failed_installation_once_more(
    checkout: Path, tmp_path: Path, failures: int, code: int
) -> None:
    tries = tmp_path / "tries"
    shim = f"""
if [[ "$*" == *"pip install"* ]]; then
    echo >>"{tries}"
    (($(wc -l <"{tries}") > {failures})) || exit 1
fi
exec {shutil.which("python3")} "$@"
"""
    venv = tmp_path / "venv"
    executable(venv / "bin" / "python", shim)
    done = bash(checkout / "scripts" / "go.sh", SPARCODE_VENV=str(venv))
    assert done.returncode == code, done.stderr
    assert done.stderr.count("trying once more") == 1
    assert (venv / ".installed-base").exists() == (code == 0)


def test_setup_refuses_a_python_it_cannot_use(checkout: Path, tmp_path: Path) -> None:
    old = executable(tmp_path / "bin" / "python3.9", "exit 1")
    done = bash(checkout / "scripts" / "go.sh", PYTHON=str(old), SPARCODE_VENV="")
    assert done.returncode == 2
    assert "is not Python 3.10 to 3.12" in done.stderr


def test_setup_never_empties_a_directory_that_is_no_environment(checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter").write_text("dear")
    done = bash(checkout / "scripts" / "go.sh", SPARCODE_VENV=str(home))
    assert done.returncode == 2
    assert (home / "letter").read_text() == "dear"


FAKE_CURL = """
while (($#)); do
    [[ "$1" == --output ]] && out="$2"
    url="$1"
    shift
done
echo "$url" >>"$FETCHED"
[[ "$url" == *.zip ]] && cp "$ARCHIVE" "$out" || echo "1 2 3" >"$out"
"""


@pytest.fixture
def fake_network(tmp_path: Path) -> dict[str, str]:
    executable(tmp_path / "bin" / "curl", FAKE_CURL)
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ml-1m/ratings.dat", "1::2::3::4\n")
    return {"path": str(tmp_path / "bin"), "ARCHIVE": str(archive), "FETCHED": str(tmp_path / "fetched")}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_download_unpacks_and_prints_the_next_command(tmp_path: Path, fake_network: dict[str, str]) -> None:
    target = tmp_path / "raw data"
    done = bash(SCRIPTS / "download_data.sh", "ml-1m", str(target), **fake_network)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in target.iterdir()] == ["ml-1m"]
    assert (tmp_path / "fetched").read_text() == "https://files.grouplens.org/datasets/movielens/ml-1m.zip\n"
    assert "python preprocess.py --input " in done.stdout
    assert "raw\\ data/ml-1m --output datasets/ml-1m" in done.stdout
    assert "--set data.source=movielens" in done.stdout


def test_download_takes_sequences_and_attributes(tmp_path: Path, fake_network: dict[str, str]) -> None:
    done = bash(SCRIPTS / "download_data.sh", "amazon-beauty", str(tmp_path / "raw"), **fake_network)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "raw").iterdir()}
    assert names == {"Beauty.txt", "Beauty_item2attributes.json"}


def test_a_download_without_network_says_so_and_leaves_no_half_a_file(tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "curl", "exit 6")
    target = tmp_path / "raw"
    done = bash(SCRIPTS / "download_data.sh", "amazon-beauty", str(target), path=str(tmp_path / "bin"))
    assert done.returncode == 2
    assert "check the network" in done.stderr
    assert list(target.iterdir()) == []


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart_report", SCRIPTS / "quickstart_report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_comparison_table_has_a_row_each_and_dashes_for_what_is_missing(report: ModuleType) -> None:
    sparcode = {
        "model": "sparcode",
        "retriever": "index",
        "crosses": {"kind": "following"},
        "metrics": {"ndcg@10": 0.125, "ndcg@50": 0.2},
        "size_bytes": 1234567,
        "latency_ms": {"encode_p50": 2.04, "search_p50": 0.0123},
    }
    two_tower = {
        "model": "two_tower",
        "retriever": "exact",
        "crosses": None,
        "metrics": {"ndcg@10": 0.1, "ndcg@50": 0.15},
        "size_bytes": 512000,
        "latency_ms": {"encode_p50": 1.96, "search_p50": 0.25},
    }
    popularity = {
        "model": "popularity",
        "retriever": "popularity",
        "crosses": {"kind": "following"},
        "metrics": {"ndcg@10": 0.05},
        "latency_ms": None,
    }
    text = report.comparison_table([popularity, two_tower, sparcode])
    header, rule, *rows = text.splitlines()[:5]
    assert header.split() == [*("model", "ranked", "by"), *report.HEADER[2:]]
    assert set(rule) == {"-", " "}
    assert [row.split() for row in rows] == [
        ["popularity", "-", "-", "0.0500", "-", "-", "-"],
        ["two_tower", "exact", "-", "0.1000", "0.1500", "512,000", "250"],
        ["sparcode", "index", "yes", "0.1250", "0.2000", "1,234,567", "12"],
    ]
    assert "encoding (2.0 to 2.0 ms)" in text


def test_the_queries_are_whole_histories_by_external_id(report: ModuleType, tmp_path: Path) -> None:
    raw = tmp_path / "raw.txt"
    raw.write_text("7 101 102 103 104\n8 102 101 104 103\n")
    output = tmp_path / "dataset"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "preprocess.py"), "--input", str(raw), "--output", str(output)),
            *("--set", "data.source=user_lines"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report.write_queries(output, tmp_path / "q.jsonl", count=1)
    (query,) = report.read_lines(tmp_path / "q.jsonl")
    assert query == {"query_id": "7", "history": ["101", "102", "103"], "features": {}}


def test_the_queries_hold_the_user_features_by_name(report: ModuleType, tmp_path: Path) -> None:
    synthetic = SyntheticConfig(num_users=20, num_items=60)
    data = preprocess(DataConfig(synthetic=synthetic, dataset_dir=str(tmp_path / "dataset")))
    report.write_queries(tmp_path / "dataset", tmp_path / "q.jsonl", count=2)
    queries = report.read_lines(tmp_path / "q.jsonl")
    assert [query["query_id"] for query in queries] == data.user_ids[:2]
    regions = generate_synthetic(synthetic).user_features[1].values
    assert [query["features"]["region"] for query in queries] == list(regions[:2])
    assert set(queries[0]["features"]) == {"age_group", "region"}


def test_the_recommendations_stand_below_the_end_of_the_history(report: ModuleType) -> None:
    query = '{"query_id": "u", "history": ["a", "b", "c", "d", "e", "f"], "features": {"region": "east"}}'
    queries = [json.loads(query)]
    answers = [json.loads('{"query_id": "u", "items": [{"item": "g", "score": 1.5}]}')]
    user, history, items, *_ = report.recommendations_text(queries, answers).splitlines()
    assert user == "user u (region east)"
    assert history.split(":")[1].strip() == "b, c, d, e, f"
    assert items.split(":")[1].strip() == "g (1.500)"
