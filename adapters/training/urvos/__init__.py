"""Training of URVOS: single frames first, then frames with a memory of other frames.

In the first part of the steps every frame is segmented on its own (the authors pre-train on images); in the rest each
frame is segmented twice, on its own and with a memory of some of the other frames, under their true masks or under the
masks of the first pass. The paper's loss is the cross-entropy; Dice is added because the objects of `shapes` are small.

Source: Seo et al., "URVOS", ECCV 2020, Sec. 4 and 5.
"""

from rvos_ensemble.adapters.training.urvos.task import DEFAULTS, URVOSTask, make_task

__all__ = ["DEFAULTS", "URVOSTask", "make_task"]
