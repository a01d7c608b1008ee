"""Composition of index building: trained run -> inverted index, with parts that survive a killed build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcode.config.schema import Config
from sparcode.crosses import CrossTable
from sparcode.index import (
    BuildOptions,
    BuildResult,
    BuildShare,
    InvertedIndex,
    Posterior,
    append_lists,
    build_index,
)
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.matchers.sparcode import SparCode
from sparcode.progress import Progress
from sparcode.training.world import World

PARTS = "index.parts"
"""Directory in a run for the parts of indexes that are being built."""


@dataclass(frozen=True)
class ListExtras:
    """What an index holds beside the network's scores of codes.

    Attributes:
        crosses: whose lists are appended; None = none are.
        posterior: correction of the lists of codes; None = lists of the network alone.
    """

    crosses: CrossTable | None = None
    posterior: Posterior | None = None


def build_options(config: Config, network: SparCode) -> BuildOptions:
    """The index section, as the builder reads it."""
    names = set(BuildOptions.__dataclass_fields__) - {"signed"}
    return BuildOptions(**config.index.model_dump(include=names), signed=network.score.signed)


def build_network_index(
    network: SparCode, config: Config, parts: Path, world: World, extras: ListExtras
) -> BuildResult:
    """Build the index of a network as the index section says, continuing from the parts of a killed build.

    Every worker of a job scores a share of the codes and has the whole index in the end.

    Args:
        network: trained.
        config: of the run.
        parts: directory for part files.
        world: the workers that build together.
        extras: what the lists hold beside the network's scores.
    """
    crosses = extras.crosses
    share = BuildShare(parts, world.rank, world.size, lambda number: int(world.gather_sizes(number).sum()))
    scorer = NetworkBlockScorer(network, network.tower.num_items)

    def with_crosses(index: InvertedIndex) -> InvertedIndex:
        if crosses is None:
            return index
        return append_lists(index, crosses.row_blocks(config.crosses.top_l), 0, signed=False)

    with Progress("building the index:", "pairs", resumed=True) as progress:

        def advance(done: int, total: int) -> None:
            progress.update(done * scorer.num_items, total * scorer.num_items)

        return build_index(
            scorer,
            network.term_codebooks(),
            build_options(config, network),
            advance,
            with_crosses,
            share,
            extras.posterior,
        )


def cross_index(config: Config, crosses: CrossTable | None) -> InvertedIndex | None:
    """The lists of crosses alone, the term of item i being i - 1; None without crosses."""
    if crosses is None:
        return None
    empty = InvertedIndex.from_postings([0], [], [], num_items=crosses.num_items)
    index = append_lists(empty, crosses.row_blocks(config.crosses.top_l), 0, signed=False)
    return index if config.index.packing == "none" else index.pack(config.index.packing)


def index_summary(built: BuildResult) -> dict[str, Any]:
    """The part of an evaluation report that says what index was searched, and what was left out of it."""
    index, report = built.index, built.report
    return {
        "num_terms": index.num_terms,
        "num_lists": index.num_lists,
        "num_postings": index.num_postings,
        "index_density": index.index_density,
        "encoding": index.encoding,
        "size_bytes": index.size_bytes,
        "max_bytes": report.options.max_bytes,
        "top_l": report.top_l,
        "build_seconds": round(report.seconds, 3),
        "pairs_per_second": round(report.pairs_per_second),
    }
