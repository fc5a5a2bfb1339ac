"""ReferFormer: language as queries.

Source: Wu et al., CVPR 2022; https://github.com/wjn922/ReferFormer (inference_ytvos.py, inference_davis.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.inference.network_adapter import DEFAULTS, LONG_SIDE, SHORT_SIDE, WINDOWED, NetworkAdapter


class ReferFormerAdapter(NetworkAdapter):
    """ReferFormer, all backbones: needs `weights`, a checkpoint of the official code or ours, referformer_nano."""

    defaults: ClassVar[dict[str, Any]] = {**DEFAULTS, **WINDOWED, "short_side": SHORT_SIDE, "long_side": LONG_SIDE}
    score = "sigmoid of the class logit of the selected query"
