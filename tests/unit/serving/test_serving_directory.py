"""A directory takes its name complete or not at all, also when another has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sparcode.serving import directory
from sparcode.serving.directory import replacing_directory


def replace(target: Path, text: str) -> None:
    with replacing_directory(target, lambda _: True) as partial:
        (partial / "file").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("atomic", [True, False])
def test_the_old_directory_is_replaced_and_nothing_else_is_left(
    atomic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not atomic:
        monkeypatch.setattr(directory, "_exchange", lambda first, second: False)
    replace(tmp_path / "bundle", "old")
    replace(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle" / "file").read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["bundle"]


def test_there_is_no_moment_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(tmp_path / "bundle", "old")
    if not directory._exchange(tmp_path / "bundle", tmp_path / "bundle"):
        pytest.skip("this system cannot exchange directories")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    replace(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle" / "file").read_text(encoding="utf-8") == "new"


def test_paths_that_cannot_be_exchanged_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert not directory._exchange(tmp_path / "one", tmp_path / "absent")
    assert os.listdir(tmp_path) == ["one"]
