"""Interaction scorers, one a file: see ``sparcode.model.building``."""

from sparcode.model.interaction.base import InteractionScorer

__all__ = ["InteractionScorer"]
