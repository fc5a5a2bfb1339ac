"""MUTR: multi-modal temporal transformer.

Source: Yan et al., "Referred by Multi-Modality", AAAI 2024; https://github.com/OpenGVLab/MUTR (inference_ytvos.py,
inference_davis.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from adapters.networks.runner import DEFAULTS, WINDOWED, NetworkAdapter


class MUTR(NetworkAdapter):
    """MUTR, all backbones: needs `weights`, a checkpoint of the official code. It has no score per frame."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        **WINDOWED,
        "short_side": 432,
        "long_side": None,
        "layer": "official",  # official: heads of the first decoder layer, as published results; last: as trained
    }
    davis_window = 64
    without = "none: MUTR's class logit is that of the video, the same in every frame"
