"""Building the index: codes are scored against items, block by block, and pruned on the way.

Memory, besides the scorer's own and for each thread: some copies of a block of scores
(``4 * block_terms * block_items`` bytes) and the pruner's state for one block of terms. Finished lists wait
in part files when the build has a directory for them, and in memory otherwise (8 bytes a posting, 20 while
arrays grow). Nothing grows with the number of pairs. Estimating the threshold of ``prune="density"`` also
holds the scores of a sample: ``max(2**22, 32 * num_items)`` numbers of 4 bytes at most.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import ConfigError, UsageError
from sparcode.index.build.blocks import BlockScorer, FingerprintedScorer, ShortlistScorer, score_terms
from sparcode.index.build.budget import POSTING_BYTES, longest_lists
from sparcode.index.build.observed import TermPlan, plan_observed_terms
from sparcode.index.build.options import BuildOptions
from sparcode.index.build.parts import FileParts, MemoryParts
from sparcode.index.build.pruning import Lists, Pruner, ShiftPruner, TopPruner
from sparcode.index.build.sharing import BuildShare
from sparcode.index.build.shortlist import list_recall, shortlisted_lists
from sparcode.index.codes import count_terms
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.postings import MAX_ITEM_ID, make_postings
from sparcode.index.terms import make_term_table

_SAMPLE_PAIRS = 1 << 22
_SAMPLE_TERMS = 32
_BUDGET_ROUNDS = 3
"""Longer lists have smaller gaps between items, so smaller postings: length and size are found in turns."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        num_terms: codes there are.
        num_items: items scored.
        num_built: codes that were scored against the items.
        num_redirects: codes that another code's list answers for.
        num_lists: lists that are not empty.
        num_postings: postings kept.
        index_density: postings per pair.
        shift: bias that pruning added to every score; 0 for top_l.
        top_l: longest list that pruning allowed, the byte budget included; 0 unless pruned to top_l.
        shortlist_recall: share of the postings of exhaustive building that shortlists found, on a sample of
            lists; 1 without shortlists.
        num_pairs: pairs that this build decided on, in all its processes, without samples and blocks of an
            earlier, killed build.
        seconds: wall-clock time.
        pairs_per_second: scoring, pruning and joining together.
        options: the options.
    """

    num_terms: int
    num_items: int
    num_built: int
    num_redirects: int
    num_lists: int
    num_postings: int
    index_density: float
    shift: float
    top_l: int
    shortlist_recall: float
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
    term_counts: ArrayLike | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    share: BuildShare | None = None,
) -> BuildResult:
    """Score terms against all items and keep what pruning leaves (SparCode, indexing).

    The same scorer, codebooks and options give the same index, also when a build that was killed continues.

    Args:
        scorer: the trained scorer, a ``FingerprintedScorer`` for ``work_dir`` and a ``ShortlistScorer`` for
            shortlists; it is called from several threads if the options say so.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        options: what is built, and in what blocks; None = the defaults.
        progress: called with (terms done, terms in all) at the start and after each block of terms.
        term_counts: (S * N ** M,) int, how often queries produced each term; for ``codes="observed"``.
        work_dir: directory for part files, from which a later call continues a build that was killed. The
            postings of the index are memory-mapped from it.
        share: which part this call builds when several processes build together, in a ``work_dir`` that all
            see; every one returns the whole index. None = all of it.

    Returns:
        The index over term ids ``0 .. S * N ** M - 1`` and item ids ``1 .. num_items``, and a report.

    Raises:
        IndexBuildError: the scorer gives a score that is not finite, or an array of another shape or type;
            or another build is using ``work_dir``.
        ConfigError: a byte budget or a number of lists that is too small, shortlists without a cheap part.
        UsageError: the codebooks are not (S, M, N, d), the scorer has no items, or counts are missing.
        OutputError: part files cannot be written.
    """
    options = options or BuildOptions()
    codebooks = np.asarray(codebooks, dtype=np.float32)
    num_terms = _check_sizes(scorer, codebooks)
    started = time.perf_counter()
    share = share or BuildShare()
    build = _Build(scorer, codebooks, options, _plan(codebooks, num_terms, options, term_counts), share)
    with _parts(build, share.directory(work_dir)) as parts:
        resumed = parts.num_lists
        build.run(parts, progress)
        lists, built = parts.finish(), share.add_up(parts.num_lists - resumed)
    index = build.index(lists if work_dir is None else share.merge(work_dir, lists))
    report = build.report(index, built, time.perf_counter() - started)
    _log.info(
        "index built: %d postings, density %.4g, %.1f s",
        report.num_postings,
        report.index_density,
        report.seconds,
    )
    return BuildResult(index, report)


def _parts(
    build: _Build, work_dir: str | os.PathLike[str] | None
) -> AbstractContextManager[MemoryParts | FileParts]:
    if work_dir is None:
        return nullcontext(MemoryParts(build.max_postings))
    return FileParts(work_dir, build.fingerprint())


def _check_sizes(scorer: BlockScorer, codebooks: NDArray[np.float32]) -> int:
    if codebooks.ndim != 4:
        raise UsageError("codebooks have a wrong rank", expected="(S, M, N, d)", received=codebooks.shape)
    if not 1 <= scorer.num_items <= MAX_ITEM_ID:
        raise UsageError("num_items out of range", expected=f"1 to {MAX_ITEM_ID}", received=scorer.num_items)
    num_slots, num_codebooks, codebook_size, _ = codebooks.shape
    return count_terms(num_codebooks, codebook_size, num_slots)


def _plan(
    codebooks: NDArray[np.float32], num_terms: int, options: BuildOptions, counts: ArrayLike | None
) -> TermPlan:
    if options.codes == "all":
        return TermPlan(np.arange(num_terms))
    if counts is None:
        raise UsageError("lists of observed codes need their counts", where="term_counts")
    return plan_observed_terms(codebooks, np.asarray(counts), options.max_lists)


class _Build:
    """One build: what is scored, how it is pruned, and the blocks."""

    def __init__(
        self,
        scorer: BlockScorer,
        codebooks: NDArray[np.float32],
        options: BuildOptions,
        plan: TermPlan,
        share: BuildShare,
    ) -> None:
        self._scorer, self._codebooks, self._options, self._plan = scorer, codebooks, options, plan
        blocks = share.blocks(-(-len(plan.term_ids) // options.block_terms))
        self._own = plan.term_ids[blocks.start * options.block_terms : blocks.stop * options.block_terms]
        num_slots, num_codebooks, codebook_size, _ = codebooks.shape
        self._num_terms = count_terms(num_codebooks, codebook_size, num_slots)
        if options.shortlist and not isinstance(scorer, ShortlistScorer):
            raise ConfigError(
                "the scorer has no cheap part to make shortlists from", where="index.shortlist", expected=0,
                received=options.shortlist,
            )  # fmt: skip
        self._shift = self._find_shift()
        self._top_l = self._find_top_l() if options.prune == "top_l" else 0

    # ---- limits that come from the scores

    def _find_shift(self) -> float:
        """Bias that pruning adds to every score."""
        options = self._options
        if options.prune == "bias":
            return float(options.extra_bias)
        if options.prune == "top_l":
            return 0.0
        term_ids = self._sample(max(_SAMPLE_TERMS, _SAMPLE_PAIRS // self._scorer.num_items))
        sample = np.empty((len(term_ids), self._scorer.num_items), dtype=np.float32)
        for start in range(0, len(term_ids), options.block_terms):
            rows = slice(start, start + options.block_terms)
            for first, scores in self._scores(term_ids[rows]):
                sample[rows, first - 1 : first - 1 + scores.shape[1]] = scores
        return -density_threshold(sample, options.density, -np.inf if options.signed else 0.0)

    def _sample(self, wanted: int) -> NDArray[np.int64]:
        rng = np.random.default_rng(self._options.sample_seed)
        return np.sort(rng.permutation(self._plan.term_ids)[:wanted])

    def _find_top_l(self) -> int:
        """Longest list; the byte budget needs to know how long each would be."""
        options, num_items = self._options, self._scorer.num_items
        top_l = min(options.top_l or num_items, options.shortlist or num_items, num_items)
        if not options.max_bytes:
            return top_l
        lengths = np.full(len(self._plan.term_ids), top_l, dtype=np.int64)
        if not options.signed:
            for place, block in self._blocks(self._plan.term_ids):
                positive = sum((scores > 0).sum(1) for _, scores in self._scores(block))
                lengths[place : place + len(block)] = np.minimum(positive, top_l)
        fits, redirected = top_l, self._plan.redirects is not None
        for _ in range(_BUDGET_ROUNDS if options.packing != "none" else 1):
            size = self._posting_bytes(fits)
            fits = min(longest_lists(lengths, self._num_terms, redirected, options.max_bytes, size), top_l)
        return fits

    def _posting_bytes(self, top_l: int) -> float:
        """Bytes of a posting in the form that the lists will take, if they are so long."""
        if self._options.packing == "none":
            return POSTING_BYTES
        lengths, item_ids, scores, _ = self._exhaustive(self._sample(_SAMPLE_TERMS), top_l)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        sample = InvertedIndex(make_postings(indptr, item_ids, scores, self._scorer.num_items))
        return sample.pack(self._options.packing).size_bytes / max(sample.num_postings, 1)

    @property
    def max_postings(self) -> int:
        """Most postings that there may be, as far as that is known; 0 where it is not."""
        return len(self._own) * self._top_l

    # ---- blocks

    def _scores(self, term_ids: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        return score_terms(self._scorer, self._codebooks, term_ids, self._options.block_items)

    def _blocks(self, terms: NDArray[np.int64], start: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Place among the terms of the first term of each block, and the block."""
        size = self._options.block_terms
        for place in range(start, len(terms), size):
            yield place, terms[place : place + size]

    def _lists(self, term_ids: NDArray[np.int64]) -> Lists:
        """The lists of one block of terms."""
        options = self._options
        if options.shortlist and isinstance(self._scorer, ShortlistScorer):
            size = min(options.shortlist, self._scorer.num_items)
            top = TopPruner(self._top_l, options.signed)
            return shortlisted_lists(self._scorer, self._codebooks, term_ids, size, top, options.block_items)
        return self._exhaustive(term_ids, self._top_l)

    def _exhaustive(self, term_ids: NDArray[np.int64], top_l: int) -> Lists:
        pruner: Pruner = ShiftPruner(self._shift)
        if self._options.prune == "top_l":
            pruner = TopPruner(top_l, self._options.signed)
        pruner.begin(len(term_ids))
        for first_item, scores in self._scores(term_ids):
            pruner.add(scores, first_item)
        return pruner.finish()

    def run(self, parts: MemoryParts | FileParts, progress: Callable[[int, int], None] | None) -> None:
        """Append the lists of all own blocks that the parts do not hold yet."""
        total = len(self._own)
        if progress is not None:
            progress(parts.num_lists, total)
        blocks = (block for _, block in self._blocks(self._own, parts.num_lists))
        for lists in _in_order(self._lists, blocks, self._options.threads):
            parts.append(lists)
            if progress is not None:
                progress(parts.num_lists, total)

    def fingerprint(self) -> str:
        """Differs when any list would.

        Raises:
            UsageError: the scorer has no fingerprint.
        """
        if not isinstance(self._scorer, FingerprintedScorer):
            raise UsageError("part files need a scorer with a fingerprint", where="work_dir")
        choices = asdict(replace(self._options, threads=1, top_l=self._top_l, max_bytes=0, packing="none"))
        text = json.dumps([choices, self._shift, list(self._codebooks.shape), self._scorer.num_items])
        digest = hashlib.sha256(text.encode())
        digest.update(self._scorer.fingerprint.encode())
        digest.update(self._codebooks.tobytes())
        digest.update(self._own.tobytes())
        return digest.hexdigest()

    # ---- result

    def index(self, lists: Lists) -> InvertedIndex:
        """The lists under the ids of their terms."""
        lengths, item_ids, scores, floors = lists
        terms = self._plan.term_ids
        indptr = np.zeros(self._num_terms + 1, dtype=np.int64)
        indptr[1:][terms] = lengths
        np.cumsum(indptr, out=indptr)
        all_floors = np.zeros(self._num_terms, dtype=np.float32)
        all_floors[terms] = floors
        table = make_term_table(
            self._num_terms, all_floors if all_floors.any() else None, self._plan.redirects
        )
        return InvertedIndex(make_postings(indptr, item_ids, scores, self._scorer.num_items), terms=table)

    def _shortlist_recall(self) -> float:
        if not self._options.shortlist:
            return 1.0
        sample = self._sample(_SAMPLE_TERMS)
        return list_recall(self._exhaustive(sample, self._top_l), self._lists(sample))

    def report(self, index: InvertedIndex, scored: int, seconds: float) -> BuildReport:
        built = len(self._plan.term_ids)
        num_pairs = scored * index.num_items
        return BuildReport(
            num_terms=index.num_terms,
            num_items=index.num_items,
            num_built=built,
            num_redirects=index.num_terms - built,
            num_lists=index.num_lists,
            num_postings=index.num_postings,
            index_density=index.index_density,
            shift=self._shift,
            top_l=self._top_l,
            shortlist_recall=self._shortlist_recall(),
            num_pairs=num_pairs,
            seconds=seconds,
            pairs_per_second=num_pairs / max(seconds, 1e-9),
            options=self._options,
        )


def _in_order(
    work: Callable[[NDArray[np.int64]], Lists], blocks: Iterator[NDArray[np.int64]], threads: int
) -> Iterator[Lists]:
    """The results of all blocks in their order, ``threads`` being worked on at the same time."""
    if threads == 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(threads) as executor:
        waiting: deque[Future[Lists]] = deque()
        for block in blocks:
            waiting.append(executor.submit(work, block))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
        return least if np.isfinite(least) else float(np.nextafter(flat.min(), np.float32(-np.inf)))
    flat.partition(flat.size - kept - 1)
    return max(float(flat[flat.size - kept - 1]), least)
