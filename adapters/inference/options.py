"""Settings that all networks have in common: device, precision, weights and tokenizer.

This file does not import torch; `device.py` checks what this machine supports.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rvos_ensemble.adapters.core.settings import Setting, choice, path
from rvos_ensemble.adapters.inference import precision

DEVICE = Setting(
    "auto",
    "auto, cpu, cuda or cuda:N",
    lambda v: isinstance(v, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", v) is not None,
    "text",
)
PRECISION = replace(choice(precision.AUTO, *precision.VALUES), resolve=precision.resolved)
WEIGHTS = path(what="a checkpoint of the official code, or the name of one of ours")
TOKENIZER = path(None, what="a folder with the tokenizer's files")
