"""When the loss of an index is worth a warning, and which key comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparcode.evaluation.index_loss import IndexKeys, IndexLoss, index_loss_warning

KEYS = IndexKeys(top_l=50, cross_top_l=48, max_bytes=0, probes=4, codebook_size=1024, rescore=0)


@pytest.mark.parametrize(("index", "warns"), [(0.11, False), (0.1, False), (0.0991, False), (0.0989, True)])
def test_one_percent_is_tolerated(index: float, warns: bool) -> None:
    warning = index_loss_warning(IndexLoss("ndcg@50", index, 0.1, 0.1), KEYS)
    assert (warning is not None) == warns


def test_a_model_that_finds_nothing_loses_nothing() -> None:
    assert index_loss_warning(IndexLoss("ndcg@50", 0.0, 0.0, 0.0), KEYS) is None


def order(warning: str | None, *parts: str) -> bool:
    assert warning is not None
    places = [warning.index(part) for part in parts]
    return places == sorted(places)


def test_what_causes_the_loss_decides_which_key_comes_first() -> None:
    lists = index_loss_warning(IndexLoss("ndcg@50", 0.08, 0.099, 0.1), KEYS)
    assert lists is not None
    assert "loses 20.0 %" in lists
    assert "0.0800, exact scores 0.1000 (19.0 % by cut lists, 1.0 % by codes)" in lists
    assert order(lists, "index.top_l (50)", "crosses.top_l (48)", "eval.rescore (off)", "index.probes (4)")
    codes = index_loss_warning(IndexLoss("ndcg@50", 0.08, 0.081, 0.1), KEYS)
    assert order(codes, "eval.rescore (off)", "index.probes (4)", "index.top_l", "codebook_size (1024)")


def test_keys_that_bind_nothing_are_not_named() -> None:
    loss = IndexLoss("ndcg@50", 0.08, 0.099, 0.1)
    free = index_loss_warning(loss, replace(KEYS, top_l=0, cross_top_l=None))
    assert free is not None
    assert "top_l" not in free
    bounded = index_loss_warning(loss, replace(KEYS, max_bytes=1000, rescore=200))
    assert order(bounded, "index.max_bytes (1000)", "index.top_l", "eval.rescore (200)")
