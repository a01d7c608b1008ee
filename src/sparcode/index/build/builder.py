"""Building the index: codes are scored against items, block by block, and pruned on the way.

Memory, besides the scorer's own and for each thread: some copies of a block of scores
(``4 * block_terms * block_items`` bytes) and the pruner's state for one block of terms; 8 bytes a posting for
the finished lists, and as much again while they are joined. Nothing grows with the number of pairs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sparcode.errors import ConfigError, UsageError
from sparcode.index.build.blocks import BlockScorer, FingerprintedScorer, score_terms
from sparcode.index.build.options import BuildOptions
from sparcode.index.build.parts import BuildShare, Parts
from sparcode.index.build.posterior import Posterior
from sparcode.index.build.pruning import TopPruner
from sparcode.index.codes import count_terms
from sparcode.index.inverted_index import InvertedIndex
from sparcode.index.packed.coding import CODE_TYPES
from sparcode.index.postings import MAX_ITEM_ID, Lists, join_lists

WHOLE_ROWS = 1 << 25
"""Scores of whole rows that are held at once, 128 MB."""

_PLAIN_BYTES = 8
"""Bytes of a posting in plain arrays."""

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        top_l: longest list of a code that was allowed, the byte budget included.
        num_pairs: pairs of terms and items that were scored, in all processes, without blocks of an earlier,
            killed build.
        seconds: wall-clock time.
        options: the options.
    """

    top_l: int
    num_pairs: int
    seconds: float
    options: BuildOptions

    @property
    def pairs_per_second(self) -> float:
        """Scoring, pruning and joining together."""
        return self.num_pairs / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class BuildResult:
    """The index and the report about its building."""

    index: InvertedIndex
    report: BuildReport


def build_index(
    scorer: BlockScorer,
    codebooks: NDArray[np.float32],
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    extend: Callable[[InvertedIndex], InvertedIndex] | None = None,
    share: BuildShare | None = None,
    posterior: Posterior | None = None,
) -> BuildResult:
    """Score terms against all items and keep what pruning leaves (SparCode, indexing).

    The same scorer, codebooks and options give the same index, also when a build that was killed continues.

    Args:
        scorer: the trained scorer, a ``FingerprintedScorer`` for part files; several threads call it if the
            options say so.
        codebooks: (S, M, N, d) float32, see ``codes.tokens_of_terms``.
        options: what is built, and in what blocks; None = the defaults.
        progress: called with (terms done, terms in all) at the start and after each block of terms.
        extend: what is done to the plain index before it is packed and measured, such as appending lists.
        share: where part files are, and which part this call builds when several processes build together;
            every one returns the whole index. None = all of it, without files.
        posterior: correction of the scores by counts; None = lists of the scores alone.

    Returns:
        The index over term ids ``0 .. S * N ** M - 1`` and item ids ``1 .. num_items``, and a report.

    Raises:
        IndexBuildError: the scorer gives a score that is not finite, or an array of another shape or type.
        ConfigError: a byte budget without room for one posting in every list.
        UsageError: the codebooks are not (S, M, N, d), or the scorer has no items, or no fingerprint.
        OutputError: part files cannot be written.
    """
    options, share = options or BuildOptions(), share or BuildShare()
    codebooks = np.asarray(codebooks, dtype=np.float32)
    num_terms = _check_sizes(scorer, codebooks)
    started, num_pairs = time.perf_counter(), 0
    top_l = _first_length(options, num_terms, scorer.num_items)
    while True:
        build = _Build(scorer, codebooks, replace(options, top_l=top_l), share, posterior)
        lists, scored = build.run(progress)
        num_pairs += scored * scorer.num_items
        index = InvertedIndex(lists.postings(scorer.num_items), floors=_floors(lists))
        index = index if extend is None else extend(index)
        index = index if options.packing == "none" else index.pack(options.packing)
        if not options.max_bytes or index.size_bytes <= options.max_bytes:
            break
        top_l = _next_length(top_l, index.size_bytes, options.max_bytes)
    report = BuildReport(top_l, num_pairs, time.perf_counter() - started, options)
    _log.info("index built: %d postings, %.1f s", index.num_postings, report.seconds)
    return BuildResult(index, report)


def _check_sizes(scorer: BlockScorer, codebooks: NDArray[np.float32]) -> int:
    if codebooks.ndim != 4:
        raise UsageError("codebooks have a wrong rank", expected="(S, M, N, d)", received=codebooks.shape)
    if not 1 <= scorer.num_items <= MAX_ITEM_ID:
        raise UsageError("num_items out of range", expected=f"1 to {MAX_ITEM_ID}", received=scorer.num_items)
    num_slots, num_codebooks, codebook_size, _ = codebooks.shape
    return count_terms(num_codebooks, codebook_size, num_slots)


def _floors(lists: Lists) -> NDArray[np.float32] | None:
    return lists.floors if lists.floors.any() else None


# ---- a byte budget: lists become shorter until the finished index fits


def _first_length(options: BuildOptions, num_terms: int, num_items: int) -> int:
    """Longest list to begin with; signed lists are full, so that a budget bounds their length."""
    top_l = min(options.top_l or num_items, num_items)
    if options.max_bytes and options.signed:
        plain = options.packing == "none"
        size = _PLAIN_BYTES if plain else np.dtype(CODE_TYPES[options.packing]).itemsize
        top_l = min(top_l, max(options.max_bytes // (size * num_terms), 1))
    return top_l


def _next_length(top_l: int, size_bytes: int, max_bytes: int) -> int:
    """A shorter length after an index that was too large."""
    if top_l == 1:
        raise ConfigError(
            "the byte budget has no room for one posting in every list",
            where="index.max_bytes",
            expected=f"at least {size_bytes}",
            received=max_bytes,
            remedy="a larger budget, or fewer codes",
        )
    return max(min(int(top_l * max_bytes / size_bytes), top_l - 1), 1)


class _Build:
    """One build at one length of lists."""

    def __init__(
        self,
        scorer: BlockScorer,
        codebooks: NDArray[np.float32],
        options: BuildOptions,
        share: BuildShare,
        posterior: Posterior | None,
    ) -> None:
        self._scorer, self._codebooks, self._options, self._share = scorer, codebooks, options, share
        self._posterior = posterior
        num_slots, num_codebooks, codebook_size, _ = codebooks.shape
        self._num_terms = count_terms(num_codebooks, codebook_size, num_slots)

    def run(self, progress: Progress | None) -> tuple[Lists, int]:
        """The lists of all terms, and how many of them were made now, by all builders."""
        size = self._options.block_terms
        count = -(-self._num_terms // size)
        parts = Parts(self._share, "" if self._share.work_dir is None else self._fingerprint())
        own = self._share.blocks(count)
        left = [number for number in own if not parts.resume(number)]
        terms = {
            number: np.arange(number * size, min((number + 1) * size, self._num_terms)) for number in own
        }
        total, made = sum(map(len, terms.values())), 0
        done = total - sum(len(terms[number]) for number in left)
        if progress is not None:
            progress(done, total)
        blocks = (terms[number] for number in left)
        for number, lists in zip(left, _in_order(self._lists, blocks, self._options.threads), strict=True):
            parts.add(number, lists)
            made += len(terms[number])
            if progress is not None:
                progress(done + made, total)
        return parts.finish(count), self._share.add_up(made)

    def _lists(self, term_ids: NDArray[np.int64]) -> Lists:
        """The lists of one block of terms."""
        return lists_of_terms(self._scorer, self._codebooks, self._options, term_ids, self._posterior)

    def _fingerprint(self) -> str:
        """Differs when any list would.

        Raises:
            UsageError: the scorer has no fingerprint.
        """
        if not isinstance(self._scorer, FingerprintedScorer):
            raise UsageError("part files need a scorer with a fingerprint", where="work_dir")
        choices = asdict(replace(self._options, threads=1, max_bytes=0, packing="none"))
        shape = list(self._codebooks.shape)
        codebooks = hashlib.sha256(self._codebooks.tobytes()).hexdigest()
        counts = "" if self._posterior is None else self._posterior.fingerprint
        return json.dumps(
            [choices, self._scorer.fingerprint, self._scorer.num_items, shape, codebooks, counts]
        )


def lists_of_terms(
    scorer: BlockScorer,
    codebooks: NDArray[np.float32],
    options: BuildOptions,
    term_ids: NDArray[np.int64],
    posterior: Posterior | None = None,
) -> Lists:
    """The lists of some terms (T,), in their order, as ``build_index`` makes them.

    A correction by counts needs whole rows of scores: it takes so few terms at once that these have at most
    ``WHOLE_ROWS`` scores.
    """
    num_items = scorer.num_items
    if posterior is None:
        pruner = TopPruner(len(term_ids), num_items, options.top_l, options.signed)
        for first, scores in score_terms(scorer, codebooks, term_ids, options.block_items):
            pruner.add(scores, first)
        return pruner.finish()
    size = max(WHOLE_ROWS // num_items, 1)
    parts = []
    for start in range(0, len(term_ids), size):
        terms = term_ids[start : start + size]
        pruner = TopPruner(len(terms), num_items, options.top_l, options.signed)
        ((_, scores),) = score_terms(scorer, codebooks, terms, num_items)
        posterior.correct(terms, scores)
        pruner.add(scores, 1)
        parts.append(pruner.finish())
    return join_lists(parts)


def _in_order(
    work: Callable[[NDArray[np.int64]], Lists], blocks: Iterable[NDArray[np.int64]], threads: int
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
