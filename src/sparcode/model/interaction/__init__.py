"""Interaction scorers E(token, item)."""

from sparcode.model.interaction.attention import AttentionScorer
from sparcode.model.interaction.base import InteractionScorer
from sparcode.model.interaction.dot import DotScorer
from sparcode.model.interaction.gated import GatedScorer
from sparcode.model.interaction.low_rank import LowRankScorer
from sparcode.model.interaction.mlp import MLPScorer

__all__ = ["AttentionScorer", "DotScorer", "GatedScorer", "InteractionScorer", "LowRankScorer", "MLPScorer"]
