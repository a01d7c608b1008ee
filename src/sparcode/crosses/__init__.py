"""Crosses: every item of a history is a term of its own, with a posting list of weights for candidates."""

from sparcode.crosses.choice import ScoreBlock, WeightChoice, choose_weight
from sparcode.crosses.fitting import FollowingOptions, following_weights, ridge_weights
from sparcode.crosses.table import CrossTable

__all__ = [
    "CrossTable",
    "FollowingOptions",
    "ScoreBlock",
    "WeightChoice",
    "choose_weight",
    "following_weights",
    "ridge_weights",
]
