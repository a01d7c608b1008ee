"""How an index is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparcode.errors import ConfigError


@dataclass(frozen=True)
class BuildOptions:
    """Which scores become postings, in what form, and in what blocks.

    Attributes:
        top_l: postings of a list, the best ones, less the list's floor; 0 = no limit.
        max_bytes: lists are cut to the greatest length with which the arrays of the index fit in so many
            bytes, 0 = no limit.
        packing: form of the finished index, ``none`` for plain arrays.
        signed: scores of either sign are worth a posting; otherwise positive ones alone, which is what the
            relu of the model keeps.
        block_terms: codes scored at once.
        block_items: items scored at once.
        threads: blocks of codes scored at the same time.

    Raises:
        ConfigError: a value out of range.
    """

    top_l: int = 400
    max_bytes: int = 0
    packing: Literal["none", "float32", "float16", "uint8"] = "none"
    signed: bool = False
    block_terms: int = 256
    block_items: int = 4096
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("top_l", 0), ("max_bytes", 0), ("block_terms", 1), ("block_items", 1), ("threads", 1)
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} out of range",
                    where=f"index.{name}",
                    expected=f"at least {least}",
                    received=getattr(self, name),
                )
