"""A whole clip through a network, all its objects in one identity bank: how a training looks at what it has learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rvos_ensemble.propagators.inference.object_banks import nearest, probabilities
from rvos_ensemble.propagators.inference.tracker import Tracker
from rvos_ensemble.propagators.inference.tta import View, input_size
from rvos_ensemble.propagators.networks.network import VOSNetwork


@torch.no_grad()
def labels_of_clip(network: VOSNetwork, images: np.ndarray, first: np.ndarray, objects: Sequence[int]) -> np.ndarray:
    """Labels of every frame.

    Args:
        network: in evaluation mode.
        images: uint8 [T, H, W, 3].
        first: labels of the first frame, [H, W].
        objects: the labels that are objects, 10 at most; others are background.

    Returns:
        uint8 [T, H, W].
    """
    variant, size = network.variant, images.shape[1:3]
    device = next(network.parameters()).device
    view = View(input_size(size, variant.max_long_edge, 1.0, variant.align_corners))
    table = np.zeros(256, np.int64)
    table[list(objects)] = np.arange(1, len(objects) + 1)
    names = np.array([0, *objects], np.uint8)
    tracker = Tracker(network, variant.memory_gap)
    found = [names[table[first]]]
    labels = torch.from_numpy(table[first])[None].to(device)
    tracker.reference(network.encode(view.image(images[0]).to(device)), nearest(labels, view.size), [0], [len(objects)])
    for image in images[1:]:
        logits = tracker.step(network.encode(view.image(image).to(device)))
        labels = probabilities(logits, size, variant.align_corners).argmax(1)
        tracker.update(nearest(labels, view.size))
        found.append(names[labels[0].cpu().numpy()])
    return np.stack(found)
