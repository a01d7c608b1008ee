"""Crosses: every item of a history is a term of its own, with a posting list of weights for candidates."""

from sparcode.crosses.choice import ScoreBlock, WeightChoice, choose_weight
from sparcode.crosses.cross_table import CrossTable
from sparcode.crosses.following import FollowingOptions, following_weights
from sparcode.crosses.ridge import RidgeOptions, ridge_weights

__all__ = [
    "CrossTable",
    "FollowingOptions",
    "RidgeOptions",
    "ScoreBlock",
    "WeightChoice",
    "choose_weight",
    "following_weights",
    "ridge_weights",
]
