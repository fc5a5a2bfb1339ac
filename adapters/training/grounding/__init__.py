"""Training of the grounding network, which selects the tracklet that an expression refers to.

Training tracklets are simulated: true objects with the errors of real tracklets (inaccurate outlines, frames in which
the object is lost), and distractors that no expression refers to: background regions, and two objects merged into one.

Source: Liang et al., arXiv 2106.01061, 2.3: Adam, learning rate 4e-5, then 1e-5, weight decay 1e-4. The paper does not
state the number of steps.
"""

from rvos_ensemble.adapters.training.grounding.task import DEFAULTS, GroundingTask, make_task

__all__ = ["DEFAULTS", "GroundingTask", "make_task"]
