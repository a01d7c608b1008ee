"""Part files: a killed build continues and gives the same bytes; damage and strangers are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sparcode.errors import UsageError
from sparcode.index import BuildOptions, BuildResult, BuildShare, build_index

OPTIONS = BuildOptions(top_l=20, block_terms=8)
CODEBOOKS = np.random.default_rng(5).standard_normal((4, 2, 4, 6)).astype(np.float32)  # 64 terms: 8 blocks


class Scorer:
    """E = token . item vector; ``stop_after`` blocks it fails, ``delay`` slows it down."""

    fingerprint = "dot"

    def __init__(self, stop_after: int = 1000, delay: float = 0.0) -> None:
        self.num_items = 70
        self.vectors = np.random.default_rng(6).standard_normal((71, 6)).astype(np.float32)
        self.stop_after, self.delay, self.calls = stop_after, delay, 0

    def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        self.calls += 1
        if self.calls > self.stop_after:
            raise KeyboardInterrupt
        time.sleep(self.delay)
        return tokens @ self.vectors[start:stop].T


def contents(result: BuildResult) -> list[bytes]:
    postings = result.index.postings
    floors = result.index.floors
    assert floors is not None
    return [array.tobytes() for array in (postings.indptr, postings.item_ids, postings.scores, floors)]


def interrupted(directory: Path, blocks: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_index(Scorer(stop_after=blocks), CODEBOOKS, OPTIONS, share=BuildShare(directory))


def test_part_files_give_the_index_of_memory(tmp_path: Path) -> None:
    result = build_index(Scorer(), CODEBOOKS, OPTIONS, share=BuildShare(tmp_path / "new" / "parts"))
    assert contents(result) == contents(build_index(Scorer(), CODEBOOKS, OPTIONS))


def test_a_stopped_build_continues_with_the_next_block(tmp_path: Path) -> None:
    interrupted(tmp_path, 5)
    scorer, seen = Scorer(), []
    result = build_index(
        scorer, CODEBOOKS, OPTIONS, lambda done, _: seen.append(done), share=BuildShare(tmp_path)
    )
    assert scorer.calls == 3
    assert seen == [40, 48, 56, 64]
    assert contents(result) == contents(build_index(Scorer(), CODEBOOKS, OPTIONS))
    assert result.report.num_pairs == 24 * 70


def test_threads_change_nothing(tmp_path: Path) -> None:
    threaded = BuildOptions(top_l=20, block_terms=8, threads=3)
    interrupted(tmp_path, 2)
    result = build_index(Scorer(), CODEBOOKS, threaded, share=BuildShare(tmp_path))
    assert contents(result) == contents(build_index(Scorer(), CODEBOOKS, OPTIONS))


CHILD = """
import sys
from test_index_parts import CODEBOOKS, OPTIONS, Scorer
from sparcode.index import BuildShare, build_index
share = BuildShare(sys.argv[1])
build_index(Scorer(delay=0.05), CODEBOOKS, OPTIONS, lambda *at: print(*at, flush=True), share=share)
"""


def test_a_build_killed_by_the_system_gives_the_identical_index(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line.split()[0]) >= 24:
                os.kill(child.pid, signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    scorer = Scorer()
    result = build_index(scorer, CODEBOOKS, OPTIONS, share=BuildShare(tmp_path))
    assert 0 < scorer.calls <= 5
    assert contents(result) == contents(build_index(Scorer(), CODEBOOKS, OPTIONS))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "tail", "gone", "begun"])
def test_damaged_parts_are_built_again(tmp_path: Path, damage: str) -> None:
    interrupted(tmp_path, 5)
    path = sorted(tmp_path.rglob("*.npz"))[3]
    data = path.read_bytes()
    middle = len(data) // 2
    changed = {
        "cut": data[:-3],
        "flip": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :],
        "empty": b"",
        "tail": data + b"torn",
    }
    if damage == "gone":
        path.unlink()
    elif damage == "begun":
        path.rename(path.with_suffix(".1.tmp"))
    else:
        path.write_bytes(changed[damage])
    scorer = Scorer()
    result = build_index(scorer, CODEBOOKS, OPTIONS, share=BuildShare(tmp_path))
    assert scorer.calls in ((3, 4) if damage == "tail" else (4,))
    assert contents(result) == contents(build_index(Scorer(), CODEBOOKS, OPTIONS))


@pytest.mark.parametrize("change", ["scorer", "codebooks", "options"])
def test_parts_of_another_build_are_left_alone(tmp_path: Path, change: str) -> None:
    """Two builds of one run with other settings may be at work at once."""
    interrupted(tmp_path, 5)
    left = sorted(tmp_path.rglob("*"))
    scorer, codebooks, options = Scorer(), CODEBOOKS, OPTIONS
    if change == "scorer":
        scorer.fingerprint = "another"
    elif change == "codebooks":
        codebooks = CODEBOOKS + 1
    else:
        options = BuildOptions(top_l=21, block_terms=8)
    result = build_index(scorer, codebooks, options, share=BuildShare(tmp_path))
    assert scorer.calls == 8
    assert contents(result) == contents(build_index(Scorer(), codebooks, options))
    assert sorted(tmp_path.rglob("*")) == left
    scorer = Scorer()
    build_index(scorer, CODEBOOKS, OPTIONS, share=BuildShare(tmp_path))
    assert scorer.calls == 3


def test_nothing_is_left_of_a_finished_build(tmp_path: Path) -> None:
    build_index(Scorer(), CODEBOOKS, OPTIONS, share=BuildShare(tmp_path / "parts"))
    assert not (tmp_path / "parts").exists()


def test_part_files_need_a_fingerprint(tmp_path: Path) -> None:
    class Anonymous:
        num_items = 70
        score_block = Scorer().score_block

    with pytest.raises(UsageError, match="fingerprint"):
        build_index(Anonymous(), CODEBOOKS, OPTIONS, share=BuildShare(tmp_path))


def test_an_index_without_any_posting(tmp_path: Path) -> None:
    scorer = Scorer()
    scorer.vectors[:] = 0
    result = build_index(scorer, CODEBOOKS, BuildOptions(), share=BuildShare(tmp_path))
    assert result.index.num_postings == 0
