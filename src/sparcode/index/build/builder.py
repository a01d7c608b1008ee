"""Building the index: every code is scored against every item, block by block, and pruned on the way.

Memory, besides the scorer's own: some copies of a block of scores (``4 * block_terms * block_items`` bytes),
the pruner's state for one block of terms, and the postings kept (8 bytes each, 12 while they are joined).
Nothing grows with the number of pairs. Estimating the threshold of ``prune="density"`` also holds the scores
of a sample: ``max(2**22, 32 * num_items)`` numbers of 4 bytes at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import ConfigError, SparcodeError, UsageError
from sparcode.index.codes import count_terms, tokens_of_terms
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.postings import MAX_ITEM_ID, PostingsBuffer
from sparcode.index.build.pruning import Pruner, ShiftPruner, TopPruner
from sparcode.index.terms import make_term_table

_SAMPLE_PAIRS = 1 << 22
_SAMPLE_TERMS = 32

_log = logging.getLogger(__name__)


class IndexBuildError(SparcodeError):
    """The scorer gave something that no index can be built from."""


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


@dataclass(frozen=True)
class BuildOptions:
    """How scores become postings.

    Attributes:
        prune: ``bias`` keeps ``score + extra_bias`` where positive; ``density`` does so with the bias (0 or
            less) that keeps about ``density`` of all pairs; ``top_l`` keeps the best of each list, less the
            list's floor.
        extra_bias: bias only: added to every score; 0 keeps the relu of the model as it is.
        density: density only: postings per pair, in (0, 1].
        top_l: top_l only: longest list, 0 = no limit.
        signed: scores of either sign are worth a posting; otherwise positive ones alone, which is what the
            relu of the model keeps.
        block_terms: codes scored at once.
        block_items: items scored at once.
        sample_seed: density only: seed of the sample of terms.

    Raises:
        ConfigError: a value out of range.
    """

    prune: Literal["bias", "density", "top_l"] = "top_l"
    extra_bias: float = 0.0
    density: float = 0.1
    top_l: int = 400
    signed: bool = False
    block_terms: int = 256
    block_items: int = 4096
    sample_seed: int = 0

    def __post_init__(self) -> None:
        if self.prune not in ("bias", "density", "top_l"):
            raise ConfigError(
                "unknown pruning", where="index.prune", expected="bias | density | top_l", received=self.prune
            )
        if not np.isfinite(self.extra_bias):
            raise ConfigError(
                "bias is not finite", where="index.extra_bias", expected="a number", received=self.extra_bias
            )
        if not 0.0 < self.density <= 1.0:
            raise ConfigError(
                "density out of range", where="index.density", expected="in (0, 1]", received=self.density
            )
        for name, least in (("top_l", 0), ("block_terms", 1), ("block_items", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} out of range",
                    where=f"index.{name}",
                    expected=f"at least {least}",
                    received=getattr(self, name),
                )


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        num_terms: codes scored.
        num_items: items scored.
        num_lists: lists that are not empty.
        num_postings: postings kept.
        index_density: postings per pair.
        shift: bias that pruning added to every score; 0 for top_l.
        num_pairs: pairs scored, without the sample of ``density``.
        seconds: wall-clock time.
        pairs_per_second: scoring, pruning and joining together.
        options: the options.
    """

    num_terms: int
    num_items: int
    num_lists: int
    num_postings: int
    index_density: float
    shift: float
    num_pairs: int
    seconds: float
    pairs_per_second: float
    options: BuildOptions

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BuildResult:
    """The index and the report about its building."""

    index: InvertedIndex
    report: BuildReport


def build_index(
    scorer: BlockScorer,
    codebooks: NDArray[np.float32],
    options: BuildOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BuildResult:
    """Score all ``S * N ** M`` terms against all items and keep what pruning leaves (SparCode, indexing).

    The same scorer, codebooks and options give the same index.

    Args:
        scorer: the trained scorer.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        options: pruning and block sizes; None = the defaults.
        progress: called with (terms done, terms in all) after each block of terms.

    Returns:
        The index over term ids ``0 .. S * N ** M - 1`` and item ids ``1 .. num_items``, and a report.

    Raises:
        IndexBuildError: the scorer gives a score that is not finite, or an array of another shape or type.
        UsageError: the codebooks are not (S, M, N, d), or the scorer has no items.
    """
    options = options or BuildOptions()
    codebooks = np.asarray(codebooks, dtype=np.float32)
    num_terms = _check_sizes(scorer, codebooks)
    started = time.perf_counter()
    shift = _shift(scorer, codebooks, num_terms, options)
    pruner: Pruner = ShiftPruner(shift)
    if options.prune == "top_l":
        pruner = TopPruner(min(options.top_l or scorer.num_items, scorer.num_items), options.signed)
    buffer = PostingsBuffer()
    floors = np.zeros(num_terms, dtype=np.float32)
    for start in range(0, num_terms, options.block_terms):
        term_ids = np.arange(start, min(start + options.block_terms, num_terms))
        pruner.begin(len(term_ids))
        for first_item, scores in score_terms(scorer, codebooks, term_ids, options.block_items):
            pruner.add(scores, first_item)
        lengths, item_ids, scores, floors[term_ids] = pruner.finish()
        buffer.append(lengths, item_ids, scores)
        if progress is not None:
            progress(int(term_ids[-1]) + 1, num_terms)
    terms = make_term_table(num_terms, floors if floors.any() else None)
    index = InvertedIndex(buffer.finish(scorer.num_items), terms=terms)
    report = _report(index, options, shift, time.perf_counter() - started)
    _log.info(
        "index built: %d postings, density %.4g, %.1f s",
        report.num_postings,
        report.index_density,
        report.seconds,
    )
    return BuildResult(index, report)


def _check_sizes(scorer: BlockScorer, codebooks: NDArray[np.float32]) -> int:
    if codebooks.ndim != 4:
        raise UsageError("codebooks have a wrong rank", expected="(S, M, N, d)", received=codebooks.shape)
    if not 1 <= scorer.num_items <= MAX_ITEM_ID:
        raise UsageError("num_items out of range", expected=f"1 to {MAX_ITEM_ID}", received=scorer.num_items)
    num_slots, num_codebooks, codebook_size, _ = codebooks.shape
    return count_terms(num_codebooks, codebook_size, num_slots)


def score_terms(
    scorer: BlockScorer, codebooks: NDArray[np.float32], term_ids: NDArray[np.int64], block_items: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Scores of one block of terms, in blocks of items.

    Args:
        scorer: the trained scorer.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        term_ids: (T,) the terms.
        block_items: items scored at once.

    Yields:
        First item id and (T, I) float32 scores of a block of items, ascending.

    Raises:
        IndexBuildError: a score that is not finite, or an array of another shape or type.
    """
    tokens = tokens_of_terms(codebooks, term_ids)  # (T, d)
    last = scorer.num_items
    for first in range(1, last + 1, block_items):
        stop = min(first + block_items, last + 1)
        scores = np.asarray(scorer.score_block(tokens, first, stop))
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
        yield first, np.ascontiguousarray(scores)


def _shift(
    scorer: BlockScorer, codebooks: NDArray[np.float32], num_terms: int, options: BuildOptions
) -> float:
    """Bias that pruning adds to every score."""
    if options.prune == "bias":
        return float(options.extra_bias)
    if options.prune == "top_l":
        return 0.0
    wanted = max(_SAMPLE_TERMS, _SAMPLE_PAIRS // scorer.num_items)
    rng = np.random.default_rng(options.sample_seed)
    term_ids = np.sort(rng.permutation(num_terms)[: min(wanted, num_terms)])
    sample = np.empty((len(term_ids), scorer.num_items), dtype=np.float32)
    for start in range(0, len(term_ids), options.block_terms):
        rows = slice(start, start + options.block_terms)
        for first, scores in score_terms(scorer, codebooks, term_ids[rows], options.block_items):
            sample[rows, first - 1 : first - 1 + scores.shape[1]] = scores
    return -density_threshold(sample, options.density, -np.inf if options.signed else 0.0)


def density_threshold(sample: NDArray[np.float32], density: float, least: float = 0.0) -> float:
    """Smallest score, ``least`` or more, that at most a share ``density`` of the sample exceeds.

    Args:
        sample: scores of any shape, not empty; reordered in place.
        density: in (0, 1].
        least: smallest answer.

    Returns:
        The threshold; ``least`` when fewer scores than that exceed it.
    """
    flat = sample.reshape(-1)
    kept = round(density * flat.size)
    if kept >= flat.size:
        return max(float(np.nextafter(flat.min(), np.float32(-np.inf))), least)
    flat.partition(flat.size - kept - 1)
    return max(float(flat[flat.size - kept - 1]), least)


def _report(index: InvertedIndex, options: BuildOptions, shift: float, seconds: float) -> BuildReport:
    num_pairs = index.num_terms * index.num_items
    return BuildReport(
        num_terms=index.num_terms,
        num_items=index.num_items,
        num_lists=index.num_lists,
        num_postings=index.num_postings,
        index_density=index.index_density,
        shift=shift,
        num_pairs=num_pairs,
        seconds=seconds,
        pairs_per_second=num_pairs / max(seconds, 1e-9),
        options=options,
    )
