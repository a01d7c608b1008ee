"""Builds a network from its configuration section and the features of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparcode.config.schema import EncoderConfig, ModelConfig
from sparcode.model.all_to_all import AllToAll, ScoreBias
from sparcode.model.encoders import (
    DNNEncoder,
    GRU4RecEncoder,
    HistoryEncoder,
    QueryEncoder,
    SASRecEncoder,
)
from sparcode.model.features import FeatureStore
from sparcode.model.interaction import AttentionScorer, GatedScorer, InteractionScorer, MLPScorer
from sparcode.model.item_tower import ItemTower
from sparcode.model.matching import MatchingNetwork
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions
from sparcode.model.sparcode import SparCode
from sparcode.model.tokenizer import Tokenizer
from sparcode.model.two_tower import TwoTower
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


def build_network(config: ModelConfig, shape: DataShape) -> MatchingNetwork:
    """Return the untrained network that ``config.name`` asks for."""
    width = config.embedding_size
    history = _history_encoder(config.encoder, width, shape.history_length)
    encoder = QueryEncoder(history, width, config.encoder.hidden_size, shape.user_features)
    tower = ItemTower(shape.num_items, width, shape.item_features, shape.use_item_ids)
    store = FeatureStore(shape.item_features, shape.item_arrays)
    if config.name == "two_tower":
        return TwoTower(encoder, tower, store)
    tokenizer = Tokenizer(width, config.num_query_tokens, config.token_size)
    scorer = _scorer(config, tower.num_item_tokens)
    bias = ScoreBias(config.score_bias, config.relu_leak)
    if config.name == "all_to_all":
        return AllToAll(encoder, tower, store, tokenizer, scorer, bias)
    q = config.quantizer
    quantizer = ProductQuantizer(
        QuantizerOptions(
            q.num_codebooks, q.codebook_size, config.token_size, q.decay, q.epsilon, q.restart_threshold
        )
    )
    return SparCode(encoder, tower, store, tokenizer, scorer, bias, quantizer)


def _history_encoder(config: EncoderConfig, width: int, length: int) -> HistoryEncoder:
    if config.name == "dnn":
        return DNNEncoder(width, length, config.hidden_size, config.num_layers)
    if config.name == "gru4rec":
        return GRU4RecEncoder(width, config.num_layers, config.dropout)
    return SASRecEncoder(
        width, length, config.num_layers, config.num_heads, config.hidden_size, config.dropout
    )


def _scorer(config: ModelConfig, num_item_tokens: int) -> InteractionScorer:
    scorer, width = config.scorer, config.embedding_size
    item_size = num_item_tokens * width
    if scorer.name == "mlp":
        return MLPScorer(config.token_size, item_size, scorer.hidden_size, scorer.num_layers)
    if scorer.name == "gated":
        return GatedScorer(config.token_size, item_size, width, scorer.hidden_size, scorer.num_layers)
    return AttentionScorer(config.token_size, width, num_item_tokens, scorer.hidden_size, scorer.num_heads)
