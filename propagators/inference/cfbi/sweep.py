"""One pass of CFBI or CFBI+ through a clip: all sequences share features and distances of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.aot.object_banks import most_probable, nearest, probabilities
from rvos_ensemble.propagators.inference.aot.tta import Augmentation
from rvos_ensemble.propagators.inference.cfbi.model import CFBIModel
from rvos_ensemble.propagators.inference.host_copy import AsyncHostCopy, HostMask
from rvos_ensemble.propagators.networks.cfbi.matching import LocalMatcher
from rvos_ensemble.propagators.networks.cfbi.network import CFBIFeatures
from rvos_ensemble.propagators.networks.cfbi.references import References


class CFBISweep:
    """One pass with a clean memory.

    A sequence remembers its reference frames, which are matched as one set, and its mask of the previous frame, which
    is the mean of the results of all augmentations. A sequence whose reference masks so far were all empty has no
    object: its probability is 0.

    Args:
        model: the network, already on its device.
        size: (H, W) of the frames.
    """

    def __init__(self, model: CFBIModel, size: tuple[int, int]):
        self.model, self.size = model, size
        self.augmentations = model.augmentations(size)
        self.started: set[int] = set()  # sequences that have had a reference, perhaps an empty one
        self.references: dict[int, list[References]] = {}  # of each sequence with an object, one per augmentation
        self.masks: dict[int, Tensor] = {}  # bool [H, W] of the previous frame, of the same sequences
        self.previous: list[CFBIFeatures] = []  # of the previous frame, one per augmentation

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        self.started |= references.keys()
        running = [i for i in self.references if i not in references]
        results: dict[int, Any] = {i: np.zeros(self.size, np.uint8) for i in self.started - self.references.keys()}
        if self.references or any(mask.any() for mask in references.values()):
            with torch.no_grad():
                features = [self.model.features(frame, augmentation) for augmentation in self.augmentations]
                if running:
                    results |= self._propagate(features, running)
                self._add_references(features, references)
            self.previous = features
        return results | {i: np.where(mask, np.uint8(255), np.uint8(0)) for i, mask in references.items()}

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """Sequences continue from these masks; see `propagators.core.propagator.Propagator.corrects`."""
        for i in masks.keys() & self.masks.keys():
            self.masks[i] = self._on_device(masks[i] > 127)

    def _propagate(self, features: list[CFBIFeatures], running: list[int]) -> dict[int, Any]:
        """{sequence: HostMask} of the sequences that this frame is no reference of; a few of them at a time."""
        matchers = [self.model.network.matchers(*pair) for pair in zip(features, self.previous, strict=True)]
        results: dict[int, Any] = {}
        for start in range(0, len(running), self.model.batch):
            part = running[start : start + self.model.batch]
            masks = torch.stack([self.masks[i] for i in part])
            inputs = zip(self.augmentations, features, self.previous, matchers, strict=True)
            p = sum(self._probabilities(n, part, masks, *each) for n, each in enumerate(inputs))
            p = p / len(self.augmentations)  # [S, 2, H, W]
            self.masks |= dict(zip(part, most_probable(p) > 0, strict=True))
            batch = AsyncHostCopy(torch.ceil(p[:, 1:] * 255 - 0.5).to(torch.uint8))  # rounds as `masks.quantise` does
            results |= {i: HostMask(batch, row, 0) for row, i in enumerate(part)}
        return results

    def _probabilities(
        self,
        n: int,
        sequences: list[int],
        masks: Tensor,
        augmentation: Augmentation,
        features: CFBIFeatures,
        previous: CFBIFeatures,
        matchers: list[LocalMatcher],
    ) -> Tensor:
        """The result of one augmentation.

        Args:
            n: its number.
            sequences: S of them.
            masks: of the previous frame, bool [S, H, W].
            augmentation, features, previous, matchers: of it.

        Returns:
            Probabilities of background and object, [S, 2, H, W].
        """
        small = self._small(masks, augmentation, features)
        references = [self.references[i][n] for i in sequences]
        with self.model.autocast():
            logits = self.model.network.segment(features, previous, matchers, small, references)
        return augmentation.mirror(probabilities(logits, self.size, align_corners=True))

    def _add_references(self, features: list[CFBIFeatures], references: Mapping[int, np.ndarray]) -> None:
        """Adds the frame to the references of sequences; an empty mask starts no sequence."""
        for i, mask in references.items():
            if not mask.any() and i not in self.references:
                continue
            self.masks[i] = self._on_device(mask)
            memories = self.references.setdefault(i, [self.model.references() for _ in self.augmentations])
            for memory, augmentation, feature in zip(memories, self.augmentations, features, strict=True):
                small = self._small(self.masks[i][None], augmentation, feature)
                memory.add(feature.embeddings, [m[0] for m in small])

    def _small(self, masks: Tensor, augmentation: Augmentation, features: CFBIFeatures) -> list[Tensor]:
        """Masks bool [S, H, W] at the size of each level."""
        masks = augmentation.mirror(masks)
        return [nearest(masks, size) > 0 for size in features.sizes]

    def _on_device(self, mask: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(mask)).to(self.model.device)
