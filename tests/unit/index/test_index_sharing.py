"""Several builders of one index: threads stand in for the processes here."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_index_parts import CODEBOOKS, OPTIONS, Scorer, contents

from sparcode.errors import UsageError
from sparcode.index import BuildOptions, BuildResult, BuildShare, build_index


class Together:
    """What builders add up, with a barrier as processes would have it."""

    def __init__(self, size: int) -> None:
        self._given = [0] * size
        self._barrier = threading.Barrier(size)

    def add_up(self, rank: int, number: int) -> int:
        self._given[rank] = number
        self._barrier.wait(20)
        total = sum(self._given)
        self._barrier.wait(20)
        return total


def build_together(
    directory: Path, size: int, scorers: list[Scorer] | None = None, options: BuildOptions = OPTIONS
) -> list[BuildResult]:
    together = Together(size)
    scorers = scorers or [Scorer() for _ in range(size)]

    def build(rank: int) -> BuildResult:
        share = BuildShare(directory, rank, size, lambda number: together.add_up(rank, number))
        return build_index(scorers[rank], CODEBOOKS, options, share=share)

    with ThreadPoolExecutor(size) as executor:
        return list(executor.map(build, range(size)))


@pytest.mark.parametrize("size", [2, 3, 11])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(OPTIONS, id="top_l"),
        pytest.param(BuildOptions(top_l=20, max_bytes=5000, block_terms=8), id="budget"),
    ],
)
def test_every_builder_has_the_index_of_one_byte_for_byte(
    tmp_path: Path, size: int, options: BuildOptions
) -> None:
    alone = build_index(Scorer(), CODEBOOKS, options)
    for result in build_together(tmp_path, size, options=options):
        mine, theirs = result.index.postings, alone.index.postings
        for name in ("indptr", "item_ids", "scores"):
            assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
        assert result.report.num_pairs % (64 * 70) == 0


def test_the_shares_are_whole_blocks_and_differ_by_at_most_one(tmp_path: Path) -> None:
    for count, size in ((8, 3), (7, 2), (2, 5), (0, 4)):
        blocks = [list(BuildShare(tmp_path, rank, size).blocks(count)) for rank in range(size)]
        assert [number for own in blocks for number in own] == list(range(count))
        assert max(map(len, blocks)) - min(map(len, blocks)) <= 1
    scorers = [Scorer() for _ in range(3)]
    build_together(tmp_path, 3, scorers)
    assert sorted(scorer.calls for scorer in scorers) == [2, 3, 3]  # 8 blocks


def test_the_share_of_a_builder_that_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        # stops before it would wait for the other
        build_index(Scorer(stop_after=2), CODEBOOKS, OPTIONS, share=BuildShare(tmp_path, 1, 2))
    scorers = [Scorer(), Scorer()]
    results = build_together(tmp_path, 2, scorers)
    assert [scorer.calls for scorer in scorers] == [4, 2]
    alone = contents(build_index(Scorer(), CODEBOOKS, OPTIONS))
    assert [contents(result) for result in results] == [alone, alone]
    assert results[0].report.num_pairs == 48 * 70


def test_builders_need_a_directory_in_common() -> None:
    with pytest.raises(UsageError, match="directory in common"):
        BuildShare(None, 0, 2)
