"""The settings of the propagator CFBI."""

from __future__ import annotations

from typing import Any

from rvos_ensemble.adapters.core.settings import table, whole
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, WEIGHTS
from rvos_ensemble.propagators.inference.aot.settings import TTA

DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code, of CFBI+ or CFBI with ResNet-101
    # the longer side of the input, pixels; None: the official value, 1040, or 800 with several scales
    "max_long_edge": whole(None, least=32, most=1 << 14),
    # every n-th row and column of a reference frame is compared at stride 4; None: the official value, 2 for CFBI+ and
    # 1 for CFBI
    "matching_stride": whole(None, least=1, most=16),
    # an object (or a background) of at most this many pixels times matching_stride^2 is compared with all its pixels;
    # the official code has 100 for DAVIS and 0 for YouTube-VOS
    "min_matching_pixels": whole(0),
    # sequences per forward pass of the network; more of them take several passes; None: 8 on CUDA, 1 on a CPU
    "batch": whole(None, least=1),
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only); distances are always fp32
    # {flip: true, scales: [1.0, 1.15, 1.3, 1.5]}: test-time augmentation; the mean of all results is what each one
    # remembers
    "tta": table(None, below=TTA, what="{flip: true or false, scales: [...]}"),
}
