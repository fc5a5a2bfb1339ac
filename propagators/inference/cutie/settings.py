"""The settings of the propagator Cutie; the defaults are those of the official evaluation (eval_config.yaml)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import switch, table, whole
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, WEIGHTS
from rvos_ensemble.propagators.core.memory_rules.settings import SCENE_CUT

LONG_TERM: dict[str, Any] = {
    "use": switch(False),  # True: the official choice for long videos
    "max_memory_frames": whole(10, least=2),  # the working memory is consolidated when it holds so many frames,
    "min_memory_frames": whole(5, least=1),  # the first one included; so many of them stay
    "num_prototypes": whole(128, least=1),  # tokens of the long-term memory that a consolidation makes
    "max_num_tokens": whole(10_000, least=2),  # limit of the long-term memory; beyond it, rarely used tokens go
    "buffer_tokens": whole(2000),  # so many more go, so that there is room for the next consolidations
}
DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code
    # frames whose shorter side is longer are shrunk to it, pixels; null: none are
    "max_short_edge": whole(480, least=16, most=1 << 14, null=True),
    "memory_gap": whole(5),  # frames between two memories; 0: key frames only
    "max_memory_frames": whole(5, least=1),  # limit of the working memory, the first key frame included
    "top_k": whole(30, least=1),  # memory tokens that a pixel reads
    "stagger_updates": whole(5, least=1),  # updates of the sensory memory between two memories, evenly spaced
    "long_term": table({}, below=LONG_TERM, what="{use: true or false, ...}"),
    # 0.35: where the colours of neighbouring frames differ more (SeC), the next frame reads key frames only
    "scene_cut": SCENE_CUT,
    # sequences per forward pass of the network; more of them take several passes; None: 16 on CUDA, 1 on a CPU
    "batch": whole(None, least=1),
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only); see docs/models.md on TF32
}


def long_term_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete settings `long_term`.

    Raises:
        InputError: an unknown key, a value that is not allowed, or values that contradict each other.
    """
    return merge_settings(LONG_TERM, dict(given), "cutie: long_term", _long_term_relations)


def _long_term_relations(s: Mapping[str, Any]) -> Iterator[str]:
    least, most = s.get("min_memory_frames"), s.get("max_memory_frames")
    if least and most and least >= most:
        yield f"cutie: long_term: `min_memory_frames` is {least}, expected less than `max_memory_frames`, {most}"
    limit, new, buffer = (s.get(key) for key in ("max_num_tokens", "num_prototypes", "buffer_tokens"))
    if limit and new and buffer is not None and limit <= new + buffer:
        yield (
            f"cutie: long_term: `max_num_tokens` is {limit}, expected more than `num_prototypes` and `buffer_tokens` "
            f"together, {new + buffer}"
        )


def relations(settings: Mapping[str, Any]) -> Iterator[str]:
    """Problems of `long_term`, and of this machine."""
    from rvos_ensemble.adapters.inference import device  # imported here, because it imports torch

    yield from device.problems(settings, "cutie")
    try:
        long_term_settings(settings.get("long_term") or {})
    except InputError as error:
        yield from error.problems
