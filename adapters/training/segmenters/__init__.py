"""Training of ReferFormer, MUTR and SOC: several frames of a clip and several of its expressions at once.

As published: queries are matched to the one object of an expression over the whole clip, and class, box and mask losses
apply to every decoder layer. Single frames come first, then clips (`frames`), as for the published weights: RefCOCO,
then Ref-YouTube-VOS. Everything that does not depend on the text is computed once for all expressions of a clip.

Different from the published training: masks are matched at half their resolution, and only matched masks are drawn at
full resolution; there is no dropout, and frames are not flipped, cropped or recoloured; learning rate and weight decay
are our own; the contrastive loss of SOC is left out; small variants train their text encoder, because no pre-trained
one exists; mask losses are a mean over the clip, where the official code divides by the number of frames; and the
setting `named` adds a loss by which feature maps mark the pixels that the words name.

Source: Wu et al. (ReferFormer), CVPR 2022; Yan et al. (MUTR), AAAI 2024; Luo et al. (SOC), NeurIPS 2023.
"""

from rvos_ensemble.adapters.training.segmenters.task import DEFAULTS, SegmenterTask, make_task

__all__ = ["DEFAULTS", "SegmenterTask", "make_task"]
