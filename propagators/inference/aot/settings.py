"""The settings of the propagators AOT and DeAOT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import listed, number, switch, table, text, whole
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, WEIGHTS
from rvos_ensemble.propagators.core.memory_rules.settings import SCENE_CUT
from rvos_ensemble.propagators.networks.variants import find_variant

TTA: dict[str, Any] = {
    "flip": switch(False),
    "scales": listed(number(least=0.1, most=4), [1.0], least=1, most=16, what="numbers from 0.1 to 4"),
}
DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code, or the name of weights that come with the package
    # such as r50_deaotl; None takes the variant of the checkpoint: see `VOSFamily.variant` on AOT-B and AOT-L
    "variant": text(None),
    # the longer side of the input, pixels; None: the value that the variant was tested with, 1040 for official ones
    "max_long_edge": whole(None, least=32, most=1 << 14),
    # frames between two long-term memories; 0: key frames only; None: the value that the variant was tested with
    "memory_gap": whole(None),
    "max_memory_frames": whole(24, least=1),  # limit of the long-term memory; at gap 5 a clip of 120 frames needs 24
    # 0.35: where the colours of neighbouring frames differ more (SeC), the next frame reads key frames only
    "scene_cut": SCENE_CUT,
    # sequences per forward pass of the network; more of them take several passes; None: 16 on CUDA, 4 on a CPU
    "batch": whole(None, least=1),
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, bf16 or fp16 (CUDA only): of weights and activations, see docs/models.md
    "compile": switch(False),  # torch.compile of encoder and decoder: minutes at the first frame of a size, then faster
    # False: the backward pass reads the memory of the forward pass (LSVOS 2023 code)
    "reset_between_passes": switch(True),
    # {flip: true, scales: [0.8, 1.0, 1.2]}: test-time augmentation; the mean of all results is what each one remembers
    # (LSVOS 2023)
    "tta": table(None, below=TTA, what="{flip: true or false, scales: [...]}"),
    # up to 10 sequences of a step that have one key frame and no common pixel share an identity bank: fast, but they
    # compete for pixels
    "pack": switch(False),
}


def relations(settings: dict[str, Any], family: str) -> Iterator[str]:
    """Problems of settings that contradict each other, of `tta` and `variant`, and of this machine.

    Args:
        settings: those whose values are valid by themselves.
        family: "aot" or "deaot".
    """
    from rvos_ensemble.adapters.inference import device  # imported here, because it imports torch

    yield from device.problems(settings, family)
    if settings.get("pack") and not settings.get("reset_between_passes", True):
        yield f"{family}: `pack` and `reset_between_passes: false` do not go together"
    if settings.get("tta"):
        try:
            merge_settings(TTA, dict(settings["tta"]), f"{family}: tta")
        except InputError as error:
            yield from error.problems
    if settings.get("variant"):
        try:
            find_variant(settings["variant"], family)
        except InputError as error:
            yield from error.problems
