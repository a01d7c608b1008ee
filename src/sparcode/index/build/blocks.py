"""Scores of blocks of terms and items, checked: what every way of building starts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import SparcodeError
from sparcode.index.codes import tokens_of_terms


class IndexBuildError(SparcodeError):
    """The scorer gave something that no index can be built from, or a directory of parts is in use."""


class BlockScorer(Protocol):
    """The trained interaction network, as the builder sees it."""

    @property
    def num_items(self) -> int:
        """Items of the catalogue; their internal ids are 1 .. num_items."""

    def score_block(self, tokens: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        """Scores of tokens and items: what a posting list holds, before anything is pruned.

        Args:
            tokens: (T, d) float32, see ``codes.tokens_of_terms``.
            start: first item id.
            stop: one past the last item id.

        Returns:
            (T, stop - start) float32.
        """


@runtime_checkable
class FingerprintedScorer(BlockScorer, Protocol):
    """A scorer that can be told from another one, so that a build that was killed may continue."""

    @property
    def fingerprint(self) -> str:
        """Text that differs whenever a score does."""


def score_terms(
    scorer: BlockScorer, codebooks: NDArray[np.float32], term_ids: NDArray[np.int64], block_items: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Scores of one block of terms and all items.

    Args:
        scorer: of the items.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        term_ids: (T,) int64.
        block_items: items scored at once, I at most.

    Yields:
        (first item id, (T, I) float32 scores), item blocks ascending.

    Raises:
        IndexBuildError: a score that is not finite, or an array of another shape or type.
    """
    tokens = tokens_of_terms(codebooks, term_ids)  # (T, d)
    last = scorer.num_items
    for first in range(1, last + 1, block_items):
        stop = min(first + block_items, last + 1)
        yield first, checked(np.asarray(scorer.score_block(tokens, first, stop)), term_ids, first, stop)


def checked(
    scores: NDArray[np.float32], term_ids: NDArray[np.int64], first: int, stop: int
) -> NDArray[np.float32]:
    """The scores of terms (T,) and the items ``first .. stop - 1``, contiguous.

    Raises:
        IndexBuildError: a score that is not finite, or an array of another shape or type.
    """
    expected = (len(term_ids), stop - first)
    if scores.shape != expected or scores.dtype != np.float32:
        raise IndexBuildError(
            "scorer gave an array of another shape or type",
            expected=f"{expected} float32",
            received=f"{scores.shape} {scores.dtype}",
        )
    finite = np.isfinite(scores)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise IndexBuildError(
            "score is not finite",
            where=f"term {term_ids[row]}, item {first + column}",
            expected="a finite score",
            received=scores[row, column],
            remedy="the model has diverged: build from an earlier checkpoint",
        )
    return np.ascontiguousarray(scores)
