"""Fusion of masks as pure functions: arrays in, arrays out.

Every function takes one array per model (and expression), all of the same shape: a frame [H, W] or a sequence
[T, H, W]. Masks are bool; probabilities are uint8, where 0..255 means 0..1. Anything ambiguous raises a ValueError.
"""

from rvos_ensemble.ensemble.fusion.averages import gated_average, mean_inside, prefers_union, soft_average
from rvos_ensemble.ensemble.fusion.presence import largest_presence, mean_presence
from rvos_ensemble.ensemble.fusion.votes import MOST_VOTES, vote, vote_map, votes_needed, whole_votes

__all__ = [
    "MOST_VOTES",
    "gated_average",
    "largest_presence",
    "mean_inside",
    "mean_presence",
    "prefers_union",
    "soft_average",
    "vote",
    "vote_map",
    "votes_needed",
    "whole_votes",
]
