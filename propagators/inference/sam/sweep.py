"""One pass of SAM 2, EdgeTAM or SAM 3's tracker through a clip: all sequences in lockstep, each with its own memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.propagators.core.memory_rules.admission import Sighting
from rvos_ensemble.propagators.core.memory_rules.scene_cut import CutDetector
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam import mask_decoder
from rvos_ensemble.propagators.inference.sam.features import features
from rvos_ensemble.propagators.inference.sam.memory import encoder as memory_encoder
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryBank, MemoryFrame
from rvos_ensemble.propagators.inference.sam.memory.cross_attention import condition
from rvos_ensemble.propagators.inference.sam.memory.sightings import given_sighting, sightings
from rvos_ensemble.propagators.inference.sam.model import SamModel
from rvos_ensemble.propagators.inference.sam.network import FrameFeatures
from rvos_ensemble.propagators.inference.sam.preprocessing import prompt, resized
from rvos_ensemble.propagators.inference.sam.soft_masks import SoftMask, soft_masks


@dataclass(frozen=True)
class Unremembered:
    """What a frame yielded for one sequence, before it is encoded into the memory.

    Attributes:
        mask: logits [4h, 4w] of a propagated mask, or a given mask [M, M] in 0..1 as the memory encoder reads it.
        given: whether the mask is given, by a key frame or by `correct`.
        conditioning: whether the frame is a key frame.
        pointer: [C], the object pointer.
        score: [], the logit of the object score.
        iou: [], the predicted IoU.
        seen: what the frame shows, if a rule of admission asks for that.
        remembered: whether the frame enters the memory.
    """

    mask: Tensor
    given: bool
    conditioning: bool
    pointer: Tensor
    score: Tensor
    iou: Tensor
    seen: Sighting | None = None
    remembered: bool = True


class SamSweep:
    """One pass. A frame enters the memories when the next step begins, so that `correct` can replace its masks.

    A sequence whose last reference mask was empty has no object: its probability is 0, and its memory is dropped.

    Args:
        model: the network and its settings, already on its device.
        size: (H, W) of the frames.
        length: number of frames of the clip; None: at least as many as the network has object pointers.
    """

    def __init__(self, model: SamModel, size: tuple[int, int], length: int | None):
        self.model, self.network, self.size = model, model.network, size
        pointers = self.network.config.max_object_pointers_in_encoder
        self.span = max(1, min(length or pointers, pointers) - 1)
        self.banks: dict[int, MemoryBank | None] = {}  # {sequence: its memory; None if it has no object}
        self.blank = np.zeros(size, np.uint8)
        self.cuts = CutDetector(model.settings["scene_cut"])
        self.latest: tuple[int, FrameFeatures, dict[int, Unremembered]] | None = None  # what the last step yielded

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        with torch.no_grad(), self.model.autocast():
            self._remember()
            if self.cuts.is_cut(frame):
                for bank in self._running_banks():
                    bank.forget_shot()
            found = features(self.network, frame)
            running = [i for i, bank in self.banks.items() if bank is not None and i not in references]
            results, entries = self._propagate(found, running, frame.t)
            given = {i: mask for i, mask in references.items() if mask.any()}
            masks = [prompt(mask, self.network.image_size) for mask in given.values()]
            for i, (hard, pointer, score) in zip(given, self._prompted(found, masks), strict=True):
                entries[i] = Unremembered(hard, True, True, pointer, score, torch.ones_like(score))
            for i in references:
                self._refer(i, i in given)
            self.latest = frame.t, found, entries
        empty = {i: self.blank for i, bank in self.banks.items() if bank is None}
        return results | empty | {i: np.where(mask, np.uint8(255), np.uint8(0)) for i, mask in given.items()}

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """Sequences continue from these masks; see `propagators.core.propagator.Propagator.corrects`.

        The corrected frame is remembered as a propagated one, with the soft mask and the object pointer of the mask.
        """
        if self.latest is None:
            return
        _, found, entries = self.latest
        rows = [i for i in masks if i in entries and not entries[i].conditioning]
        with torch.no_grad(), self.model.autocast():
            prompts = [prompt(masks[i] > 127, self.network.image_size) for i in rows]
            for i, (_, pointer, score) in zip(rows, self._prompted(found, prompts), strict=True):
                soft = resized(masks[i].astype(np.float32) / 255, self.network.mask_size).to(self.network.device)
                entries[i] = Unremembered(soft, True, False, pointer, score, entries[i].iou)

    @property
    def nbytes(self) -> int:
        """Memory of all sequences, without the features of the frame."""
        return sum(bank.nbytes for bank in self._running_banks())

    def _running_banks(self) -> list[MemoryBank]:
        """The memories of all sequences that have an object."""
        return [bank for bank in self.banks.values() if bank is not None]

    def _bank(self, key: Any) -> MemoryBank:
        """The memory that an entry of the last frame belongs to."""
        return self.banks[key]

    def _refer(self, i: int, visible: bool) -> None:
        """A sequence has a reference mask on this frame; `visible` if the mask is not empty."""
        self.banks[i] = (self.banks.get(i) or self.model.bank()) if visible else None

    def _propagate(
        self, found: FrameFeatures, sequences: Sequence[int], t: int
    ) -> tuple[dict[int, SoftMask], dict[int, Unremembered]]:
        """Propagates sequences to frame t."""
        results, entries = {}, {}
        for part in self._batches(sequences):
            x = condition(self.network, found, [self.banks[i] for i in part], t, self.span)
            proposed = mask_decoder.candidates(self.network, found, x)
            choice = mask_decoder.choose(proposed)
            chosen = mask_decoder.outcome(self.network, proposed, choice)
            seen = sightings(proposed, choice) if self.model.admission else [None] * len(part)
            results |= zip(part, soft_masks(chosen, self.size), strict=True)
            for row, i in enumerate(part):
                mask, iou, pointer, score = (
                    x[row] for x in (chosen.logits, chosen.ious, chosen.pointers, chosen.scores)
                )
                entries[i] = Unremembered(mask, False, False, pointer, score, iou, seen[row])
        return results, entries

    def _prompted(self, found: FrameFeatures, prompts: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(mask [M, M], pointer [C], object score []) for each prompt [S, S]."""
        for part in self._batches(prompts):
            masks = torch.stack(list(part)).to(self.network.device)
            official = self.model.official_prompts
            pointers, scores = mask_decoder.prompted(self.network, found, masks, official)
            yield from zip(memory_encoder.given_masks(self.network, masks, official), pointers, scores, strict=True)

    def _remember(self) -> None:
        """Adds the frame of the last step to the memories."""
        if self.latest is None:
            return
        t, found, entries = self.latest
        for part in self._batches([(key, entry) for key, entry in entries.items() if entry.remembered]):
            masks = torch.stack([self._memory_mask(entry) for _, entry in part])
            present = torch.stack([entry.score for _, entry in part]) > 0
            for (key, entry), spatial in zip(
                part, memory_encoder.encode(self.network, found, masks, present), strict=True
            ):
                # a row that may outlive the others of its batch must not keep them in memory
                lasts = entry.conditioning or self.model.admission or self.model.pathways
                remembered = MemoryFrame(t, entry.pointer, spatial.clone() if lasts else spatial)
                bank = self._bank(key)
                (bank.condition if entry.conditioning else bank.admit)(remembered, self._seen(entry))
        self.latest = None

    def _seen(self, entry: Unremembered) -> Sighting | None:
        """What the frame shows, if a rule asks for it."""
        if entry.seen is None and self.model.admission:
            return given_sighting(entry.mask, entry.iou)
        return entry.seen

    def _memory_mask(self, entry: Unremembered) -> Tensor:
        """The mask as the memory encoder reads it, [M, M] in 0..1."""
        return entry.mask if entry.given else memory_encoder.propagated_masks(self.network, entry.mask[None])[0]

    def _batches(self, items: Sequence) -> Iterator[Sequence]:
        """The items in parts of at most `batch`."""
        return (items[start : start + self.model.batch] for start in range(0, len(items), self.model.batch))
