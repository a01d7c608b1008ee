"""Thousands of damaged index directories: each is refused by name, or is still a whole index."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparcode.errors import IndexFormatError
from sparcode.index import InvertedIndex
from sparcode.index.postings import make_postings
from sparcode.index.storage import index_files, section_directory
from sparcode.index.storage.section_directory import write_directory

ENCODINGS = ("plain", "float32", "float16", "uint8")
DAMAGES = 800
INCONSISTENT = 400


@pytest.fixture(autouse=True)
def _fast_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make_index(encoding: str, seed: int = 0) -> InvertedIndex:
    """Lists of each form, with floors."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(rng.random(301) < share) for share in (0.1, 0.0, 0.99, 0.5, 0.02)]
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, rows)]),
        np.concatenate(rows),
        rng.random(sum(map(len, rows))).astype(np.float32) + np.float32(0.1),
        num_items=300,
        floors=rng.random(5),
        metadata={"seed": seed},
    )
    return index if encoding == "plain" else index.pack(encoding)  # type: ignore[arg-type]


@pytest.fixture(params=ENCODINGS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make_index(request.param).save(tmp_path / "index")
    return tmp_path / "index"


def damage(content: bytes, rng: random.Random) -> bytes:
    """Cut off, lengthened, a bit flipped, a byte changed, bytes moved, or zeroed."""
    kind, place = rng.randrange(6), rng.randrange(len(content))
    if rng.random() < 0.4:
        place = rng.randrange(min(64, len(content)))  # headers are small beside payloads
    changed = bytearray(content)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content + bytes(rng.randrange(1, 9))
    if kind == 2:
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == 3:
        changed[place] = rng.randrange(256)
    elif kind == 4:
        return content[place:] + content[:place]
    else:
        changed[place : place + 8] = bytes(len(changed[place : place + 8]))
    return bytes(changed)


def test_damaged_files_are_refused_and_named(saved: Path) -> None:
    rng = random.Random(saved.name)
    files = sorted(saved.iterdir())
    for trial in range(DAMAGES):
        path = files[trial % len(files)]
        content = path.read_bytes()
        changed = damage(content, rng)
        if changed.rstrip() == content.rstrip() or (path.suffix == ".json" and _same_json(changed, content)):
            continue
        path.write_bytes(changed)
        with pytest.raises(IndexFormatError) as caught:
            InvertedIndex.load(saved)
        assert path.name in str(caught.value)
        if path.suffix == ".npy":
            assert f"section '{path.name.split('-')[0]}'" in str(caught.value)
        path.write_bytes(content)
    InvertedIndex.load(saved)


def _same_json(changed: bytes, content: bytes) -> bool:
    try:
        return bool(json.loads(changed) == json.loads(content))
    except ValueError:
        return False


def test_headers_and_manifest_are_checked_without_reading_payloads(saved: Path) -> None:
    rng = random.Random(1)
    for path in sorted(saved.glob("*.npy")):
        content = path.read_bytes()
        for place in range(128):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(IndexFormatError, match=path.name):
                InvertedIndex.load(saved, verify=False)
        path.write_bytes(content)


def test_every_pair_of_swapped_sections_is_refused(saved: Path, tmp_path: Path) -> None:
    """Files put in each other's place, and files of another index of the same encoding."""
    encoding = InvertedIndex.load(saved).encoding
    make_index(encoding, seed=1).save(tmp_path / "other")
    files = sorted(saved.glob("*.npy"))
    strangers = [path for path in (tmp_path / "other").glob("*.npy") if not (saved / path.name).exists()]
    assert strangers
    for target in files:
        content = target.read_bytes()
        for source in [*files, *strangers]:
            if source == target:
                continue
            shutil.copy(source, target)
            with pytest.raises(IndexFormatError, match=target.name):
                InvertedIndex.load(saved)
            target.write_bytes(content)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_inconsistent_contents_with_right_checksums_are_refused_or_whole(
    encoding: str, tmp_path: Path
) -> None:
    """Whoever wrote these files computed every checksum; what opens is an index that can be trusted."""
    rng = random.Random(7)
    refused = 0
    for trial in range(INCONSISTENT):
        index = make_index(encoding, seed=trial % 5)
        content, sections = _parts(index)
        name = rng.choice(sorted(sections))
        values, dtype = sections[name]
        sections[name] = (_mutated(values.copy(), rng), dtype)
        if rng.random() < 0.2:
            key = rng.choice(sorted(content["counts"]))
            content["counts"][key] += rng.choice([-1, 1, 2**31, 2**40])
        write_directory(tmp_path / "index", index_files._INDEX, content, sections)
        try:
            loaded = InvertedIndex.load(tmp_path / "index")
        except IndexFormatError as error:
            refused += str(tmp_path / "index") in str(error)
            continue
        postings = loaded.postings
        make_postings(postings.indptr, postings.item_ids, postings.scores, loaded.num_items)
        found = loaded.search([[0, 2, 3, 4]], 9)
        expected = loaded.search([[0, 2, 3, 4]], 9, kernel="oracle")
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert refused > INCONSISTENT / 3


def _parts(index: InvertedIndex) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, str]]]:
    """What ``save`` hands to the directory."""
    lists = index._postings
    content = {"encoding": index.encoding, "counts": index_files._counts(lists), "metadata": {}}
    sections = {
        name: (np.array(getattr(lists, name)), dtype)
        for name, dtype in index_files._SECTIONS[index.encoding].items()
    }
    sections["floors"] = (np.array(index.floors), "<f4")
    return content, sections


def _mutated(values: np.ndarray, rng: random.Random) -> np.ndarray:
    kind = rng.randrange(5)
    if kind == 0:
        return values[: rng.randrange(len(values))]
    if kind == 1:
        return np.concatenate([values, values[-1:]])
    if kind == 2:
        return values[::-1].copy()
    raw = values.view(np.uint8)
    for _ in range(1 if kind == 3 else 20):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "unknown index format version; expected 2; received 1"),
        ({"encoding": "uint4"}, "unknown encoding.*received uint4"),
        ({"encoding": ["uint8"]}, "unknown encoding"),
        ({"encoding": "float16"}, "section"),
        ({"encoding": "plain"}, "lacks an entry"),
        ({"counts": {"num_items": 300}}, "counts differ"),
        ({"counts": [1]}, "lacks an entry"),
        ({"sections": {}}, "lacks an entry"),
        ({"sections": [{"name": []}]}, "lacks an entry"),
    ],
)
def test_manifests_of_another_kind_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    """Also with a right checksum."""
    make_index("uint8").save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest = {key: value for key, value in {**manifest, **change}.items() if key != "checksum"}
    manifest["checksum"] = section_directory._checksum(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFormatError, match=message):
        InvertedIndex.load(tmp_path)


def test_a_section_of_another_encoding_is_refused(tmp_path: Path) -> None:
    index = make_index("uint8")
    content, sections = _parts(index)
    sections["scores"] = (np.ones(3, np.float32), "<f4")
    write_directory(tmp_path, index_files._INDEX, content, sections)
    with pytest.raises(IndexFormatError, match=r"does not belong to the encoding.*received scores"):
        InvertedIndex.load(tmp_path)


def test_opening_without_verification_does_not_read_postings(tmp_path: Path) -> None:
    """Eight million postings open in a few milliseconds; the bound leaves room for a busy machine."""
    lengths = np.full(2000, 4000)
    ids = np.tile(np.arange(1, 8000, 2), 2000)
    index = InvertedIndex.from_postings(
        np.concatenate([[0], np.cumsum(lengths)]), ids, np.ones(len(ids), np.float32), num_items=100_000
    )
    index.pack("uint8").save(tmp_path)
    started = time.perf_counter()
    loaded = InvertedIndex.load(tmp_path, verify=False)
    assert time.perf_counter() - started < 1.0
    assert isinstance(loaded._postings.codes.base, np.memmap)


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("float32", -1.0), ("float32", np.nan), ("float16", -0.0), ("float16", np.inf), ("uint8", 0)],
)
def test_a_code_of_no_score_is_refused(encoding: str, value: float, tmp_path: Path) -> None:
    index = make_index(encoding)
    content, sections = _parts(index)
    sections["codes"][0][index.list_lengths()[:2].sum() + 1] = value
    write_directory(tmp_path, index_files._INDEX, content, sections)
    with pytest.raises(IndexFormatError, match=r"term 2, section 'codes'.*code of no score"):
        InvertedIndex.load(tmp_path)


def test_a_list_with_a_word_to_spare_is_refused(tmp_path: Path) -> None:
    content, sections = _parts(make_index("uint8"))
    words, ids = sections["id_words"][0], sections["ids"][0]
    sections["ids"] = (np.insert(ids, words[0], 0), "<u8")
    words[0] += 1
    write_directory(tmp_path, index_files._INDEX, content, sections)
    with pytest.raises(IndexFormatError, match=r"term 0, section 'ids'.*packed item ids are inconsistent"):
        InvertedIndex.load(tmp_path)
