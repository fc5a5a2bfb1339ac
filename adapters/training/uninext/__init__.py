"""Training of UNINEXT on expressions: frames of clips, processed independently, as in inference.

As published: two stages, of which the first scores every cell of the image; SimOTA matches queries; and every decoder
layer has class, box, IoU and mask losses. Left out: the denoising queries, because SimOTA already gives the decoder
several positive queries per object, and the embeddings for tracking, which expressions do not need. Different from the
published training, because no pre-trained weights of this size exist: the first stage also matches several cells by
SimOTA, where the official code matches one by the Hungarian method; and the text encoder is trained.

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval", CVPR 2023.
"""

from rvos_ensemble.adapters.training.uninext.task import DEFAULTS, UninextTask, make_task

__all__ = ["DEFAULTS", "UninextTask", "make_task"]
