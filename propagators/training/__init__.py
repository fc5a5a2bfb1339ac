"""Training of AOT and DeAOT by the published recipe.

There are two kinds of samples: clips made of a static image (the first stage of the official code) and clips of a video
(its second stage); a setting mixes them. In the first part of a run frames are remembered under their true masks, later
under the network's own. The default settings suit small networks that are trained from scratch; docs/training.md has
the published values.

Source: Yang et al. (AOT), NeurIPS 2021; Yang and Yang (DeAOT), NeurIPS 2022.
"""

from rvos_ensemble.propagators.training.task import DEFAULTS, PropagatorTask, make_task

__all__ = ["DEFAULTS", "PropagatorTask", "make_task"]
