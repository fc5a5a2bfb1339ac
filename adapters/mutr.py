"""MUTR: multi-modal temporal transformer.

Source: Yan et al., "Referred by Multi-Modality", AAAI 2024; https://github.com/OpenGVLab/MUTR (inference_ytvos.py,
inference_davis.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.inference.network_adapter import (
    DEFAULTS,
    LAYER,
    LONG_SIDE,
    SHORT_SIDE,
    WINDOWED,
    NetworkAdapter,
)


class MUTRAdapter(NetworkAdapter):
    """MUTR, all backbones: needs `weights`, an official checkpoint or mutr_nano. No score per frame."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        **WINDOWED,
        "short_side": SHORT_SIDE,
        "long_side": LONG_SIDE,
        "layer": LAYER,  # official: heads of the first decoder layer, as released; last: as in training, also ours
    }
    short_side = 432
    davis_window = 64
    without = "none: MUTR's class logit is that of the video, the same in every frame"
