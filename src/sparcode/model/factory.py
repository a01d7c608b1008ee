"""Builds a network from its configuration section and the features of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparcode.config.schema import EncoderConfig, ModelConfig
from sparcode.model.all_to_all import AllToAll, ReluScore, SignedScore, Tokens
from sparcode.model.encoders import (
    AttentionJoin,
    DNNEncoder,
    GRU4RecEncoder,
    HistoryEncoder,
    MLPJoin,
    QueryEncoder,
    SASRecEncoder,
)
from sparcode.model.features import FeatureStore
from sparcode.model.interaction import (
    AttentionScorer,
    DotScorer,
    GatedScorer,
    InteractionScorer,
    LowRankScorer,
    MLPScorer,
)
from sparcode.model.item_tower import ItemTower
from sparcode.model.matching import MatchingNetwork
from sparcode.model.max_sim import MaxSim
from sparcode.model.mixture_of_logits import MixtureOfLogits, MixtureSizes
from sparcode.model.quantizer import ProductQuantizer, QuantizerOptions
from sparcode.model.sparcode import SparCode
from sparcode.model.tokenizer import Tokenizer, TokenLift
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
    join = _join(config.encoder, width, len(shape.user_features)) if shape.user_features else None
    encoder = QueryEncoder(history, width, join, shape.user_features)
    tower = ItemTower(
        shape.num_items,
        width,
        shape.item_features,
        shape.use_item_ids,
        config.item_length,
        config.item_std,
    )
    store = FeatureStore(shape.item_features, shape.item_arrays)
    if config.name == "two_tower":
        return TwoTower(encoder, tower, store)
    if config.name == "max_sim":
        return MaxSim(encoder, tower, store, config.num_query_tokens)
    if config.name == "mol":
        return MixtureOfLogits(encoder, tower, store, _mixture_sizes(config))
    shared = config.quantizer.shared
    sizes = (width, config.num_query_tokens, config.token_size, shared)
    tokens = Tokens(Tokenizer(*sizes), TokenLift(*sizes))
    scorer = _scorer(config, tower.num_item_tokens)
    score = SignedScore() if config.signed_scores else ReluScore(config.score_bias, config.relu_leak)
    if config.name == "all_to_all":
        return AllToAll(encoder, tower, store, tokens, scorer, score)
    return SparCode(encoder, tower, store, tokens, scorer, score, _quantizer(config))


def _mixture_sizes(config: ModelConfig) -> MixtureSizes:
    mixture = config.mixture
    return MixtureSizes(
        query_components=config.num_query_tokens,
        item_components=mixture.item_components,
        component_size=mixture.component_size,
        gate_size=mixture.gate_size,
        temperature=mixture.temperature,
    )


def _quantizer(config: ModelConfig) -> ProductQuantizer:
    q, tokens = config.quantizer, config.num_query_tokens
    options = QuantizerOptions(
        num_codebooks=q.num_codebooks,
        codebook_size=q.codebook_size,
        token_size=config.token_size,
        num_tokens=tokens,
        num_slots=1 if q.shared else tokens,
        decay=q.decay,
        epsilon=q.epsilon,
        restart_threshold=q.restart_threshold,
    )
    return ProductQuantizer(options)


def _join(config: EncoderConfig, width: int, num_features: int) -> MLPJoin | AttentionJoin:
    if config.join == "attention":
        return AttentionJoin(width, config.num_heads, config.hidden_size)
    return MLPJoin(width, num_features, config.hidden_size)


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
    if scorer.name == "dot":
        return DotScorer(width)
    if scorer.name == "low_rank":
        return LowRankScorer(width, num_item_tokens, scorer.hidden_size)
    if scorer.name == "mlp":
        return MLPScorer(width, num_item_tokens * width, scorer.hidden_size, scorer.num_layers)
    if scorer.name == "gated":
        return GatedScorer(width, num_item_tokens, scorer.hidden_size, scorer.num_layers)
    return AttentionScorer(width, width, num_item_tokens, scorer.hidden_size, scorer.num_heads)
