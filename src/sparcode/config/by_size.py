"""Values that the configuration leaves to the data: kind of crosses, batch, negatives, learning rate, codes.

The rules follow the committed configurations (``configs/``), whose values were chosen on validation users:

============================  ===================================  =====================================
key                           rule                                 configurations that it follows
============================  ===================================  =====================================
``crosses.kind``              following, ridge (sets), none        all with crosses
``train.batch_size``          windows / 200, 32 to 256 (ordered)   synthetic 32, Amazon 128, ml-10m 256
                              pairs / 1,000, 64 to 1,024 (sets)    gowalla, deezer 1,024
``train.loss.num_negatives``  items / 20, 256 to 2,048             synthetic 256, Amazon 512 and 1,024,
                                                                   gowalla 2,048
``train.learning_rate``       .005 below 2,000 steps,              synthetic .005 (750 steps),
                              .001 above 15,000, .002 between      beauty .002, sports .001
``codebook_size``             training queries / 16, to 8,192      ml-1m, gowalla 8,192
============================  ===================================  =====================================

Sizes are powers of two, the nearest one within the bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sparcode.config.loader import config_of_values, flatten
from sparcode.config.schema import Config

LEFT_OPEN: dict[str, Any] = {
    "crosses.kind": "auto",
    "train.batch_size": 0,
    "train.loss.num_negatives": 0,
    "train.learning_rate": 0.0,
    "model.quantizer.codebook_size": 0,
}
"""Keys that the data decide, with the value that leaves them to it."""

MOST_CODE_BITS = 13
"""Two to this power are the most codes of a token whose codebook is chosen by size."""

MOST_PRODUCT_BITS = 16
"""The same where several codebooks make a code together, few of which any query has."""


@dataclass(frozen=True)
class DataSize:
    """What the rules know of a data set.

    Attributes:
        ordered: whether histories are in time order.
        has_histories: whether queries have a history at all.
        num_items: I.
        num_rows: rows of an epoch, that a batch is drawn from: windows of ordered histories, else pairs.
        num_queries: training queries that have a target.
    """

    ordered: bool
    has_histories: bool
    num_items: int
    num_rows: int
    num_queries: int


def cross_kind(size: DataSize) -> str:
    """Kind of crosses that fits the data."""
    if not size.has_histories:
        return "none"
    return "following" if size.ordered else "ridge"


def batch_size(size: DataSize) -> int:
    """Rows of a training step."""
    if size.ordered and size.has_histories:
        return _power_of_two(size.num_rows / 200, 32, 256)
    return _power_of_two(size.num_rows / 1000, 64, 1024)


def num_negatives(size: DataSize) -> int:
    """Sampled negatives of a training step."""
    return _power_of_two(size.num_items / 20, 256, 2048)


def learning_rate(num_steps: int) -> float:
    """Peak learning rate of a training of so many steps."""
    if num_steps < 2000:
        return 0.005
    return 0.002 if num_steps <= 15_000 else 0.001


def codebook_size(size: DataSize, num_codebooks: int) -> int:
    """Codewords of a codebook: as many as the training queries fill."""
    bits = MOST_CODE_BITS if num_codebooks == 1 else MOST_PRODUCT_BITS // num_codebooks
    return _power_of_two(size.num_queries / 16, 2, 2 ** max(bits, 1))


def resolve(config: Config, size: DataSize) -> Config:
    """The configuration with every key of ``LEFT_OPEN`` decided; those that were stated stay.

    Raises:
        ConfigError: a decided value contradicts a stated one, as more probes than codes do.
    """
    train = config.train
    rows = train.batch_size or batch_size(size)
    decided: dict[str, Any] = {
        "crosses.kind": cross_kind(size),
        "train.batch_size": rows,
        "train.loss.num_negatives": num_negatives(size),
        "train.learning_rate": learning_rate(-(-size.num_rows // rows) * train.epochs),
        "model.quantizer.codebook_size": codebook_size(
            size, getattr(getattr(config.model, "quantizer", None), "num_codebooks", 1)
        ),
    }
    return _with(config, {key: decided[key] for key in left_open(config)})


def left_open(config: Config) -> list[str]:
    """Keys that the configuration leaves to the data."""
    stated = flatten(config.model_dump())
    return [key for key, value in LEFT_OPEN.items() if key in stated and stated[key] == value]


def filled_from(config: Config, recorded: Config) -> Config:
    """The configuration with what it leaves open as it is recorded, where the record knows it."""
    known = flatten(recorded.model_dump())
    return _with(config, {key: known[key] for key in left_open(config) if key in known})


def _with(config: Config, values: dict[str, Any]) -> Config:
    if not values:
        return config
    tree = config.model_dump(mode="json")
    for key, value in values.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[name] = value
    return config_of_values(tree, "values chosen by the size of the data")


def _power_of_two(value: float, least: int, most: int) -> int:
    """The nearest power of two within bounds that are powers of two themselves."""
    return int(min(max(2 ** round(math.log2(max(value, 1.0))), least), most))
