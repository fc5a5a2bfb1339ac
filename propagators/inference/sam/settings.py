"""The settings of the propagators sam2, edgetam and sam3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rvos_ensemble.adapters.core.settings import choice, path, whole
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION
from rvos_ensemble.propagators.core.memory_rules import settings as memory_rules
from rvos_ensemble.propagators.core.memory_rules.settings import ADMISSION, PATHWAY, SCENE_CUT

DEFAULTS: dict[str, Any] = {
    # a folder in the Hugging Face layout (config.json, model.safetensors), or a file of the official code
    "weights": path(what="a folder in the Hugging Face layout or a checkpoint of the official code"),
    # sequences per forward pass of the network; more of them take several passes; None: 16 on CUDA, 4 on a CPU
    "batch": whole(None, least=1),
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
    # how the mask of a key frame enters the memory; None: as in the official code for SAM 2, and for EdgeTAM and SAM 3,
    # whose official code was not compared, as in transformers 5.24, see `mask_decoder.prompted`
    "prompts": choice(None, "official", "transformers"),
    # limit of the key frames whose spatial memory is read, the nearest ones; 0: all; None: the value of the network,
    # all for SAM 2 and EdgeTAM, 4 for SAM 3
    "max_cond_frames": whole(None, least=0),
    # 0.35: where the colours of neighbouring frames differ more (SeC), the next frame reads key frames only
    "scene_cut": SCENE_CUT,
    # distractors: frames on which another object could be taken for this one are remembered for long (DAM4SAM)
    "admission": ADMISSION,
    # 3: so many hypotheses of each sequence, of which the best one wins in the end (SAM2Long); 3 x slower
    "pathways": PATHWAY,
}


def relations(settings: dict[str, Any], name: str) -> Iterator[str]:
    """Problems of the memory rules, and of `device` and `precision` on this machine.

    Args:
        settings: those whose values are valid by themselves.
        name: the propagator.
    """
    from rvos_ensemble.adapters.inference import device  # imported here, because it imports torch

    yield from device.problems(settings, name)
    yield from memory_rules.relations(settings, name)
