"""The settings of the training loop, and those that several training tasks share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rvos_ensemble.adapters.core.settings import choice, listed, number, text, whole
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS
from rvos_ensemble.adapters.inference.options import DEVICE
from rvos_ensemble.adapters.inference.precision import VALUES

DEFAULTS: dict[str, Any] = {
    "steps": whole(10000, least=1),  # optimizer steps
    "batch": whole(4, least=1),  # samples per batch and process
    "accumulate": whole(1, least=1),  # batches whose gradients are accumulated for one optimizer step
    "optimizer": choice("adamw", "adam"),
    "lr": number(2e-4, above=0, most=1e3),  # peak learning rate
    "final_lr": number(0.05, least=0, most=1),  # final learning rate as a share of the peak
    "warmup": number(0.05, least=0, most=1),  # share of the steps over which the learning rate rises to its peak
    "power": number(0.9, least=0, most=100),  # exponent of the polynomial decay; 0 keeps the learning rate constant
    # step decay in place of the polynomial: the shares of the steps at which the rate is multiplied by `drop`
    "drops": listed(number(least=0, most=1), [], most=1000),
    "drop": number(0.1, least=0, most=1),
    "weight_decay": number(0.05, least=0, most=1e3),
    "clip": number(5.0, least=0),  # maximum norm of the gradient; 0 disables clipping
    # horizon of the averaged weights as a share of the steps; 0 keeps the last weights
    "ema": number(0.1, least=0, most=1),
    "precision": choice(*VALUES),  # bf16 and fp16 need CUDA
    "device": DEVICE,
    "seed": whole(0),
    "workers": whole(0, most=1024),  # processes that load samples; 0 loads them in the training process
    "validate_every": whole(1000, least=1),
    "save_every": whole(200, least=1),
    "log_every": whole(20, least=1),
}
# Settings that may change when a run is resumed.
RESUMABLE = ("workers", "validate_every", "validate_clips", "save_every", "log_every", "device")

# Settings that several tasks share.
DATA = text("shapes")  # "shapes", rendered on the fly, or a folder
LEVEL = choice(None, *LEVELS)  # difficulty of `shapes`; None uses all levels
FILE = text(None, what="a file, or the name of weights that come with the package")
FOLDER = text(None, what="a folder")
FRAMES = whole(least=1, most=10_000)  # frames per clip
CLIPS = whole(12, most=10_000)  # clips used for validation
SENTENCES = whole(least=1, most=1000)  # expressions per clip
SIZE = listed(whole(least=32, most=4096), least=2, most=2, what="[height, width] of 32 to 4096 pixels each")
SHARE = number(least=0, most=1)
RATE = number(None, least=0, most=1e3)  # learning rate of a part, relative to `lr`
WEIGHT = number(least=0, most=1e6)  # weight of a loss term
TEXT_LAYERS = whole(2, least=1, most=48)
# The number of attention heads must divide the width, see `adapters.networks.text`.
TEXT_WIDTH = choice(64, *(w for w in (*range(4, 257, 4), *range(320, 1025, 64)) if w != 64))
TEXT_WIDTH = replace(TEXT_WIDTH, expected="a multiple of 4 up to 256, or of 64 up to 1024")
