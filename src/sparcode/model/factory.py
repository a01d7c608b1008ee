"""Builds a network from its configuration section and the features of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparcode.config.model_schema import EncoderOptions, ModelOptions
from sparcode.model.building import build
from sparcode.model.feature_embeddings import FeatureStore
from sparcode.model.item_tower import ItemTower, TowerOptions
from sparcode.model.matching import MatchingNetwork, Towers
from sparcode.model.query_encoder import AttentionJoin, MLPJoin, QueryEncoder
from sparcode.types import FeatureSpec


@dataclass(frozen=True)
class DataShape:
    """What a network needs to know of the data.

    Attributes:
        num_items: catalogue size I.
        history_length: L.
        item_features, user_features: feature descriptions, in input order.
        item_arrays: feature rows of items 0..I by feature name, row 0 = padding.
        use_item_ids: whether items have an id embedding.
    """

    num_items: int
    history_length: int
    item_features: tuple[FeatureSpec, ...]
    user_features: tuple[FeatureSpec, ...]
    item_arrays: Mapping[str, np.ndarray]
    use_item_ids: bool = True


def build_network(config: ModelOptions, shape: DataShape) -> MatchingNetwork:
    """Return the untrained network of ``config.name``."""
    width = config.embedding_size
    history = build(config.encoder, width, shape.history_length)
    join = _join(config.encoder, width, len(shape.user_features)) if shape.user_features else None
    tower = ItemTower(
        shape.num_items,
        width,
        shape.item_features,
        shape.use_item_ids,
        TowerOptions(config.item_layers, config.item_hidden_size, config.item_length, config.item_std),
    )
    encoder = QueryEncoder(history, width, join, shape.user_features)
    towers = Towers(encoder, tower, FeatureStore(shape.item_features, shape.item_arrays))
    network: MatchingNetwork = build(config, towers)
    return network


def _join(options: EncoderOptions, width: int, num_features: int) -> MLPJoin | AttentionJoin:
    if options.join == "attention":
        return AttentionJoin(width, options.num_heads, options.hidden_size)
    return MLPJoin(width, num_features, options.hidden_size)
