"""Fusion of masks as pure functions: plain arrays in, plain arrays out.

Every function takes one array per model (and expression), all of one shape: a frame [H, W] or a sequence [T, H, W].
"""

from rvos_ensemble.ensemble.fusion.averages import gated_average, iou, mean_inside, prefers_union, soft_average
from rvos_ensemble.ensemble.fusion.votes import MOST_VOTES, check_weights, vote, vote_map, votes_needed

__all__ = [
    "MOST_VOTES",
    "check_weights",
    "gated_average",
    "iou",
    "mean_inside",
    "prefers_union",
    "soft_average",
    "vote",
    "vote_map",
    "votes_needed",
]
