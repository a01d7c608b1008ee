"""Updates of a live index: by hand, refused arguments, readers beside a writer, and what a crash leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from live_cases import CODEBOOKS, NUM_TERMS, TableScorer, start
from sparcode.errors import IndexFormatError, OutputError, UsageError
from sparcode.index import IndexBuildError, InvertedIndex
from sparcode.index.filters import number
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.live.live_index import LiveIndex

TERMS = np.arange(NUM_TERMS)[None]


def small() -> LiveIndex:
    """Terms 0 and 1 with the floors 0 and 0.5; items 1 to 3."""
    base = InvertedIndex.from_postings(
        [0, 2, 3], [1, 3, 2], np.array([1, 2, 4], np.float32), num_items=3, floors=np.array([0, 0.5])
    )
    return LiveIndex(base, np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1))


def table(*columns: list[float]) -> TableScorer:
    return TableScorer(np.array(columns, np.float32).T)


def answer(live: LiveIndex, **options: object) -> list[tuple[int, float]]:
    result = live.search([[0, 1]], k=10, **options)
    pairs = zip(result.item_ids[0].tolist(), result.scores[0].tolist(), strict=True)
    return [pair for pair in pairs if pair[0] >= 0]


def test_updates_by_hand() -> None:
    live = small()
    live.add([5, 7], table([1.5, 3.0], [-1.0, 0.5]))  # 7 exceeds neither floor: it has no posting
    assert answer(live) == [(2, 4.0), (5, 4.0), (3, 2.0), (1, 1.0)]
    live.remove([2])
    assert answer(live) == [(5, 4.0), (3, 2.0), (1, 1.0)]
    live.rescore([1, 5], table([0.0, 1.0], [0.25, 0.0]))
    assert answer(live) == [(3, 2.0), (1, 0.5), (5, 0.25)]
    live.add([2], table([2.0, 0.0]))
    assert answer(live) == [(2, 2.0), (3, 2.0), (1, 0.5), (5, 0.25)]
    assert answer(live, fill=True)[-1] == (7, 0.0)
    assert (live.num_items, live.num_live) == (7, 5)


def test_predicates_speak_of_live_items_with_attributes() -> None:
    live = small()
    with pytest.raises(UsageError, match="no item attributes"):
        live.search([[0]], 1, where="year > 1")
    live.add([70], table([1.0, 1.0]))
    live.set_attributes(ItemAttributes({"year": number([2001, 1999, 2001])}))
    assert answer(live, where="year = 2001") == [(3, 2.0), (1, 1.0)]
    live.set_attributes(ItemAttributes({"year": number([None] * 69 + [2001])}))
    assert answer(live, where="year = 2001") == [(70, 1.5)]
    live.remove([70])
    live.compact()
    assert answer(live, where=["year = 2001"], fill=True) == []
    with pytest.raises(UsageError, match="another catalogue"):
        live.set_attributes(ItemAttributes({"year": number([None] * 71)}))


def test_an_update_shows_in_later_snapshots_only() -> None:
    live = small()
    before = live.snapshot()
    live.remove([1, 2, 3])
    assert before.search([[0, 1]], k=3).item_ids.tolist() == [[2, 3, 1]]
    assert answer(live) == []


def test_there_is_one_delta_and_compacting_leaves_one_segment() -> None:
    live = small()
    for item in range(4, 300):
        live.add([item], table([1.0, 1.0]))
        assert len(live.snapshot().segments) == 2
    live.compact()
    (base,) = live.snapshot().segments
    assert base.index.num_postings == 3 + 2 * 296
    np.testing.assert_array_equal(base.index.floors, np.array([0, 0.5], np.float32))


def test_a_packed_base_stays_packed_and_within_its_rounding() -> None:
    base = small().snapshot().segments[0].index.pack("uint8")
    live = LiveIndex(base, np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1))
    live.add([4], table([1.3, 0.9]))
    live.remove([1])
    live.compact()
    assert live.snapshot().segments[0].index.encoding == "uint8"
    found = answer(live)
    assert [item for item, _ in found] == [2, 3, 4]
    np.testing.assert_allclose([score for _, score in found], [4, 2, 1.7], rtol=0.02)


def test_a_delta_whose_items_are_gone_is_dropped() -> None:
    live = small()
    live.add([4, 5], table([1.0, 1.0], [1.0, 1.0]))
    live.remove([4, 5])
    assert len(live.snapshot().segments) == 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda live: live.add([2], table([1, 1])), "item 2: item is in the index already"),
        (lambda live: live.remove([2, 4]), "item 4: item is not in the index"),
        (lambda live: live.rescore([4], table([1, 1])), "item 4: item is not in the index"),
        (lambda live: live.add([5, 4], table([1, 1], [1, 1])), "item ids must ascend"),
        (lambda live: live.add([0], table([1, 1])), "item ids must ascend"),
        (lambda live: live.add([2**31], table([1, 1])), "item ids must ascend"),
        (lambda live: live.add([4.0], table([1, 1])), "vector of integers"),
        (lambda live: live.add([4, 5], table([1, 1])), "as many items in the scorer"),
        (lambda live: live.search([[0]], 1, mask=np.ones(2, np.uint64)), "mask is no bitset"),
        (lambda live: live.search([[0]], 1, exclude=[9]), "exclude out of range"),
    ],
)
def test_bad_arguments_are_refused_and_change_nothing(act, message: str) -> None:
    live = small()
    with pytest.raises(UsageError, match=message):
        act(live)
    assert answer(live) == answer(small())


def test_a_score_that_is_not_finite_is_refused_and_changes_nothing() -> None:
    live = small()
    with pytest.raises(IndexBuildError, match="not finite"):
        live.rescore([1, 2], table([1, 1], [1, np.nan]))
    assert answer(live) == answer(small())


def test_codebooks_of_other_terms_are_refused() -> None:
    with pytest.raises(UsageError, match="differ in their terms"):
        LiveIndex(small().snapshot().segments[0].index, CODEBOOKS)


def test_readers_see_whole_updates_while_a_writer_works() -> None:
    """Each update gives all of ten items the same new score; no result may hold two scores."""
    items = np.arange(1, 11)
    base = InvertedIndex.from_postings([0, 10], items, np.ones(10, np.float32), num_items=10)
    live = LiveIndex(base, np.zeros((1, 1, 1, 1), np.float32))
    seen: set[float] = set()
    faults: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            result = live.search([[0]], k=20)
            scores = set(result.scores[0, :10].tolist())
            if len(scores) != 1 or result.item_ids[0].tolist() != [*items, *[-1] * 10]:
                faults.append(result)
            seen.update(scores)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(2, 150):
        live.rescore(items, TableScorer(np.full((1, 10), version, np.float32)))
        if version % 10 == 0:
            live.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert len(seen) > 1


class Killed(BaseException):
    """Ends a writer without letting it clean up, as a signal would."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_writer_killed_anywhere_leaves_the_old_state_or_the_new(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = small()
    old.save(tmp_path)
    new = LiveIndex.load(tmp_path, np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1))
    new.rescore([1], table([3.0, 3.0]))
    new.add([4], table([1.0, 9.0]))
    original, step, outcomes = getattr(os, call), 0, []

    while not outcomes or outcomes[-1] != answer(new):
        step += 1
        left = step

        def killed(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, killed)
            with contextlib.suppress(Killed):
                new.save(tmp_path)
        loaded = LiveIndex.load(tmp_path, np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1))
        outcomes.append(answer(loaded))
    assert len(outcomes) > 3
    assert all(outcome == answer(old) for outcome in outcomes[:-1])
    new.save(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


WRITER = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from live_cases import CODEBOOKS, NUM_TERMS, TableScorer
from sparcode.index.live.live_index import LiveIndex

live = LiveIndex.load(sys.argv[1], CODEBOOKS)
for version in itertools.count(5):
    live.rescore(np.arange(1, 13), TableScorer(np.full((NUM_TERMS, 12), version, np.float32)))
    if version % 3 == 0:
        live.compact()
    live.save(sys.argv[1])
    print(version, flush=True)
"""


def test_a_killed_process_leaves_a_whole_state(tmp_path: Path) -> None:
    start(1)[1].save(tmp_path)
    last = 4
    for count in (2, 5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parents[2])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(count):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        live = LiveIndex.load(tmp_path, CODEBOOKS)
        scores = live.search([[0]], k=12).scores[0]
        assert len(set(scores.tolist())) == 1
        assert scores[0] >= last
        live.save(tmp_path)


def test_saving_again_writes_no_segment_twice_and_deletes_the_old_ones(tmp_path: Path) -> None:
    live = small()
    live.save(tmp_path)
    (base,) = tmp_path.glob("segment-*")
    before = {path.name: path.stat().st_mtime_ns for path in base.iterdir()}
    live.add([4], table([1.0, 1.0]))
    live.save(tmp_path)
    assert len(list(tmp_path.glob("segment-*"))) == 2
    assert {path.name: path.stat().st_mtime_ns for path in base.iterdir()} == before
    live.compact()
    live.save(tmp_path)
    assert len(list(tmp_path.glob("segment-*"))) == len(list(tmp_path.glob("owned*"))) == 1


def test_a_full_disk_leaves_the_old_state_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = small()
    live.save(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    live.add([4], table([1.0, 1.0]))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError):
        live.save(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_every_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    live = small()
    live.add([4], table([1.0, 1.0]))
    live.remove([1])
    live.save(tmp_path)
    books = np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1)
    rng = np.random.default_rng(3)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    for path in files:
        whole = path.read_bytes()
        damages = [whole[: len(whole) // 2], b"", None]
        for _ in range(20):
            flipped = bytearray(whole)
            flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
            damages.append(bytes(flipped))
        for damage in damages:
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            with pytest.raises(IndexFormatError):
                LiveIndex.load(tmp_path, books)
            path.write_bytes(whole)
    assert answer(LiveIndex.load(tmp_path, books)) == answer(live)


def test_segments_that_own_the_same_item_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = small()
    monkeypatch.setattr("sparcode.index.live.live_index._bury", lambda segments, ids: segments)
    live.rescore([1], table([1.0, 1.0]))
    live.save(tmp_path)
    with pytest.raises(IndexFormatError, match="two segments own an item"):
        LiveIndex.load(tmp_path, np.arange(2, dtype=np.float32).reshape(1, 1, 2, 1))
