"""The bytes of the index format, written out by hand (docs/index_format.md)."""

import hashlib
import json
import struct
from pathlib import Path

import pytest

from sparcode.index import InvertedIndex

PAYLOADS = {
    "indptr": struct.pack("<3q", 0, 2, 3),
    "item_ids": struct.pack("<3i", 1, 3, 2),
    "scores": struct.pack("<3f", 0.5, 1.5, 2.0),
}
TYPES = {"indptr": "<i8", "item_ids": "<i4", "scores": "<f4"}


def section_bytes(name: str) -> bytes:
    """A NumPy file, version 1.0: the header is padded to a multiple of 64 bytes."""
    text = f"{{'descr': '{TYPES[name]}', 'fortran_order': False, 'shape': (3,), }}"
    header = text.encode().ljust(128 - 10 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + PAYLOADS[name]


def digest(name: str) -> str:
    return hashlib.sha256(section_bytes(name)).hexdigest()


def file_name(name: str) -> str:
    return f"{name}-{digest(name)[:16]}.npy"


def entries() -> list[dict[str, object]]:
    return [
        {"name": name, "file": file_name(name), "dtype": dtype, "count": 3, "sha256": digest(name)}
        for name, dtype in TYPES.items()
    ]


@pytest.fixture
def index() -> InvertedIndex:
    return InvertedIndex.from_postings([0, 2, 3], [1, 3, 2], [0.5, 1.5, 2.0], num_items=3, metadata={"a": 1})


@pytest.mark.parametrize("name", PAYLOADS)
def test_section_bytes(index: InvertedIndex, tmp_path: Path, name: str) -> None:
    index.save(tmp_path)
    assert (tmp_path / file_name(name)).read_bytes() == section_bytes(name)


def test_manifest(index: InvertedIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    checksum = manifest.pop("checksum")
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    assert checksum == hashlib.sha256(canonical.encode()).hexdigest()
    assert manifest == {
        "format": "sparcode-index",
        "version": 2,
        "byte_order": "little",
        "encoding": "plain",
        "counts": {"num_terms": 2, "num_items": 3, "num_lists": 2, "num_postings": 3},
        "sections": entries(),
        "metadata": {"a": 1},
    }


def test_a_directory_written_by_hand_is_read(index: InvertedIndex, tmp_path: Path) -> None:
    """The document is enough to write an index: nothing of the library made these files."""
    manifest = {
        "format": "sparcode-index",
        "version": 2,
        "byte_order": "little",
        "encoding": "plain",
        "counts": {"num_terms": 2, "num_items": 3, "num_lists": 2, "num_postings": 3},
        "sections": entries(),
        "metadata": {},
    }
    for name in TYPES:
        (tmp_path / file_name(name)).write_bytes(section_bytes(name))
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    result = InvertedIndex.load(tmp_path).search([[0, 1]], 3)
    assert result.item_ids.tolist() == [[2, 3, 1]]
    assert result.scores.tolist() == [[2.0, 1.5, 0.5]]
