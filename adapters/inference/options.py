"""Settings that every network has in common: where it runs and how precisely, its weights and tokenizer.

Nothing here loads torch; `device.py` says what of it this machine can do.
"""

from __future__ import annotations

import re

from rvos_ensemble.adapters.core.settings import Setting, choice, path

DEVICE = Setting(
    "auto",
    "auto, cpu, cuda or cuda:N",
    lambda v: isinstance(v, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", v) is not None,
    "text",
)
PRECISION = choice("fp32", "bf16", "fp16")
WEIGHTS = path(what="a checkpoint of the official code, or the name of one of ours")
TOKENIZER = path(None, what="a folder with the tokenizer's files")
