"""The entries on a terminal of 80 and of 110 columns."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from terminal import Screen, run_in_terminal

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data.synthetic.num_users": 300,
    "data.synthetic.num_items": 150,
    "train.epochs": 2,
    "model.quantizer.codebook_size": 32,
    "eval.latency_queries": 5,
    "export.verify_queries": 20,
}
TRAIN = ["train.py", *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}"))]
pytestmark = pytest.mark.slow

BAR = re.compile(r"\d% \||\.\.\. \d+ s")


def entry(argv: list[str], columns: int, cwd: Path) -> Screen:
    script, *rest = argv
    return run_in_terminal([sys.executable, str(ROOT / script), *rest], columns, cwd)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("terminal")


@pytest.fixture(scope="module")
def screens(home: Path) -> dict[str, tuple[Screen, int]]:
    """Bare commands one after the other: training, evaluation, export."""
    commands = {
        "train": (TRAIN, 80),
        "again": (TRAIN, 80),
        "eval": (["eval.py"], 80),
        "export": (["export.py"], 110),
    }
    found = {name: (entry(argv, columns, home), columns) for name, (argv, columns) in commands.items()}
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    flags = ["--verbose", "--set", "eval.latency_queries=0"]
    if importlib.util.find_spec("matplotlib"):
        flags += ["--plot", "curves.png"]
    verbose = ["eval.py", str(home / "runs" / "synthetic-sparcode"), *flags]
    found["verbose"] = entry(verbose, 110, elsewhere), 110
    for name, (screen, _) in found.items():
        assert screen.code == 0, (name, screen.lines)
    return found


def test_no_line_is_too_wide_and_no_bar_stays(screens: dict[str, tuple[Screen, int]]) -> None:
    for name, (screen, columns) in screens.items():
        too_wide = [line for line in screen.drawn if len(line.rstrip()) >= columns]
        assert too_wide == [], name
        assert [line for line in screen.lines if BAR.search(line)] == [], name
        bars = [line.split("|")[1] for line in screen.drawn if re.search(r"\d% \|", line)]
        assert all(len(bar) >= 10 for bar in bars), name


def test_everything_that_takes_long_is_named(screens: dict[str, tuple[Screen, int]]) -> None:
    drawn = "\n".join(line for screen, _ in screens.values() for line in screen.drawn)
    for work in (
        "loading MindSpore",
        "compiling the step",
        "epoch 2/2 ",
        "fitting codes by k-means",
        "validating",
        "building the index",
        "ranking for 300 queries by index",
        "comparing the reloaded bundle",
    ):
        assert work in drawn


def test_bare_commands_say_what_they_chose_and_what_comes_next(
    screens: dict[str, tuple[Screen, int]], home: Path
) -> None:
    run, bundle = "runs/synthetic-sparcode", "bundles/synthetic-sparcode"
    lines = {name: screen.lines for name, (screen, _) in screens.items()}
    assert f"training into {run}" in lines["train"]
    following = ["next:", f"  python eval.py {run}", f"  python export.py {run}"]
    assert [line for line in lines["train"] if line][-3:] == following
    assert [line for line in lines["again"] if line] == [
        f"{run} is trained already, with this configuration",
        *following,
    ]
    assert f"newest finished run: {run}" in lines["eval"]
    assert f"exporting to {bundle}" in lines["export"]
    assert (home / bundle / "manifest.json").is_file()


def test_the_report_is_for_people(screens: dict[str, tuple[Screen, int]]) -> None:
    lines = screens["eval"][0].lines
    top = lines.index("synthetic, test split: 300 queries, 150 items")
    assert lines[top + 1].startswith("sparcode (dnn), seed 0, by index")
    assert lines[top + 3].split() == ["@10", "@50"]
    assert [line.split()[0] for line in lines[top + 4 : top + 6]] == ["recall", "ndcg"]
    assert any(line.startswith("index: ") for line in lines)
    assert not any("pairs_per_second" in line for line in lines)
    assert any(line.startswith("index.pairs_per_second = ") for line in screens["verbose"][0].lines)


def test_a_run_is_evaluated_from_another_directory(
    screens: dict[str, tuple[Screen, int]], home: Path
) -> None:
    lines = screens["verbose"][0].lines
    assert not any("preprocessing" in line for line in lines)
    assert not (home / "elsewhere" / "datasets").exists()
    if importlib.util.find_spec("matplotlib"):
        assert "training curves in curves.png" in lines
        assert (home / "elsewhere" / "curves.png").is_file()
