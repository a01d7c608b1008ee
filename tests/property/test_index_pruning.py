"""The streaming builder equals a builder that holds the whole score matrix, whatever the block sizes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparcode.index import BuildOptions, InvertedIndex, build_index

Lists = list[list[tuple[int, float]]]


class TableScorer:
    """Looks scores up in a table by the term id that the one-codeword tokens spell."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table
        self.num_items = table.shape[1]

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        return self.table[tokens[:, 0].astype(np.int64), start - 1 : stop - 1]


def build(table: NDArray[np.float32], **options) -> InvertedIndex:
    codebooks = np.arange(len(table), dtype=np.float32).reshape(1, 1, -1, 1)  # the token is the term id
    return build_index(TableScorer(table), codebooks, BuildOptions(**options)).index


def lists_of(index: InvertedIndex) -> Lists:
    both = (index.posting_list(term) for term in range(index.num_terms))
    return [list(zip(items.tolist(), scores.tolist(), strict=True)) for items, scores in both]


def floored(table: NDArray[np.float32], top_l: int, signed: bool) -> Lists:
    """Lists of at most ``top_l`` (0 = no limit) scores, less the best that is left out."""
    lists = []
    for floor, ranked in ranked_lists(table, top_l, signed):
        kept = sorted((i, float(-s - np.float32(floor))) for s, i in ranked)
        lists.append([(i, s) for i, s in kept if s > 0])
    return lists


def ranked_lists(table: NDArray[np.float32], top_l: int, signed: bool) -> list[tuple[float, list]]:
    """Floor and (-score, item) of the best of every row."""
    lists = []
    top_l = top_l or table.shape[1]
    for row in table:
        ranked = sorted(((-s, i + 1) for i, s in enumerate(row) if signed or s > 0))
        floor = -ranked[top_l][0] if len(ranked) > top_l else -ranked[-1][0] if signed else 0.0
        lists.append((float(floor), ranked[:top_l]))
    return lists


def floors_of(index: InvertedIndex) -> list[float]:
    floors = index.floors
    return [0.0] * index.num_terms if floors is None else floors.tolist()


@st.composite
def tables(draw: st.DrawFn) -> NDArray[np.float32]:
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 15))
    values = st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.3, 0.7, 2.0]) | st.floats(-3, 3, width=32)
    flat = draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(flat, dtype=np.float32).reshape(shape)


BLOCKS = st.fixed_dictionaries({"block_terms": st.integers(1, 8), "block_items": st.integers(1, 16)})


@settings(max_examples=150, deadline=None)
@given(tables(), BLOCKS, st.integers(0, 16), st.booleans())
def test_top_l_keeps_the_best_above_the_floor(table: NDArray, blocks: dict, top_l: int, signed: bool) -> None:
    index = build(table, top_l=top_l, signed=signed, **blocks)
    assert lists_of(index) == floored(table, top_l, signed)
    assert floors_of(index) == [floor for floor, _ in ranked_lists(table, top_l, signed)]
