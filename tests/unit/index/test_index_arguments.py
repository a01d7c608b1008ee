"""Wrong arguments of searching and building are refused by name."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sparcode.errors import IndexFormatError, SparcodeError, UsageError
from sparcode.index import IndexBuildError, InvertedIndex


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"term_ids": [0, 1]}, "term_ids must be a matrix of integers"),
        ({"term_ids": [[0.5]]}, "term_ids must be a matrix of integers"),
        (
            {"term_ids": [[0, 40]]},
            "term id out of range; expected 0 to 39, or negative for no term; received 40",
        ),
        ({"k": 0}, "k out of range"),
        ({"k": 2.5}, "k out of range"),
        ({"num_threads": 0}, "num_threads out of range"),
        ({"kernel": "magic"}, "unknown kernel"),
        ({"weights": [[1.0]]}, "weights and term_ids differ in shape"),
        ({"weights": [[1.0, -0.5]]}, "weight out of range"),
        ({"weights": [[1.0, np.nan]]}, "weight out of range"),
        ({"weights": [[1.0, np.inf]]}, "weight out of range"),
        ({"exclude": [61]}, "item id in exclude out of range; expected at most 60; received 61"),
        ({"allow": [[1], [2]]}, "allow needs one array per query; expected 1; received 2"),
        (
            {"mask": np.zeros(2, np.uint64)},
            r"mask is no bitset .* expected \(1,\) or \(1, 1\) uint64; received",
        ),
        ({"mask": np.zeros(1, np.int64)}, "mask is no bitset"),
        ({"mask": [1]}, "mask is no bitset"),
        ({"exclude": [[1.5]]}, "exclude must hold vectors of item ids"),
        ({"exclude": np.zeros((1, 1, 1), np.int64)}, "exclude must hold vectors of item ids"),
    ],
)
def test_search_refuses(index: InvertedIndex, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        index.search(**{"term_ids": [[0, 1]], "k": 5, **arguments})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": [1, 2, 3]}, "indptr must run from 0"),
        ({"indptr": [0, 2, 4]}, "indptr must run from 0"),
        ({"indptr": [0, 4, 3]}, "term 1: indptr decreases"),
        ({"indptr": []}, "indptr"),
        ({"indptr": [0.0, 2.0, 3.0]}, "indptr is not an integer array"),
        ({"item_ids": [2, 1, 1]}, "term 0, posting 1: item ids of a list not ascending"),
        ({"item_ids": [1, 1, 1]}, "not ascending and unique"),
        ({"item_ids": [1, 2, 6]}, "term 1, posting 2: item id out of range; expected 0 to 5; received 6"),
        ({"item_ids": [-1, 2, 3]}, "item id out of range"),
        ({"item_ids": [1, 2, 2**32 + 1]}, "item id out of range"),
        ({"item_ids": [1, 2]}, "as many scores as item_ids"),
        ({"scores": [1.0, 0.0, 1.0]}, "posting 1: score not finite and positive"),
        ({"scores": [1.0, -1.0, 1.0]}, "score not finite and positive"),
        ({"scores": [1.0, 1.0, np.nan]}, "score not finite and positive"),
        ({"scores": [np.inf, 1.0, 1.0]}, "score not finite and positive"),
        ({"num_items": -1}, "num_items out of range"),
        ({"num_items": 2**31}, "num_items out of range"),
    ],
)
def test_from_postings_refuses(changes: dict, message: str) -> None:
    good = {"indptr": [0, 2, 3], "item_ids": [1, 2, 1], "scores": [1.0, 2.0, 3.0], "num_items": 5}
    InvertedIndex.from_postings(**good)
    with pytest.raises(IndexFormatError, match=message):
        InvertedIndex.from_postings(**{**good, **changes})


def test_order_is_checked_across_check_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparcode.index.postings._CHECK_BLOCK", 2)
    InvertedIndex.from_postings([0, 2, 5], [8, 9, 1, 2, 3], np.ones(5), num_items=9)
    with pytest.raises(IndexFormatError, match="term 0, posting 2"):
        InvertedIndex.from_postings([0, 5], [1, 3, 2, 4, 5], np.ones(5), num_items=9)


def test_the_arrays_of_an_index_cannot_be_changed(index: InvertedIndex) -> None:
    items, scores = index.posting_list(int(np.argmax(index.list_lengths())))
    for array in (items, scores, index.postings.indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_an_index_without_postings_or_items_finds_nothing() -> None:
    index = InvertedIndex.from_postings([0, 0], [], [], num_items=0)
    assert index.search([[0]], 3).item_ids.tolist() == [[-1, -1, -1]]
    assert (index.index_density, index.num_lists) == (0.0, 0)


def test_posting_list_refuses_an_unknown_term(index: InvertedIndex) -> None:
    with pytest.raises(UsageError, match="term id out of range"):
        index.posting_list(40)


def test_concurrent_searches_do_not_disturb_each_other(index: InvertedIndex) -> None:
    terms = np.random.default_rng(0).integers(0, index.num_terms, (200, 6))
    expected = index.search(terms, 10)
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: index.search(terms, 10, num_threads=2), range(20)))
    for result in results:
        np.testing.assert_array_equal(result.item_ids, expected.item_ids)
        np.testing.assert_array_equal(result.scores, expected.scores)


def test_the_index_runs_where_only_numpy_numba_and_pyarrow_are_installed() -> None:
    absent = ("mindspore", "pydantic", "pandas", "yaml", "scipy", "sparcode.config")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent}))  # None: importing it is an ImportError
import sparcode.evaluation.metrics
from sparcode.index import InvertedIndex
index = InvertedIndex.from_postings([0, 1], [1], [1.0], num_items=1)
print(index.search([[0]], 1).item_ids)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1]]"


def test_what_searches_run_is_compiled_before_the_first_one_and_kept_for_the_next_process(
    index: InvertedIndex,
) -> None:
    index.search([[0, 1]], 3)  # compiled here at the latest
    code = """
import numpy as np
from numba.core import event
class Count(event.Listener):
    compiled = 0
    def on_start(self, started): pass
    def on_end(self, ended): Count.compiled += 1
event.register("numba:compile", Count())
from sparcode.index import KERNELS, InvertedIndex
from sparcode.index.search import kernel as module
index = InvertedIndex.from_postings([0, 1, 3], [1, 1, 2], [1.0, 2.0, 3.0], num_items=70)
ready = len(module.search_rows.signatures)
terms, mask = np.zeros((4, 4), dtype=np.int32)[::2, ::2], np.ones((2, 4), dtype=np.uint64)[:, ::2]
mask.flags.writeable = False
for kernel in KERNELS:
    for options in ({}, {"mask": mask, "weights": np.ones((2, 2)).T}, {"exclude": [1], "allow": [[2], None]}):
        index.search(terms, 3, kernel=kernel, fill=True, num_threads=2, **options)
print(Count.compiled, ready, len(module.search_rows.signatures))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 1 1"


def test_errors_belong_to_the_tree_of_the_package() -> None:
    assert issubclass(IndexBuildError, SparcodeError)
