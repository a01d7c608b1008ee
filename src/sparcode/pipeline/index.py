"""Composition of index building: trained run -> inverted index, with parts that survive a killed build."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.data.batching import make_batches
from sparcode.data.dataset import Dataset
from sparcode.errors import ConfigError
from sparcode.evaluation.queries import encode_queries
from sparcode.index import (
    BuildOptions,
    BuildResult,
    BuildShare,
    append_lists,
    build_index,
    count_terms,
)
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.inference import CodeEncoder
from sparcode.model.matchers.sparcode import SparCode
from sparcode.pipeline.queries import batch_options, user_feature_names
from sparcode.training.progress import counting_progress
from sparcode.training.world import World

OBSERVED_QUERIES = 100_000
"""Training queries whose codes are counted."""

PARTS = "index.parts"
"""Directory in a run for the parts of an index that is being built."""


@contextmanager
def index_parts(run_dir: Path) -> Iterator[Path]:
    """The directory of part files of a run; it is deleted unless the index, or its use, failed."""
    directory = run_dir / PARTS
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def build_network_index(
    network: SparCode, config: Config, dataset: Dataset, parts: Path, world: World, crosses: CrossTable | None
) -> BuildResult:
    """Build the index of a network as the index section says, continuing from the parts of a killed build.

    Every worker of a job scores a share of the codes and has the whole index in the end.

    Args:
        network: trained.
        config: of the run.
        dataset: of the run.
        parts: directory for part files; the index is memory-mapped from it.
        world: the workers that build together.
        crosses: whose lists are appended; None = none are.
    """
    options = BuildOptions(**config.index.model_dump(exclude={"probes"}), signed=network.score.signed)
    codebooks = network.term_codebooks()
    counts = None
    if options.codes == "observed":
        num_terms = count_terms(codebooks.shape[1], codebooks.shape[2], codebooks.shape[0])
        counts = _observed_counts(network, config, dataset, num_terms, world)
    share = BuildShare(world.rank, world.size, lambda number: int(world.gather_sizes(number).sum()))
    scorer = NetworkBlockScorer(network, dataset.num_items)
    with counting_progress("index: pairs", "pairs") as progress:

        def advance(done: int, total: int) -> None:
            progress(done * scorer.num_items, total * scorer.num_items)

        while True:
            built = build_index(scorer, codebooks, options, advance, counts, parts, share)
            packing, index = config.index.packing, built.index
            if crosses is not None:
                index = append_lists(index, crosses.row_blocks(), config.crosses.top_l, crosses.signed)
            if packing != "none":
                index = index.pack(packing)
            if not options.max_bytes or index.size_bytes <= options.max_bytes:
                return replace(built, index=index)
            if built.report.top_l <= 1:
                raise ConfigError(
                    "the byte budget has no room for one posting in every list",
                    where="index.max_bytes",
                    expected=f"at least {index.size_bytes}",
                    received=options.max_bytes,
                )
            # the sample of lists packed better than the whole: again, with lists that much shorter
            longest = int(built.report.top_l * 0.995 * options.max_bytes / index.size_bytes)
            options = replace(options, top_l=max(longest, 1))


def _observed_counts(
    network: SparCode, config: Config, dataset: Dataset, num_terms: int, world: World
) -> NDArray[np.int64]:
    """(num_terms,) how often the queries of an epoch of training, or the first of them, produce each term.

    The workers take turns with whole batches: each query is encoded as one process alone would do it.
    """
    encoder, names = CodeEncoder(network), user_feature_names(config, dataset)
    counts = np.zeros(num_terms, dtype=np.int64)
    left = OBSERVED_QUERIES
    for number, batch in enumerate(make_batches(dataset, batch_options(config)).epoch(0)):
        real = np.unique(batch.query_index[batch.weights > 0] // batch.history.shape[1])
        if number % world.size == world.rank:
            rows = [np.asarray(dataset.user_arrays[name][batch.users[real]]) for name in names]
            terms = encode_queries(encoder, batch.history[real], rows, config.train.batch_size)[0]
            counts += np.bincount(terms.reshape(-1), minlength=num_terms)
        left -= len(real)
        if left <= 0:
            break
    return world.sum(counts).astype(np.int64)


def index_summary(built: BuildResult) -> dict[str, Any]:
    """The part of an evaluation report that says what index was searched, and what was left out of it."""
    index, report = built.index, built.report
    return {
        "num_terms": index.num_terms,
        "num_lists": index.num_lists,
        "num_redirects": report.num_redirects,
        "num_postings": index.num_postings,
        "index_density": index.index_density,
        "encoding": index.encoding,
        "size_bytes": index.size_bytes,
        "max_bytes": report.options.max_bytes,
        "prune": report.options.prune,
        "top_l": report.top_l,
        "shift": report.shift,
        "shortlist_recall": report.shortlist_recall,
        "build_seconds": round(report.seconds, 3),
        "pairs_per_second": round(report.pairs_per_second),
    }
