"""One pass with several pathways per sequence, each with a memory of its own; see `memory_rules/pathways.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rvos_ensemble.propagators.core.compressed_masks import CompressedMasks
from rvos_ensemble.propagators.core.memory_rules.pathways import Leaf, branches
from rvos_ensemble.propagators.inference.sam import mask_decoder
from rvos_ensemble.propagators.inference.sam.mask_decoder import Candidates, Outcome
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryBank, frames_nbytes
from rvos_ensemble.propagators.inference.sam.memory.cross_attention import condition
from rvos_ensemble.propagators.inference.sam.model import SamModel
from rvos_ensemble.propagators.inference.sam.network import FrameFeatures
from rvos_ensemble.propagators.inference.sam.soft_masks import soft_masks
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep, Unremembered


@dataclass(frozen=True)
class Pathway:
    """One hypothesis of a sequence.

    Attributes:
        bank: its memory.
        score: the sum of its log predicted IoU since the last key frame.
        leaf: its last frame, whose value is a `PathwayMask`; None right after a key frame.
    """

    bank: MemoryBank
    score: float = 0.0
    leaf: Leaf | None = None


class PathwaySweep(SamSweep):
    """One pass; the pathways of all sequences share the batches of the network.

    The best pathway decides on all its frames when the sequence reaches another key frame or the sweep ends. From a key
    frame, and from a mask that `correct` gives, a sequence continues with one pathway, the best one.

    Attributes:
        final_at_end: see `propagators.core.propagator.Sweep`.
    """

    final_at_end = True

    def __init__(self, model: SamModel, size: tuple[int, int], length: int | None):
        super().__init__(model, size, length)
        self.rule = model.pathways
        self.paths: dict[int, list[Pathway]] = {}  # {sequence: its pathways, the best first}
        self.trees: dict[int, Tree] = {}

    @property
    def nbytes(self) -> int:
        """Memory of all pathways, without the features of the frame; they share frames as long as they agree."""
        return frames_nbytes(frame for bank in self._running_banks() for frame in (*bank.conditioning, *bank.recent))

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """See `SamSweep.correct`."""
        if self.latest is not None:
            entries = self.latest[2]
            for i in masks:
                if (i, 0) in entries:
                    best = entries[i, 0]
                    for p in range(len(self.paths[i])):
                        del entries[i, p]
                    entries[i], self.paths[i] = best, self.paths[i][:1]
        super().correct(masks)

    def _running_banks(self) -> list[MemoryBank]:
        """See `SamSweep._running_banks`."""
        return [path.bank for paths in self.paths.values() for path in paths]

    def _bank(self, key: Any) -> MemoryBank:
        """See `SamSweep._bank`; of a pathway, the key is (sequence, index)."""
        return self.paths[key[0]][key[1]].bank if isinstance(key, tuple) else self.banks[key]

    def _refer(self, i: int, visible: bool) -> None:
        """See `SamSweep._refer`; the best pathway, whose memory is in `banks`, continues alone."""
        super()._refer(i, visible)
        self.trees.pop(i, None)
        self.paths[i] = [Pathway(self.banks[i])] if visible else []

    def _propagate(
        self, found: FrameFeatures, sequences: Sequence[int], t: int
    ) -> tuple[dict[int, TreeMask], dict[tuple[int, int], Unremembered]]:
        """See `SamSweep._propagate`."""
        if not sequences:
            return {}, {}
        rows = [(i, path) for i in sequences for path in self.paths[i]]
        parts = []
        for part in self._batches(rows):
            x = condition(self.network, found, [path.bank for _, path in part], t, self.span)
            parts.append(mask_decoder.candidates(self.network, found, x))
        proposed = _joined(parts)
        kept = self._branch(sequences, rows, proposed)
        chosen = _joined([self._outcome(proposed, part) for part in self._batches(kept)])
        numbers = torch.stack([chosen.ious.float(), chosen.scores.float()], 1).tolist()

        entries: dict[tuple[int, int], Unremembered] = {}
        paths: dict[int, list[Pathway]] = {i: [] for i in sequences}
        for n, (i, row, _, score) in enumerate(kept):
            parent, outcome = rows[row][1], Outcome(*(x[n].clone() for x in vars(chosen).values()))
            iou, object_score = numbers[n]
            remembered = iou > self.rule["min_iou"] and object_score > 0
            entries[i, len(paths[i])] = Unremembered(
                outcome.logits, False, False, outcome.pointers, outcome.scores, outcome.ious, remembered=remembered
            )
            paths[i].append(Pathway(parent.bank.fork(), score, Leaf(parent.leaf, t, PathwayMask(outcome, self.size))))
        self._advance(paths)
        return {i: TreeMask(self.trees[i], t) for i in sequences}, entries

    def _branch(
        self, sequences: Sequence[int], rows: Sequence[tuple[int, Pathway]], proposed: Candidates
    ) -> list[tuple[int, int, int, float]]:
        """(sequence, row of the parent, candidate, score) of all pathways of this frame, the best of each first."""
        ious, scores = (x.double().cpu().numpy() for x in (proposed.ious, proposed.scores))
        result = []
        for i in sequences:
            own = [row for row, (j, _) in enumerate(rows) if j == i]
            sums = np.array([rows[row][1].score for row in own])
            limits = self.rule["count"], self.rule["uncertainty"]
            result += [
                (i, own[branch.parent], branch.candidate, branch.score)
                for branch in branches(sums, ious[own], scores[own], *limits)
            ]
        return result

    def _outcome(self, proposed: Candidates, kept: Sequence[tuple[int, int, int, float]]) -> Outcome:
        """The outcome of some pathways."""
        rows, choice = (torch.tensor([k[n] for k in kept], device=proposed.ious.device) for n in (1, 2))
        picked = Candidates(*(x[rows] for x in vars(proposed).values()))
        return mask_decoder.outcome(self.network, picked, choice)

    def _advance(self, paths: Mapping[int, list[Pathway]]) -> None:
        """Replaces the pathways of sequences, and compresses the frames before of those that continue."""
        self.paths |= paths
        settle(path.leaf.parent.value for own in paths.values() for path in own if path.leaf.parent is not None)
        for i, own in paths.items():
            self.banks[i] = own[0].bank
            self.trees.setdefault(i, Tree()).best = own[0].leaf


class PathwayMask:
    """The mask of a pathway on a frame: logits of the network at first, later compressed at the size of the clip.

    Args:
        outcome: of one sequence, without a batch dimension.
        size: (H, W).
    """

    def __init__(self, outcome: Outcome, size: tuple[int, int]):
        self.outcome: Outcome | None = outcome
        self.masks, self.signals = CompressedMasks(size, 1), {}

    def read(self) -> np.ndarray:
        """uint8 [H, W]."""
        settle([self])
        return self.masks[0]


def settle(masks: Iterable[PathwayMask]) -> None:
    """Compresses the masks that are not compressed yet, a few at a time."""
    waiting = list({id(mask): mask for mask in masks if mask.outcome is not None}.values())
    for start in range(0, len(waiting), 8):
        part = waiting[start : start + 8]
        batch = Outcome(*(torch.stack(x) for x in zip(*(vars(m.outcome).values() for m in part), strict=True)))
        for mask, soft in zip(part, soft_masks(batch, part[0].masks.shape[1:]), strict=True):
            mask.masks[0], mask.signals, mask.outcome = np.asarray(soft), soft.signals, None


class Tree:
    """The pathways of a sequence since its last key frame.

    Attributes:
        best: the last frame of the best pathway so far.
    """

    def __init__(self):
        self.best: Leaf | None = None
        self.known: tuple[Leaf | None, dict[int, PathwayMask]] = None, {}

    def mask(self, t: int) -> PathwayMask:
        """What the best pathway says about frame t."""
        if self.known[0] is not self.best:
            self.known = self.best, self.best.history()
        return self.known[1][t]


class TreeMask:
    """The mask of one sequence on frame t; reading it takes that of the pathway that is the best one then."""

    def __init__(self, tree: Tree, t: int):
        self.tree, self.t = tree, t

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.tree.mask(self.t).read(), dtype=dtype)

    @property
    def signals(self) -> dict[str, float]:
        """See `propagators.core.propagator.Sweep.step`."""
        mask = self.tree.mask(self.t)
        settle([mask])
        return mask.signals


def _joined(parts: Sequence[Candidates | Outcome]) -> Candidates | Outcome:
    """Those of all batches in one."""
    return type(parts[0])(*(torch.cat(x) for x in zip(*(vars(part).values() for part in parts), strict=True)))
