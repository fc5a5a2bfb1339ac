"""Propagates the masks of a whole clip for validation, with all objects in one identity bank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rvos_ensemble.propagators.inference.aot.object_banks import nearest, probabilities
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, input_size
from rvos_ensemble.propagators.networks.network import VOSNetwork


@torch.no_grad()
def labels_of_clip(network: VOSNetwork, images: np.ndarray, first: np.ndarray, objects: Sequence[int]) -> np.ndarray:
    """Propagates the labels of the first frame to all frames.

    Args:
        network: in evaluation mode.
        images: uint8 [T, H, W, 3].
        first: labels of the first frame, [H, W].
        objects: the labels that are objects, at most 10; all others become background.

    Returns:
        uint8 [T, H, W].
    """
    variant, size = network.variant, images.shape[1:3]
    device = next(network.parameters()).device
    augmentation = Augmentation(input_size(size, variant.max_long_edge, 1.0, variant.align_corners))
    table = np.zeros(256, np.int64)
    table[list(objects)] = np.arange(1, len(objects) + 1)
    names = np.array([0, *objects], np.uint8)
    tracker = Tracker(network, variant.memory_gap)
    result = [names[table[first]]]
    labels = torch.from_numpy(table[first])[None].to(device)
    tracker.reference(
        network.encode(augmentation.apply(images[0]).to(device)),
        nearest(labels, augmentation.size),
        [0],
        [len(objects)],
    )
    for image in images[1:]:
        logits = tracker.step(network.encode(augmentation.apply(image).to(device)))
        labels = probabilities(logits, size, variant.align_corners).argmax(1)
        tracker.update(nearest(labels, augmentation.size))
        result.append(names[labels[0].cpu().numpy()])
    return np.stack(result)
