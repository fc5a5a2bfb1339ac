"""SAM networks in memory as the propagators hold them, without a file of weights."""

from helpers.tiny_sam import tiny_config, tiny_sam

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.propagators.inference.sam.model import SamModel
from rvos_ensemble.propagators.inference.sam.settings import DEFAULTS


def sam_model(network, kind, **settings):
    """A `SamModel` on the CPU around a network of transformers, which it is compared with."""
    values = defaults_of(DEFAULTS) | {"weights": "", "device": "cpu", "prompts": "transformers"}
    return SamModel(values | settings, kind, network)


def quick_sam(kind, bias=None, **changes):
    """A tiny network with as few blocks in its image encoder as work, and with another bias of the object score.

    Args:
        kind: "sam2", "edgetam" or "sam3".
        bias: of the object score; None: so large that objects are always visible.
        changes: values of its config.
    """
    if kind == "sam2":
        changes.setdefault("vision_config", tiny_config("edgetam").vision_config)
    network = tiny_sam(kind, **changes)
    score = network.mask_decoder.pred_obj_score_head.proj_out.bias
    score.copy_(score + 4 if bias is None else score.new_tensor([bias]))
    return network
