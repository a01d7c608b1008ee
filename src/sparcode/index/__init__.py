"""Codes, posting lists, their building, storage and search; needs numpy and numba only."""

from sparcode.index.build.appending import append_lists
from sparcode.index.build.blocks import BlockScorer, IndexBuildError
from sparcode.index.build.builder import BuildReport, BuildResult, build_index
from sparcode.index.build.options import BuildOptions
from sparcode.index.build.parts import BuildShare
from sparcode.index.build.posterior import CodeCounts, Posterior
from sparcode.index.codes import count_terms, decode_terms, encode_terms, tokens_of_terms
from sparcode.index.filters.attributes import ItemAttributes
from sparcode.index.inverted_index import KERNELS, InvertedIndex
from sparcode.index.live.live_index import LiveIndex

__all__ = [
    "KERNELS",
    "BlockScorer",
    "BuildOptions",
    "BuildReport",
    "BuildResult",
    "BuildShare",
    "CodeCounts",
    "IndexBuildError",
    "InvertedIndex",
    "ItemAttributes",
    "LiveIndex",
    "Posterior",
    "append_lists",
    "build_index",
    "count_terms",
    "decode_terms",
    "encode_terms",
    "tokens_of_terms",
]
