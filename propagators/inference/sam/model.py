"""A SAM network with the settings of its propagator, loaded once for all sweeps."""

from __future__ import annotations

from typing import Any

from torch import nn

from rvos_ensemble.propagators.core.memory_rules.admission import DistractorRule
from rvos_ensemble.propagators.core.memory_rules.settings import admission_of, pathways_of
from rvos_ensemble.propagators.inference.network_model import NetworkModel
from rvos_ensemble.propagators.inference.sam.checkpoints.loading import load_sam
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryBank
from rvos_ensemble.propagators.inference.sam.memory.rule_banks import DistractorBank, RankedBank
from rvos_ensemble.propagators.inference.sam.network import SamNetwork


class SamModel(NetworkModel):
    """A loaded network and its settings. It is pickled as its settings.

    Args:
        settings: values for `settings.DEFAULTS`.
        kind: "sam2", "edgetam" or "sam3".
        network: the network of transformers if it is already in memory; None loads the weights.

    Raises:
        InputError: the weights are missing, damaged or of another network.
    """

    def __init__(self, settings: dict[str, Any], kind: str, network: nn.Module | None = None):
        super().__init__(settings, SamNetwork(network or load_sam(settings["weights"], kind), kind), batch=(16, 4))
        self.kind = kind
        self.admission = admission_of(settings["admission"])
        self.pathways = pathways_of(settings["pathways"])
        self.official_prompts = (settings["prompts"] or ("official" if kind == "sam2" else "")) == "official"

    def __reduce__(self):
        return SamModel, (self.settings, self.kind)

    @property
    def networks(self) -> list[nn.Module]:
        """See `NetworkModel.networks`."""
        return [self.network.model]

    def bank(self) -> MemoryBank:
        """An empty memory for one sequence."""
        config, limit = self.network.config, self.settings["max_cond_frames"]
        if limit is None:
            limit = max(config.max_cond_frame_num, 0)
        limits = config.num_maskmem, config.max_object_pointers_in_encoder, limit or None
        if self.admission:
            return DistractorBank(*limits, DistractorRule(self.admission))
        return (RankedBank if self.pathways else MemoryBank)(*limits)

    def bytes_per_sequence(self, key_frames: int = 1) -> int:
        """The memory that a sequence takes in one direction, at most, whatever the length of the clip, in bytes.

        Args:
            key_frames: number of key frames of the sequence that the pass has reached.
        """
        config, network, limit = self.network.config, self.network, self.bank().max_conditioning
        spatial = len(network.constants.memory_position) * config.memory_encoder_output_channels
        spatial *= 4 if self.kind == "edgetam" else 2  # bytes of float32 and bfloat16
        recent, pointers = config.num_maskmem - 1, config.max_object_pointers_in_encoder - 1
        if self.admission:
            recent = self.admission["recent"] + self.admission["anchors"]
            pointers += recent  # those of old frames with a spatial memory
        if self.pathways:  # which share frames as long as they agree
            recent, pointers = (n * self.pathways["count"] for n in (recent, recent + pointers))
        frames, pointers = recent + min(key_frames, limit or key_frames), pointers + key_frames
        return frames * spatial + pointers * network.model.hidden_dim * 4
