"""Saving is all or nothing, and a damaged directory is refused by name."""

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparcode.errors import IndexFormatError, OutputError
from sparcode.index import InvertedIndex
from sparcode.index.postings import Postings

NAMES = ("indptr", "item_ids", "scores")


def assert_same(left: InvertedIndex, right: InvertedIndex) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(getattr(left.postings, name), getattr(right.postings, name))
    assert (left.num_items, left.metadata) == (right.num_items, right.metadata)


def section(directory: Path, name: str) -> Path:
    return next(directory.glob(f"{name}-*.npy"))


@pytest.fixture
def saved(index: InvertedIndex, tmp_path: Path) -> Path:
    index.save(tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("verify", [True, False])
def test_round_trip(index: InvertedIndex, saved: Path, verify: bool) -> None:
    loaded = InvertedIndex.load(saved, verify=verify)
    assert_same(index, loaded)
    assert isinstance(loaded.postings.scores.base, np.memmap)


@pytest.mark.parametrize("verify", [True, False])
def test_floors_survive_a_round_trip(index: InvertedIndex, tmp_path: Path, verify: bool) -> None:
    floors = np.linspace(-2, 3, index.num_terms, dtype=np.float32)
    InvertedIndex(index.postings, index.metadata, floors).save(tmp_path / "index")
    loaded = InvertedIndex.load(tmp_path / "index", verify=verify)
    assert_same(index, loaded)
    np.testing.assert_array_equal(loaded.floors, floors)
    index.save(tmp_path / "index")  # saving without them removes their file
    assert len(list((tmp_path / "index").iterdir())) == 4
    assert InvertedIndex.load(tmp_path / "index").floors is None


def test_broken_floors_are_refused(index: InvertedIndex, tmp_path: Path) -> None:
    floors = np.zeros(index.num_terms, dtype=np.float32)
    floors[7] = np.nan
    InvertedIndex(index.postings, floors=floors).save(tmp_path / "floors")
    with pytest.raises(IndexFormatError, match=r"inconsistent index.*term 7"):
        InvertedIndex.load(tmp_path / "floors", verify=False)


def test_round_trip_of_an_index_without_postings(tmp_path: Path) -> None:
    index = InvertedIndex.from_postings([0, 0, 0], [], [], num_items=3)
    index.save(tmp_path / "new" / "index")
    assert_same(index, InvertedIndex.load(tmp_path / "new" / "index"))


def test_the_same_index_gives_the_same_bytes(index: InvertedIndex, saved: Path, tmp_path: Path) -> None:
    index.save(tmp_path / "again")
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in files:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_saving_replaces_and_leaves_nothing_behind(other: InvertedIndex, saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    mapped = InvertedIndex.load(saved)
    before = mapped.search([[1, 2, 3]], 5).scores
    other.save(saved)
    assert_same(other, InvertedIndex.load(saved))
    assert len(list(saved.glob("*.npy"))) == 3
    assert (saved / "notes.txt").read_text() == "mine"
    np.testing.assert_array_equal(mapped.search([[1, 2, 3]], 5).scores, before)  # the open one lives on


@pytest.mark.parametrize("call", range(12))
def test_a_full_disk_leaves_the_old_index(
    index: InvertedIndex, other: InvertedIndex, saved: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Fails the n-th of the fsync and rename calls of a save."""
    calls = 0

    def failing(real: Callable) -> Callable:
        def wrapper(*args):
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        return wrapper

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    if call < 9:  # 3 sections x 2, manifest, directory, rename of the manifest
        with pytest.raises(OutputError, match=r"index cannot be written.*No space left"):
            other.save(saved)
        assert_same(index, InvertedIndex.load(saved))
        assert len(list(saved.iterdir())) == 4  # nothing half-written stays
    else:
        other.save(saved)
        assert_same(other, InvertedIndex.load(saved))


@pytest.mark.parametrize("call", range(9))
def test_a_crash_leaves_the_old_index_and_the_next_save_cleans_up(
    index: InvertedIndex, other: InvertedIndex, saved: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Stops at the n-th step, without the clean-up that an ordinary error gets."""
    calls = 0

    def stopping(real: Callable) -> Callable:
        def wrapper(*args):
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise KeyboardInterrupt
            return real(*args)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stopping(os.fsync))
        patch.setattr(os, "replace", stopping(os.replace))
        with pytest.raises(KeyboardInterrupt):
            other.save(saved)
    assert_same(index, InvertedIndex.load(saved))
    other.save(saved)
    assert_same(other, InvertedIndex.load(saved))
    assert len(list(saved.iterdir())) == 4


def test_an_output_that_cannot_be_written_is_named(index: InvertedIndex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OutputError, match=r"file"):
        index.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "not a directory"


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_metadata_must_be_json(index: InvertedIndex, tmp_path: Path, value: object) -> None:
    index.metadata["value"] = value
    with pytest.raises(OutputError, match=r"cannot be written"):
        index.save(tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_missing_directory_or_part_is_named(saved: Path) -> None:
    with pytest.raises(IndexFormatError, match=r"nowhere.*manifest cannot be read"):
        InvertedIndex.load(saved / "nowhere")
    section(saved, "scores").unlink()
    with pytest.raises(IndexFormatError, match=r"section 'scores'.*cannot be read"):
        InvertedIndex.load(saved, verify=False)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_truncated_or_extended_sections_are_named(saved: Path, name: str, verify: bool) -> None:
    path = section(saved, name)
    whole = path.read_bytes()
    for size in (0, 1, 63, 64, 65, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(IndexFormatError, match=rf"section '{name}'"):
            InvertedIndex.load(saved, verify=verify)
    path.write_bytes(whole + b"\0")
    with pytest.raises(IndexFormatError, match=rf"section '{name}'"):
        InvertedIndex.load(saved, verify=verify)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "unknown index format version; expected 2; received 1"),
        ({"format": "other"}, "not the manifest of the index"),
        ({"byte_order": "big"}, "checksum of the manifest differs"),
        ({"counts": {}}, "checksum of the manifest differs"),
    ],
)
def test_a_manifest_of_another_kind_is_named(saved: Path, change: dict, message: str) -> None:
    path = saved / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(IndexFormatError, match=message):
        InvertedIndex.load(saved)


def test_sections_of_another_index_are_refused(other: InvertedIndex, saved: Path, tmp_path: Path) -> None:
    other.save(tmp_path / "other")
    shutil.copy(section(tmp_path / "other", "scores"), section(saved, "scores"))
    with pytest.raises(IndexFormatError, match=r"section 'scores'.*does not belong to the manifest"):
        InvertedIndex.load(saved, verify=False)


def test_swapped_sections_are_refused(saved: Path) -> None:
    shutil.copy(section(saved, "scores"), section(saved, "item_ids"))
    with pytest.raises(IndexFormatError, match=r"section 'item_ids'.*does not belong"):
        InvertedIndex.load(saved, verify=False)


def test_hundreds_of_random_bit_flips_are_all_noticed(saved: Path) -> None:
    rng = random.Random(0)
    files = sorted(saved.iterdir())
    for trial in range(600):
        path = files[trial % len(files)]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        # Half of the flips in the first 64 bytes: headers are small beside payloads.
        place = rng.randrange(min(64, len(whole)) if trial % 8 < 4 else len(whole))
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(IndexFormatError):
            InvertedIndex.load(saved)
        path.write_bytes(whole)
    InvertedIndex.load(saved)


def test_random_truncations_are_all_noticed(saved: Path) -> None:
    rng = random.Random(1)
    for path in sorted(saved.iterdir()):
        whole = path.read_bytes()
        # Without the line break after its last brace, a manifest is still whole.
        for _ in range(60):
            path.write_bytes(whole[: rng.randrange(len(whole) - 1)])
            with pytest.raises(IndexFormatError):
                InvertedIndex.load(saved)
        path.write_bytes(whole)
    InvertedIndex.load(saved)


def test_postings_that_break_an_invariant_are_refused_even_with_right_checksums(
    index: InvertedIndex, tmp_path: Path
) -> None:
    good = index.postings
    wrong = Postings(good.indptr, good.item_ids, -good.scores, good.num_items)
    InvertedIndex(wrong).save(tmp_path / "wrong")
    with pytest.raises(IndexFormatError, match=r"inconsistent index.*score not finite and positive"):
        InvertedIndex.load(tmp_path / "wrong")
    falling = Postings(good.indptr[::-1].copy(), good.item_ids, good.scores, good.num_items)
    InvertedIndex(falling).save(tmp_path / "falling")
    with pytest.raises(IndexFormatError, match=r"inconsistent index.*indptr"):
        InvertedIndex.load(tmp_path / "falling", verify=False)
