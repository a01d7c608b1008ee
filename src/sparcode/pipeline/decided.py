"""Composition of what the configuration leaves to the data: data set -> configuration without open keys."""

from __future__ import annotations

import logging

import numpy as np

from sparcode.config.by_size import DataSize, left_open, resolve
from sparcode.config.loader import flatten
from sparcode.config.schema import Config
from sparcode.data.batching import make_batches
from sparcode.data.dataset import Dataset
from sparcode.pipeline.model_inputs import batch_options

_LOG = logging.getLogger(__name__)


def decided(config: Config, dataset: Dataset) -> Config:
    """The configuration with crosses, batch, negatives, learning rate and codes as the data want them.

    What was decided is logged in one line. More codewords than training queries are worth a warning.

    Raises:
        ConfigError: a decided value contradicts a stated one.
    """
    size = data_size(config, dataset)
    found, keys = resolve(config, size), left_open(config)
    if keys:
        values = flatten(found.model_dump())
        _LOG.info("chosen by the size of the data: %s", ", ".join(f"{key} {values[key]}" for key in keys))
    quantizer = getattr(found.model, "quantizer", None)
    if quantizer is not None and quantizer.codebook_size > size.num_queries:
        _LOG.warning(
            "model.quantizer.codebook_size %d is more than the %d training queries can fill: set it to 0, "
            "which chooses it by their number",
            quantizer.codebook_size,
            size.num_queries,
        )
    return found


def data_size(config: Config, dataset: Dataset) -> DataSize:
    """What the rules of ``sparcode.config.by_size`` know of a data set."""
    rows = make_batches(dataset, batch_options(config, rows=1)).steps_per_epoch
    ordered, has_histories = dataset.ordered, dataset.query_kind == "history"
    queries = int(np.maximum(dataset.train.counts() - 1, 0).sum()) if ordered and has_histories else rows
    return DataSize(ordered, has_histories, dataset.num_items, rows, queries)
