"""One pass of AOT or DeAOT through a clip: one network for all sequences, in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.propagators.core.memory_rules.scene_cut import CutDetector
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.aot.model import VOSModel
from rvos_ensemble.propagators.inference.aot.object_banks import most_probable, nearest, probabilities
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import augmentations
from rvos_ensemble.propagators.inference.host_copy import AsyncHostCopy, HostMask
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS, FrameFeatures


class NetworkSweep:
    """One pass with one tracker per test-time augmentation; all trackers remember the mean of their results.

    A sequence is one object of an identity bank. A bank contains one sequence, or several with the setting `pack`. A
    sequence whose reference masks so far were all empty has no object: its probability is 0.

    Args:
        model: the network, already on its device.
        size: (H, W) of the frames.
    """

    def __init__(self, model: VOSModel, size: tuple[int, int]):
        s = model.settings
        self.model, self.size = model, size
        long_edge = s["max_long_edge"] or model.variant.max_long_edge
        self.augmentations = augmentations(size, long_edge, model.tta, model.variant.align_corners)
        self.trackers = [
            Tracker(model.network, model.memory_gap, s["max_memory_frames"], model.batch) for _ in self.augmentations
        ]
        self.cuts = CutDetector(s["scene_cut"])
        self.members: list[list[int]] = []  # bank -> its sequences, object 1 first
        self.bank: dict[int, int] = {}  # sequence -> its bank
        self.seen: set[int] = set()  # sequences that have had a mask with a pixel
        self.latest: tuple[Tensor, list[int]] | None = None  # labels [B, H, W] of the banks that the step propagated

    def rest(self) -> None:
        """Stops propagating all sequences until they get another reference; their memory is kept."""
        self._remember()
        self.cuts.reset()
        for tracker in self.trackers:
            tracker.rest()

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        self._remember()
        if self.cuts.is_cut(frame):
            for tracker in self.trackers:
                tracker.forget_shot()
        features = [self.model.features(frame, augmentation) for augmentation in self.augmentations]
        self.seen |= {i for i, mask in references.items() if mask.any()}
        self._assign_banks(references)
        banks = {self.bank[i] for i in references}
        # a bank that gets masks for all its sequences need not be propagated to this frame
        complete = {b for b in banks if all(i in references for i in self.members[b])}
        with torch.no_grad():
            results, labels, order = self._propagate(features, complete)
            if banks:
                self._add_references(features, references, sorted(banks), dict(zip(order, labels, strict=True)))
            if order:
                self.latest = labels, order
        return results | {i: np.where(mask, np.uint8(255), np.uint8(0)) for i, mask in references.items()}

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """Sequences continue from these masks; see `propagators.core.propagator.Propagator.corrects`."""
        if self.latest is None:
            return
        labels, order = self.latest
        for row, bank in enumerate(order):
            known = {i: masks[i] > 127 for i in self.members[bank] if i in masks}
            labels[row] = self._reference_labels(bank, known, labels[row])

    def _remember(self) -> None:
        """Adds the frame of the last step to the memories."""
        if self.latest is None:
            return
        with torch.no_grad():
            for tracker, augmentation in zip(self.trackers, self.augmentations, strict=True):
                tracker.update(nearest(augmentation.mirror(self.latest[0]), augmentation.size))
        self.latest = None

    def _propagate(self, features: list[FrameFeatures], without: set[int]) -> tuple[dict[int, Any], Tensor, list[int]]:
        """Propagates all running banks except some.

        Args:
            features: of the frame, one per augmentation.
            without: the banks to leave out.

        Returns:
            ({sequence: HostMask}, labels [B, H, W], the B banks in the order of the labels).
        """
        order = [b for b in self.trackers[0].banks if b not in without]
        logits = [t.step(f, without) for t, f in zip(self.trackers, features, strict=True)]
        if not order:
            return {}, torch.empty(0), []
        results, labels = {}, []
        for start in range(0, len(order), self.model.batch):  # full-size maps of a few banks at a time
            part = slice(start, start + self.model.batch)
            p = self._mean_probabilities([x[part] for x in logits])
            labels.append(most_probable(p))
            batch = AsyncHostCopy(torch.ceil(p[:, 1:] * 255 - 0.5).to(torch.uint8))  # rounds as `masks.quantise` does
            for row, b in enumerate(order[part]):
                results |= {i: HostMask(batch, row, place) for place, i in enumerate(self.members[b])}
        return results, torch.cat(labels), order

    def _mean_probabilities(self, logits: list[Tensor]) -> Tensor:
        """Mean over the augmentations of the probabilities, [B, 1 + objects, H, W]."""
        corners = self.model.variant.align_corners
        all_probabilities = (
            augmentation.mirror(probabilities(x, self.size, corners))
            for augmentation, x in zip(self.augmentations, logits, strict=True)
        )
        return sum(all_probabilities) / len(self.augmentations)

    def _add_references(
        self,
        features: list[FrameFeatures],
        references: Mapping[int, np.ndarray],
        banks: list[int],
        propagated: Mapping[int, Tensor],
    ) -> None:
        """Adds the frame to the memories of banks as a reference.

        Args:
            features: of the frame, one per augmentation.
            references: {sequence: mask}. A sequence of a packed bank that has none keeps its propagated pixels.
            banks: those that contain the sequences.
            propagated: {bank: labels [H, W] of this frame}, for banks that already run.
        """
        labels = [self._reference_labels(b, references, propagated.get(b)) for b in banks]
        objects = [max((n for n, i in enumerate(self.members[b], 1) if i in self.seen), default=0) for b in banks]
        for tracker, augmentation, feature in zip(self.trackers, self.augmentations, features, strict=True):
            small = nearest(augmentation.mirror(torch.stack(labels)), augmentation.size)
            tracker.reference(feature, small, banks, objects)

    def _reference_labels(self, bank: int, references: Mapping[int, np.ndarray], propagated: Tensor | None) -> Tensor:
        """Labels [H, W] of a bank: the reference masks over what was propagated."""
        device = self.model.device
        labels = torch.zeros(self.size, device=device) if propagated is None else propagated.clone()
        places = [(place, i) for place, i in enumerate(self.members[bank], start=1) if i in references]
        for place, _ in places:
            labels[labels == place] = 0
        for place, i in places:
            labels[torch.from_numpy(np.ascontiguousarray(references[i])).to(device)] = place
        return labels

    def _assign_banks(self, references: Mapping[int, np.ndarray]) -> None:
        """Assigns sequences that start on this frame to banks: one each, or packed if they have no common pixel."""
        new: list[tuple[int, np.ndarray]] = []  # (bank, its pixels) of the banks that start on this frame
        for i, mask in sorted(references.items()):
            if i in self.bank:
                continue
            for n, (b, taken) in enumerate(new):
                if self.model.settings["pack"] and len(self.members[b]) < MAX_OBJECTS and not (taken & mask).any():
                    self.members[b].append(i)
                    self.bank[i], new[n] = b, (b, taken | mask)
                    break
            else:
                self.bank[i] = len(self.members)
                self.members.append([i])
                new.append((self.bank[i], mask))
