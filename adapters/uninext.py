"""UNINEXT: every frame on its own, the best of 900 queries.

Source: Yan et al., CVPR 2023; https://github.com/MasterBin-IIAU/UNINEXT (UNINEXT_VID.inference_rvos).
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.core.settings import choice, whole
from rvos_ensemble.adapters.inference.network_adapter import DEFAULTS, LONG_SIDE, SHORT_SIDE, NetworkAdapter


class UNINEXTAdapter(NetworkAdapter):
    """UNINEXT, R50, ConvNeXt-L, ViT-H: needs `weights`, of the official code (video_joint_*) or ours, uninext_nano."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        "frames_per_step": whole("auto", least=1, words=("auto",)),
        "short_side": SHORT_SIDE,
        "long_side": LONG_SIDE.at(1333),
        # x4_nearest: by 4 bilinear, then nearest, as released; x4_bilinear: both bilinear, for our own weights
        "upsample": choice("auto", "x4_nearest", "x4_bilinear"),
    }
    resize = "detectron2"
    short_side, small_side = 480, 158
    at_once = (1, 12)
    davis_window = None
    score = "sqrt(class x IoU) of the best query of the frame, which may be another one in the next frame"
