"""Interaction scorers, one a file: see ``sparcode.model.registry``."""

from sparcode.model.interaction.base import InteractionScorer

__all__ = ["InteractionScorer"]
