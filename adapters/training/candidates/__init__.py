"""Training of the candidate network, which finds the objects of a frame, whatever their class.

Samples are frames of video as they are, and collages: objects cut out of pictures and of video, pasted with random
scale, rotation, light and occlusion over other frames. The cells at the centre of an object learn that they are, the
mask of the object, and the IoU of their own mask with it.

Source: Wang et al., "SOLOv2", NeurIPS 2020, Sec. 3; Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation
Method for Instance Segmentation", CVPR 2021. Differences: one level of cells instead of five, one class, and
cross-entropy beside Dice.
"""

from rvos_ensemble.adapters.training.candidates.task import DEFAULTS, CandidateTask, make_task

__all__ = ["DEFAULTS", "CandidateTask", "make_task"]
