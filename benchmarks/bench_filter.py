"""What does an exact filter cost, from 100 % of the items down to 0.01 %?

    python benchmarks/bench_filter.py --json filter.json --plot filter.png

Generated catalogue (``catalogues.py``) of 10^6 items, lists of 1,000 postings, 4 lists a query, k = 100, one
thread. Items get a number (a random rank), one of 10,000 categories and up to three of 1,000 tags, both of
Zipf popularity. ``rank < n`` permits exactly a wanted share of the items; the other predicates join several
attributes. ``compile_ms`` is the first use of a predicate, ``cached_us`` every later one. Filtered and
unfiltered searches take turns. ``fill`` completes rows to k results with items that no list holds, score 0.
Every predicate is checked in the run: the results of some queries equal those of the plain oracle that is
given the permitted ids, computed from the columns without the filter's code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from catalogues import Catalogue, Shape
from reporting import add_output_options, machine, print_table, seconds_of, write_report

from sparcode.index import InvertedIndex, ItemAttributes
from sparcode.index.filters import FilterCompiler, coded, number

BATCH, ROUNDS, CACHED_CALLS, CHECKED = 256, 9, 2_000, 4
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001)
COLUMNS = ["predicate", "share", "compile_ms", "cached_us", "single_us", "batch_us", "ratio", "fill_ratio"]


class Columns:
    """Attributes of a catalogue, and the same values as plain arrays for the check.

    Attributes:
        rank: (num_items + 1,) distinct numbers from 0 in random order; -1 in row 0.
        brand: (num_items + 1,) codes of one category; -1 in row 0.
        tags: (num_items + 1, 3) codes of tags, with repetitions; -1 in row 0.
    """

    def __init__(self, num_items: int, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.rank = np.concatenate([[-1], rng.permutation(num_items)])
        self.brand = np.concatenate([[-1], _zipf(rng, 10_000, num_items)]).astype(np.int32)
        tags = _zipf(rng, 1_000, (num_items, 3))
        self.tags = np.concatenate([np.full((1, 3), -1), tags]).astype(np.int32)

    def attributes(self) -> ItemAttributes:
        brands = [f"brand {code}" for code in range(10_000)]
        tags = [f"tag {code}" for code in range(1_000)]
        return ItemAttributes(
            {
                "rank": number(self.rank[1:]),
                "brand": coded(brands, self.brand + 1),
                "tags": coded(tags, self.tags + 1),
            }
        )

    def cases(self) -> list[tuple[str, Callable[[], NDArray[np.bool_]]]]:
        """Predicates, and which rows fulfil each."""
        known = self.rank >= 0
        bounds = [max(1, round(share * (len(known) - 1))) for share in SHARES]
        ranges: list[tuple[str, Callable[[], NDArray[np.bool_]]]] = [
            (f"rank < {bound}", lambda bound=bound: known & (self.rank < bound)) for bound in bounds
        ]
        tag = (self.tags == 5).any(axis=1)
        half = self.rank < len(known) // 2
        several, brands = np.isin(self.brand, (1, 2, 3)), 'brand in ("brand 1", "brand 2", "brand 3")'
        return [
            *ranges,
            ('tags has "tag 5"', lambda: tag),
            (brands, lambda: several),
            (f'not tags has "tag 5" and rank < {len(known) // 2}', lambda: known & ~tag & half),
            (
                f'(tags has "tag 5" or {brands}) and rank < {len(known) // 2}',
                lambda: (tag | several) & known & half,
            ),
        ]


def _zipf(rng: np.random.Generator, count: int, shape: Any) -> NDArray[np.int64]:
    weights = 1 / np.arange(1, count + 1)
    return np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(shape)).clip(0, count - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_output_options(parser)
    parser.add_argument("--num_items", type=int, help="default: 1,000,000")
    arguments = parser.parse_args()
    num_items = arguments.num_items or (20_000 if arguments.small else 1_000_000)
    shape = Shape(num_items, num_terms=1_024 if arguments.small else 16_384)
    report: dict[str, Any] = {"machine": machine(), "num_items": num_items, "k": 100, "batch": BATCH}
    catalogue, columns = Catalogue(shape), Columns(num_items)
    index = catalogue.index.with_attributes(columns.attributes())
    terms = catalogue.queries(BATCH)
    report["predicates"] = [_measure(index, terms, where, holds) for where, holds in columns.cases()]
    print_table(report["predicates"], COLUMNS)
    write_report(arguments.json, report)
    if arguments.plot:
        from plots import draw_filter

        draw_filter(report, arguments.plot)


def _measure(
    index: InvertedIndex, terms: NDArray[np.int64], where: str, holds: Callable[[], NDArray[np.bool_]]
) -> dict[str, Any]:
    """Times of one predicate, all medians, after its results were checked."""
    permitted = np.flatnonzero(holds())
    for fill in (False, True):
        # the oracle takes minutes to fill up from a million items; the kernel with an allow list does not
        kernel: Any = "compiled" if fill and len(permitted) > 10_000 else "oracle"
        expected = index.search(terms[:CHECKED], 100, allow=permitted, fill=fill, kernel=kernel)
        found = index.search(terms[:CHECKED], 100, where=where, fill=fill)
        if not (
            np.array_equal(found.item_ids, expected.item_ids)
            and np.array_equal(found.scores, expected.scores)
        ):
            raise SystemExit(f"error: results of {where!r} are not exact")
        if fill and (found.item_ids > 0).sum() != CHECKED * min(100, len(permitted)):
            raise SystemExit(f"error: {where!r} does not give k results although they exist")
    attributes = index.attributes
    if attributes is None:
        raise SystemExit("error: the index has no attributes")
    fresh = FilterCompiler(attributes)
    compile_s = seconds_of(lambda: fresh.compile(where), 1)[0]
    cached_s = np.median(seconds_of(lambda: fresh.compile(where), CACHED_CALLS))
    variants: dict[str, dict[str, Any]] = {"plain": {}, "where": {"where": where}}
    variants["fill"] = {"where": where, "fill": True}
    times: dict[str, list[float]] = {name: [] for name in variants}
    single: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, options in variants.items():
            times[name] += list(seconds_of(lambda o=options: index.search(terms, 100, **o), 1))
            for row in terms[:32]:
                single[name] += list(seconds_of(lambda o=options, r=row: index.search(r[None], 100, **o), 1))
    batch = {name: float(np.median(values)) / len(terms) for name, values in times.items()}
    return {
        "predicate": where,
        "permitted": len(permitted),
        "share": len(permitted) / index.num_items,
        "compile_ms": compile_s * 1e3,
        "cached_us": float(cached_s) * 1e6,
        "unfiltered_us": batch["plain"] * 1e6,
        "batch_us": batch["where"] * 1e6,
        "fill_us": batch["fill"] * 1e6,
        "ratio": batch["where"] / batch["plain"],
        "fill_ratio": batch["fill"] / batch["plain"],
        "unfiltered_single_us": float(np.median(single["plain"])) * 1e6,
        "single_us": float(np.median(single["where"])) * 1e6,
        "fill_single_us": float(np.median(single["fill"])) * 1e6,
    }


if __name__ == "__main__":
    main()
