"""The bytes of the index format, written out by hand (docs/index_format.md)."""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import pytest

from sparcode.index import InvertedIndex

PAYLOADS = {
    "indptr": struct.pack("<3q", 0, 2, 3),
    "item_ids": struct.pack("<3i", 1, 3, 2),
    "scores": struct.pack("<3f", 0.5, 1.5, 2.0),
}
DTYPE_CODES = {"item_ids": 1, "indptr": 2, "scores": 3}


def section_bytes(name: str) -> bytes:
    payload = PAYLOADS[name]
    header = b"SPARCIDX" + struct.pack("<II", 1, DTYPE_CODES[name]) + name.encode().ljust(16, b"\0")
    header += struct.pack("<QQ", 3, len(payload)) + struct.pack("<I", zlib.crc32(payload)) + bytes(8)
    header += struct.pack("<I", zlib.crc32(header))
    assert len(header) == 64
    return header + payload


def file_name(name: str) -> str:
    return f"{name}-{hashlib.sha256(PAYLOADS[name]).hexdigest()[:16]}.bin"


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
        "version": 1,
        "byte_order": "little",
        "encoding": "plain",
        "counts": {"num_terms": 2, "num_items": 3, "num_lists": 2, "num_postings": 3},
        "sections": [
            {
                "name": name,
                "file": file_name(name),
                "dtype": dtype,
                "count": 3,
                "crc32": zlib.crc32(PAYLOADS[name]),
                "sha256": hashlib.sha256(PAYLOADS[name]).hexdigest(),
            }
            for name, dtype in (("indptr", "<i8"), ("item_ids", "<i4"), ("scores", "<f4"))
        ],
        "metadata": {"a": 1},
    }


def test_a_directory_written_by_hand_is_read(index: InvertedIndex, tmp_path: Path) -> None:
    """The document is enough to write an index: nothing of the library made these files."""
    manifest = {
        "format": "sparcode-index",
        "version": 1,
        "byte_order": "little",
        "encoding": "plain",
        "counts": {"num_terms": 2, "num_items": 3, "num_lists": 2, "num_postings": 3},
        "sections": [],
        "metadata": {},
    }
    for name, dtype in (("indptr", "<i8"), ("item_ids", "<i4"), ("scores", "<f4")):
        (tmp_path / file_name(name)).write_bytes(section_bytes(name))
        digest = hashlib.sha256(PAYLOADS[name]).hexdigest()
        manifest["sections"].append(
            {
                "name": name,
                "file": file_name(name),
                "dtype": dtype,
                "count": 3,
                "crc32": zlib.crc32(PAYLOADS[name]),
                "sha256": digest,
            }
        )
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    result = InvertedIndex.load(tmp_path).search([[0, 1]], 3)
    assert result.item_ids.tolist() == [[2, 3, 1]]
    assert result.scores.tolist() == [[2.0, 1.5, 0.5]]
