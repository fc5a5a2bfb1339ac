"""UNINEXT: every frame asked on its own, the best of 900 queries.

Source: Yan et al., CVPR 2023; https://github.com/MasterBin-IIAU/UNINEXT (UNINEXT_VID.inference_rvos).
"""

from __future__ import annotations

from typing import Any, ClassVar

from adapters.networks.runner import DEFAULTS, NetworkAdapter


class UNINEXT(NetworkAdapter):
    """UNINEXT, R50, ConvNeXt-L, ViT-H: needs `weights`, a checkpoint of the official code (video_joint_*)."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        "frames_per_step": 1,
        "short_side": "auto",
        "long_side": 1333,
        "upsample": "x4_nearest",  # the official way: four times bilinear, then nearest; x4_bilinear: both bilinear
    }
    resize = "detectron2"
    short_side, small_side = 480, 158
    davis_window = None
    score = "sqrt(class x IoU) of the best query of the frame, which may be another one in the next frame"
