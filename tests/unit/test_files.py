"""Files and directories take their names complete or not at all; what is no file is written through."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sparcode import files
from sparcode.errors import OutputError
from sparcode.files import check_writable, replacing_directory, replacing_file, write_json, write_text


def replace(target: Path, text: str) -> None:
    with replacing_directory(target, lambda _: True, "bundle") as partial:
        (partial / "file").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("atomic", [True, False])
def test_the_old_directory_is_replaced_and_nothing_else_is_left(
    atomic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not atomic:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    replace(tmp_path / "bundle", "old")
    replace(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle" / "file").read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["bundle"]


def test_there_is_no_moment_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(tmp_path / "bundle", "old")
    if not files._exchange(tmp_path / "bundle", tmp_path / "bundle"):
        pytest.skip("this system cannot exchange directories")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    replace(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle" / "file").read_text(encoding="utf-8") == "new"


def test_paths_that_cannot_be_exchanged_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert not files._exchange(tmp_path / "one", tmp_path / "absent")
    assert os.listdir(tmp_path) == ["one"]


# ---- files


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    write_text(target, "old")
    write_text(target, "new \u00e9\n")
    assert target.read_text(encoding="utf-8") == "new \u00e9\n"
    assert os.listdir(target.parent) == ["file"]


def test_what_fails_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")
    with pytest.raises(TypeError), replacing_file(target) as stream:
        stream.writelines(["new", 1])  # type: ignore[list-item]
    assert target.read_text(encoding="utf-8") == "old"
    with pytest.raises(OutputError, match="No space left"), replacing_file(target) as stream:
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"


def test_a_fifo_is_written_through(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_writable(fifo)
    writer = threading.Thread(target=write_text, args=(fifo, "through"))
    writer.start()
    assert fifo.read_text(encoding="utf-8") == "through"
    writer.join()
    assert fifo.is_fifo()


PRINT_AND_WRITE = """
from pathlib import Path
from sparcode.files import check_writable, write_text
print("before")
check_writable(Path("/dev/stdout"))
write_text(Path("/dev/stdout"), "between\\n")
print("after")
"""


@pytest.mark.parametrize("into", ["pipe", "file"])
def test_standard_output_is_written_through_in_order(into: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        stdout = subprocess.PIPE if into == "pipe" else log
        done = subprocess.run(
            [sys.executable, "-c", PRINT_AND_WRITE], stdout=stdout, text=True, check=True, timeout=60
        )
    text = done.stdout if into == "pipe" else (tmp_path / "log").read_text(encoding="utf-8")
    assert text == "before\nbetween\nafter\n"
    assert os.listdir(tmp_path) == ["log"]


def test_a_file_that_cannot_be_written_is_refused_before_and_after_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for target in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written"):
            check_writable(target)
        with pytest.raises(OutputError, match="cannot be written"):
            write_json(target, {})
    assert os.listdir(tmp_path) == ["file"]
