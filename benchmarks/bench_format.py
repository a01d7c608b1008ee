"""How small do packed lists get, what does coding lose, and how fast are they decoded and opened?

    python benchmarks/bench_format.py --json format.json
    python benchmarks/bench_format.py --index BUNDLE/index --num_tokens 16 --json format.json

Every encoding packs the same index. ``bytes`` are those of the files without headers, for each posting.
``recall`` is the share of the 100 best items by float32 scores that are among the 100 best by decoded scores
(``index_recall@100``). ``decode`` is the best of several passes over random lists, one
thread; ``search`` the same for batches of queries, and ``search plain`` that of lists as plain arrays.
Catalogues are generated (``catalogues.py``): cut lists of a large catalogue, long lists, complete lists. The
index that is opened holds 65 million postings; its files are in the page cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from catalogues import Catalogue, Shape
from reporting import machine, print_table, seconds_of, write_report

from sparcode.index import InvertedIndex
from sparcode.index.packed.coding import ENCODINGS
from sparcode.index.packed.packed_lists import PackedLists, pack_postings

K = 100
QUERIES = 256
DECODED_LISTS = 512
PASSES = 7

SHAPES = {
    "cut lists, 10^6 items": (Shape(1_000_000, num_terms=4_096, list_length=1_000), 4),
    "long lists, 10^5 items": (Shape(100_000, num_terms=512, list_length=20_000), 4),
    "complete lists, 12,101 items": (Shape(12_101, num_terms=1_024, list_length=12_101), 16),
}
SMALL_SHAPES = {
    "cut lists, 20,000 items": (Shape(20_000, num_terms=256, list_length=200), 4),
    "complete lists, 1,000 items": (Shape(1_000, num_terms=128, list_length=1_000), 16),
}


def main() -> None:
    arguments = _arguments()
    report: dict[str, Any] = {"machine": machine(), "k": K, "workloads": []}
    for name, index, term_ids in _workloads(arguments):
        rows = [_measure(index, term_ids, encoding) for encoding in ENCODINGS]
        plain = _search_us(index, term_ids)
        report["workloads"].append({"name": name, "plain": _plain_row(index, plain), "packed": rows})
        size = f"{index.num_lists:,} lists, {index.num_postings:,} postings"
        print(f"\n{name}: {size}, plain {plain:.1f} us/query")
        print_table(rows, list(rows[0]))
        write_report(arguments.json, report)
    report["opening"] = _measure_opening(100_000 if arguments.small else 65_000_000, arguments.directory)
    print(f"\nopening {report['opening'][0]['num_postings']:,} postings")
    print_table(report["opening"], list(report["opening"][0]))
    write_report(arguments.json, report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes, to try the command")
    parser.add_argument("--index", type=Path, help="a saved index in place of generated catalogues")
    parser.add_argument(
        "--num_tokens", type=int, default=16, help="with --index: lists of a query, one per slot"
    )
    parser.add_argument("--directory", type=Path, help="where the opened index is written for a while")
    return parser.parse_args()


def _workloads(arguments: argparse.Namespace) -> Iterator[tuple[str, InvertedIndex, NDArray[np.int64]]]:
    if arguments.index:
        index = InvertedIndex.load(arguments.index)
        yield str(arguments.index), InvertedIndex(index.postings), _slot_terms(index, arguments.num_tokens)
        return
    for name, (shape, num_tokens) in (SMALL_SHAPES if arguments.small else SHAPES).items():
        catalogue = Catalogue(shape)
        yield name, catalogue.index, catalogue.queries(QUERIES, num_tokens)


def _slot_terms(index: InvertedIndex, num_tokens: int) -> NDArray[np.int64]:
    """(QUERIES, num_tokens) random terms with a list, column j from the j-th part of the term ids."""
    rng = np.random.default_rng(0)
    borders = np.arange(num_tokens + 1) * index.num_terms // num_tokens
    filled = np.flatnonzero(index.list_lengths())
    parts = np.split(filled, np.searchsorted(filled, borders[1:-1]))
    return np.stack([rng.choice(part, QUERIES) for part in parts if len(part)], axis=1)


def _plain_row(index: InvertedIndex, search_us: float) -> dict[str, Any]:
    return {
        "num_items": index.num_items,
        "num_lists": index.num_lists,
        "num_postings": index.num_postings,
        "bytes": index.size_bytes / index.num_postings,
        "search_us": search_us,
    }


def _measure(index: InvertedIndex, term_ids: NDArray[np.int64], encoding: Any) -> dict[str, Any]:
    """Size, loss and speed of one encoding."""
    pack_seconds = seconds_of(lambda: pack_postings(index.postings, encoding), 2).min()
    lists = pack_postings(index.postings, encoding)
    packed = InvertedIndex(lists, floors=index.floors)
    exact, found = index.search(term_ids, K).item_ids, packed.search(term_ids, K).item_ids
    hits = sum(np.intersect1d(a[a >= 0], b).size for a, b in zip(exact, found, strict=True))
    return {
        "encoding": encoding,
        "bytes": lists.size_bytes / lists.num_postings,
        "MB": lists.size_bytes / 1e6,
        "recall": hits / np.count_nonzero(exact >= 0),
        "decode ns/posting": _decode_ns(lists),
        "search us": _search_us(packed, term_ids),
        "pack s": float(pack_seconds),
    }


def _decode_ns(lists: PackedLists) -> float:
    rng = np.random.default_rng(0)
    terms = rng.choice(np.flatnonzero(lists.lengths), DECODED_LISTS).astype(np.int64)[:, None]

    def decode() -> None:
        for _ in lists.blocks(terms):
            pass

    decode()
    return float(seconds_of(decode, PASSES).min() / lists.lengths[terms].sum() * 1e9)


def _search_us(index: InvertedIndex, term_ids: NDArray[np.int64]) -> float:
    index.search(term_ids, K)
    return float(seconds_of(lambda: index.search(term_ids, K), PASSES).min() / len(term_ids) * 1e6)


def _measure_opening(num_postings: int, directory: Path | None) -> list[dict[str, Any]]:
    """Milliseconds to open an index with and without looking at its postings."""
    index = _regular_index(num_postings)
    rows = []
    for encoding in ("plain", *ENCODINGS):
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            stored = index if encoding == "plain" else index.pack(encoding)  # type: ignore[arg-type]
            save_seconds = seconds_of(lambda stored=stored, at=scratch: stored.save(at), 1)[0]
            verified = seconds_of(lambda at=scratch: InvertedIndex.load(at), 2).min()
            opened = seconds_of(lambda at=scratch: InvertedIndex.load(at, verify=False), 5).min()
        rows.append(
            {
                "encoding": encoding,
                "num_postings": stored.num_postings,
                "MB": stored.size_bytes / 1e6,
                "save s": float(save_seconds),
                "open ms": float(opened * 1e3),
                "open and verify ms": float(verified * 1e3),
            }
        )
    return rows


def _regular_index(num_postings: int) -> InvertedIndex:
    """Lists of 1,000 postings with gaps of 1,000 items on average."""
    rng = np.random.default_rng(0)
    gaps = rng.integers(1, 2_000, (num_postings // 1_000, 1_000), dtype=np.int32)
    item_ids = np.cumsum(gaps, axis=1, dtype=np.int32).reshape(-1)
    scores = rng.random(len(item_ids), dtype=np.float32) + np.float32(1e-3)
    return InvertedIndex.from_postings(
        np.arange(len(gaps) + 1) * 1_000, item_ids, scores, num_items=2_000_000
    )


if __name__ == "__main__":
    main()
