"""Indexes of format version 2 that were written once and stay readable.

The second reader below was written from docs/index_format.md and shares no code with the library.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparcode.index import InvertedIndex

DATA = Path(__file__).parent / "data"
ENCODINGS = ("plain", "float32", "float16", "uint8")

# Multiples of a half up to 127.5 = 255 halves: no encoding rounds them.
LISTS: list[dict[int, float]] = [
    {2: 127.5, 3: 0.5, 100: 64.0},
    {},
    {item: 127.5 if item == 100 else item / 2 for item in range(1, 101)},
    {item: 127.5 if item == 80 else item / 2 for item in range(2, 81, 2)},
]
FLOORS = [0.0, 0.0, -1.5, 2.25]


def golden_index(encoding: str) -> InvertedIndex:
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, LISTS)]),
        [item for postings in LISTS for item in postings],
        [score for postings in LISTS for score in postings.values()],
        num_items=100,
        metadata={"note": "Größe"},
        floors=FLOORS,
    )
    return index if encoding == "plain" else index.pack(encoding)  # type: ignore[arg-type]


class SecondReader:
    """Reads an index of any encoding."""

    def __init__(self, directory: Path) -> None:
        self.manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text("utf-8"))
        content = {key: value for key, value in self.manifest.items() if key != "checksum"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == self.manifest["checksum"]
        assert (self.manifest["format"], self.manifest["version"]) == ("sparcode-index", 2)
        self.sections = {entry["name"]: self.section(directory, entry) for entry in self.manifest["sections"]}

    def section(self, directory: Path, entry: dict[str, Any]) -> np.ndarray:
        raw = (directory / entry["file"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == entry["sha256"]
        assert entry["file"] == f"{entry['name']}-{entry['sha256'][:16]}.npy"
        values = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
        assert (len(values), values.dtype.str) == (entry["count"], entry["dtype"])
        return values

    def lists(self) -> list[dict[int, float]]:
        parts = self.sections
        if self.manifest["encoding"] == "plain":
            borders = parts["indptr"]
            pairs = list(zip(parts["item_ids"].tolist(), parts["scores"].tolist(), strict=True))
            return [dict(pairs[borders[t] : borders[t + 1]]) for t in range(len(borders) - 1)]
        result, word, code = [], 0, 0
        for term, (length, words) in enumerate(zip(parts["lengths"], parts["id_words"], strict=True)):
            step = parts["steps"][term] if "steps" in parts else np.float32(1)
            items = self.unpack(parts["ids"][word : word + words], int(length))
            codes = parts["codes"][code : code + len(items)].astype(np.float32)
            word, code = word + words, code + len(items)
            result.append({i: float(step * c) for i, c in zip(items, codes, strict=True) if c > 0})
        return result

    def unpack(self, words: np.ndarray, length: int) -> list[int]:
        stream = int.from_bytes(words.tobytes(), "little")
        items: list[int] = []
        while len(items) < length:
            width, stream = stream & 31, stream >> 5
            for _ in range(min(32, length - len(items))):
                gap, stream = stream & ((1 << width) - 1), stream >> width
                items.append((items[-1] if items else -1) + 1 + gap)
        assert stream == 0
        return items


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_library_reads_what_was_written(encoding: str) -> None:
    index = InvertedIndex.load(DATA / f"index_v2_{encoding}")
    assert index.encoding == encoding
    for term, expected in enumerate(LISTS):
        items, scores = index.posting_list(term)
        assert dict(zip(items.tolist(), scores.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(index.floors, np.array(FLOORS, np.float32))
    assert (index.num_items, index.metadata) == (100, {"note": "Größe"})
    result = index.search([[0, 2, 3]], 2)
    assert result.item_ids.tolist() == [[100, 80]]
    assert result.scores.tolist() == [[64.0 + 127.5, 40.0 + 127.5]]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_second_reader_reads_what_was_written(encoding: str) -> None:
    reader = SecondReader(DATA / f"index_v2_{encoding}")
    assert reader.manifest["encoding"] == encoding
    assert reader.lists() == LISTS
    assert reader.sections["floors"].tolist() == FLOORS


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_library_still_writes_the_same_bytes(encoding: str, tmp_path: Path) -> None:
    golden_index(encoding).save(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (DATA / f"index_v2_{encoding}").iterdir()}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_second_reader_reads_random_indexes(encoding: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [np.flatnonzero(rng.random(5001) < share) for share in (0.002, 0.5, 0.97, 0.0, 0.05)]
    index = InvertedIndex.from_postings(
        np.cumsum([0, *map(len, rows)]),
        np.concatenate(rows),
        rng.exponential(1, sum(map(len, rows))).astype(np.float32) + np.float32(1e-6),
        num_items=5000,
    )
    index = index if encoding == "plain" else index.pack(encoding)  # type: ignore[arg-type]
    index.save(tmp_path)
    for term, found in enumerate(SecondReader(tmp_path).lists()):
        items, scores = index.posting_list(term)
        assert found == dict(zip(items.tolist(), scores.tolist(), strict=True))
