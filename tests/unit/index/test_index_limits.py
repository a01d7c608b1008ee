"""Byte budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sparcode.errors import ConfigError
from sparcode.index import BuildOptions, InvertedIndex, append_lists, build_index

RNG = np.random.default_rng(8)
CODEBOOKS = RNG.standard_normal((2, 1, 8, 6)).astype(np.float32)
VECTORS = RNG.standard_normal((201, 6)).astype(np.float32)


class Scorer:
    """E = token . item vector."""

    num_items = 200

    def score_block(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        return tokens @ VECTORS[start:stop].T


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("packing", ["none", "uint8"])
@pytest.mark.parametrize("max_bytes", [600, 1200])
def test_lists_are_cut_until_the_index_fits(signed: bool, packing: Any, max_bytes: int) -> None:
    options = BuildOptions(0, max_bytes, packing, signed, block_terms=5, block_items=33)
    result = build_index(Scorer(), CODEBOOKS, options)
    length = result.report.top_l
    assert result.index.size_bytes <= max_bytes
    assert result.index.encoding == ("plain" if packing == "none" else packing)
    free = replace(options, max_bytes=0)
    longer = build_index(Scorer(), CODEBOOKS, replace(free, top_l=length + length // 8 + 1)).index
    assert longer.size_bytes > max_bytes  # hardly any room is left
    same = build_index(Scorer(), CODEBOOKS, replace(free, top_l=length)).index
    np.testing.assert_array_equal(same.postings.item_ids, result.index.postings.item_ids)


def test_a_budget_counts_what_is_appended() -> None:
    def extend(index: InvertedIndex) -> InvertedIndex:
        return append_lists(index, [VECTORS[None, 1:, 0]], 100, False)

    options = BuildOptions(0, 3000, signed=True)
    alone, longer = (build_index(Scorer(), CODEBOOKS, options, extend=one) for one in (None, extend))
    assert longer.index.num_terms == alone.index.num_terms + 1
    assert longer.index.size_bytes <= 3000
    assert longer.report.top_l < alone.report.top_l


def test_a_budget_with_room_for_everything_cuts_nothing() -> None:
    result = build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=10**6, top_l=50))
    assert (result.report.top_l, result.report.num_pairs) == (50, 16 * 200)


def test_a_budget_without_room_for_one_posting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"index.max_bytes.*at least 328.*327"):
        build_index(Scorer(), CODEBOOKS, BuildOptions(max_bytes=327, signed=True))
