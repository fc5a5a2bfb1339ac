"""SOC: semantic-assisted object cluster.

Source: Luo et al., NeurIPS 2023; https://github.com/RobertLuo1/NeurIPS2023_SOC (infer_refytb.py, infer_davis.py).
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


class SOCAdapter(NetworkAdapter):
    """SOC, Video-Swin-T and -B: needs `weights`, a checkpoint of the official code or ours, soc_nano."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        **WINDOWED,
        "short_side": SHORT_SIDE,
        "long_side": LONG_SIDE.at(640),
        "layer": LAYER,  # official: masks of the first decoder layer, as released; last: as in training, also ours
    }
    score = "sigmoid of the class logit of the selected query"
