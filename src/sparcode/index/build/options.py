"""How an index is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparcode.errors import ConfigError

_LEAST = {
    "top_l": 0,
    "max_lists": 0,
    "max_bytes": 0,
    "shortlist": 0,
    "block_terms": 1,
    "block_items": 1,
    "threads": 1,
}


@dataclass(frozen=True)
class BuildOptions:
    """Which codes get a list, how scores become postings, and in what blocks.

    Attributes:
        codes: ``all`` codes get a list; ``observed`` ones only, with neighbours up to ``max_lists``.
        max_lists: observed only: most lists that are built, 0 = as many as codes were observed.
        prune: ``bias`` keeps ``score + extra_bias`` where positive; ``density`` does so with the bias (0 or
            less) that keeps about ``density`` of all pairs; ``top_l`` keeps the best of each list, less the
            list's floor.
        extra_bias: bias only: added to every score; 0 keeps the relu of the model as it is.
        density: density only: postings per pair, in (0, 1].
        top_l: top_l only: longest list, 0 = no limit.
        max_bytes: top_l only: lists are cut to the greatest length with which the arrays of the index fit in
            so many bytes, 0 = no limit.
        packing: form that the finished index will be packed into, ``none`` for plain arrays: what a posting
            costs of the byte budget is measured on a sample of lists in this form.
        shortlist: only so many items of every list, the best by the cheap part of the scorer, are scored
            exactly; 0 = all items.
        signed: scores of either sign are worth a posting; otherwise positive ones alone, which is what the
            relu of the model keeps.
        block_terms: codes scored at once.
        block_items: items scored at once.
        threads: blocks of codes scored at the same time.
        sample_seed: seed of the samples of terms for density and for the recall of shortlists.

    Raises:
        ConfigError: a value out of range, or a combination without meaning.
    """

    codes: Literal["all", "observed"] = "all"
    max_lists: int = 0
    prune: Literal["bias", "density", "top_l"] = "top_l"
    extra_bias: float = 0.0
    density: float = 0.1
    top_l: int = 400
    max_bytes: int = 0
    packing: Literal["none", "float32", "float16", "uint8"] = "none"
    shortlist: int = 0
    signed: bool = False
    block_terms: int = 256
    block_items: int = 4096
    threads: int = 1
    sample_seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("codes", ("all", "observed")), ("prune", ("bias", "density", "top_l"))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"unknown value of {name}",
                    where=f"index.{name}",
                    expected=" | ".join(known),
                    received=getattr(self, name),
                )
        if not np.isfinite(self.extra_bias):
            raise ConfigError(
                "bias is not finite", where="index.extra_bias", expected="a number", received=self.extra_bias
            )
        if not 0.0 < self.density <= 1.0:
            raise ConfigError(
                "density out of range", where="index.density", expected="in (0, 1]", received=self.density
            )
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} out of range",
                    where=f"index.{name}",
                    expected=f"at least {least}",
                    received=getattr(self, name),
                )
        for name in ("max_bytes", "shortlist"):
            if getattr(self, name) and self.prune != "top_l":
                raise ConfigError(
                    f"{name} limits the length of lists, which index.prune {self.prune} does not",
                    where=f"index.{name}",
                    expected="0, or index.prune top_l",
                    received=getattr(self, name),
                )
