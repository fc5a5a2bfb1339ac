"""The losses of UNINEXT over the first stage and all decoder layers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.networks.uninext.dino import DinoOutput
from rvos_ensemble.adapters.networks.uninext.layout import Layout
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext
from rvos_ensemble.adapters.training.uninext.simota import WEIGHTS, box_losses, mask_losses, match


def losses(network: Uninext, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weighted terms of `simota.WEIGHTS`, each summed over the proposals and all decoder layers.

    Args:
        network: the network.
        batch: see `batches.batch_of`.
    """
    frames, layout, size = network.prepare(batch["frames"])
    words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
    tokens = network.tokens(frames)[batch["picture"]]
    output = network.decode(tokens, layout, words.last_hidden_state, batch["padding"])
    target, visible = batch["boxes"], batch["visible"]
    terms = [_proposal_losses(network, output, layout, target, visible)]
    canvas = network.mask_features(output, layout)
    h, w = batch["masks"].shape[1:]
    for layer, queries in enumerate(output.layers):
        logits, overlap = network.rate(output, layer)
        matched = match(logits, queries.boxes, target, visible)
        row, query = matched.nonzero(as_tuple=True)
        state, centres = queries.state[row, query][:, None], queries.centres[row, query][:, None]
        masks = network.mask_logits(canvas[row], state, centres, size)[:, 0, :h, :w]
        terms.append(box_losses(logits, queries.boxes, target, matched, overlap))
        terms.append(mask_losses(masks, batch["masks"][row]))
    return {name: sum(t[name] for t in terms if name in t) for name in WEIGHTS}


def _proposal_losses(
    network: Uninext, output: DinoOutput, layout: Layout, target: Tensor, visible: Tensor
) -> dict[str, Tensor]:
    """Losses of the first stage, in which every cell is a query."""
    valid = layout.box[:, 0].isfinite()
    boxes = (network.detr.detr.bbox_embed[-1](output.cells[:, valid]) + layout.box[valid]).sigmoid()
    logits = output.ratings[:, valid]
    return box_losses(logits, boxes, target, match(logits, boxes, target, visible))
