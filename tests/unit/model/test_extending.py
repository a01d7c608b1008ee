"""The page on extending: its files, put into a copy of the package, pass its tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:`src/sparcode/(model/\S+\.py)`:\n\n)?```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "sparcode", directory / "sparcode", ignore=ignored)
    files = [(path, text) for path, text in BLOCKS if path]
    assert [Path(path).parent.name for path, _ in files] == ["encoders", "interaction", "matchers"]
    for path, text in files:
        (directory / "sparcode" / path).write_text(text, encoding="utf-8")
    start = next(text for _, text in BLOCKS if "def network_of" in text)
    tests = [text for path, text in BLOCKS if not path and text is not start]
    (directory / "test_page.py").write_text("\n\n".join([start, *tests]), encoding="utf-8")
    return directory


def run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "MS_DEV_HOST_BLOCKING_RUN": "1"}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=copy,
        timeout=300,
        check=False,
    )


def test_the_tests_of_the_page_pass(copy: Path) -> None:
    done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_configuration_knows_the_new_names_without_mindspore(copy: Path) -> None:
    code = """
import sys
from sparcode.config.keys import render_help
from sparcode.config.schema import Config
print(render_help())
Config.model_validate({"model": {"name": "sparcode", "scorer": {"name": "scaled", "strength": 3.0}}})
assert "mindspore" not in sys.modules
"""
    done = run(copy, "-c", code)
    assert done.returncode == 0, done.stderr
    for line in (
        "model.scorer.strength = 2.0  [number > 0]  (model.scorer.name scaled)",
        "model.sharpness = 10.0  [number > 0]  (model.name cosine)",
        "dnn | gru4rec | last_item | sasrec",
    ):
        assert line in done.stdout


def test_two_files_may_not_have_one_name(copy: Path) -> None:
    encoders = copy / "sparcode" / "model" / "encoders"
    again = encoders / "last_item_again.py"
    shutil.copy(encoders / "last_item.py", again)
    done = run(copy, "-c", "import sparcode.config.schema")
    again.unlink()
    assert "two files of model/encoders are called last_item" in done.stderr
