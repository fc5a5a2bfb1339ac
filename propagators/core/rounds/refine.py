"""URVOS's iterative refinement for any propagator: each round propagates from the best frames of the round before.

Round 1 propagates from the key frame. Each later round starts from at most `memory` frames of the previous round: the
key frame, and the frames on which the propagation was most confident. The propagator uses them as several key frames;
frames between two of them are reached from both sides. The refinement ends when a round would start from the same
frames as the previous one, because it would only repeat it.

Source: Seo et al., URVOS, ECCV 2020: two-stage inference, repeated (Table 6). There the network itself has a memory,
and its least confident frame is replaced as frames arrive. Here the same rule keeps the most confident frames between
rounds, which works with every propagator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.key_frames import spaced
from rvos_ensemble.propagators.core.mask_quality import confidences
from rvos_ensemble.propagators.core.propagate import PropagationTask


@dataclass(frozen=True)
class Refinement(PropagationTask):
    """A task in several rounds. The note `rounds` of its result is their number, and `key_frames` are the last round's.

    Attributes:
        rounds: the maximal number of rounds.
        memory: the maximal number of frames that a round starts from.
        apart: the minimal distance between two of them, in frames.
        over: the pixels whose mean is the confidence; see `adapters.inference.logits.confidence`.
        anchors: frames from which every round starts; None for the key frames of the first round that have a mask.
    """

    rounds: int = 5
    memory: int = 4
    apart: int = 1
    over: str = "frame"
    anchors: tuple[int, ...] | None = None

    def next_round(self, result: MaskSequence, done: int) -> tuple[PropagationTask | None, dict[str, Any]]:
        """The task that starts from the most confident frames of the result. Without a key mask there is none."""
        notes, keys = {"rounds": done}, tuple(result.notes["key_frames"])
        if done >= self.rounds or "empty_key" in result.notes:
            return None, notes
        anchors = self.anchors or keys
        frames = memory_frames(result, anchors, self.memory, self.apart, self.over)
        if frames == keys:
            return None, notes
        return replace(self, sequence=result, key_frames=frames, anchors=anchors), notes


def memory_frames(
    sequence: MaskSequence, anchors: Sequence[int], memory: int, apart: int = 1, over: str = "frame"
) -> tuple[int, ...]:
    """The anchors and the most confident other frames that have a mask, `memory` frames altogether, ascending.

    Args:
        sequence: kind prob.
        anchors: frames that always stay.
        memory, apart, over: see `Refinement`.

    >>> p = np.uint8([[[255]], [[200]], [[0]], [[250]], [[180]]])
    >>> memory_frames(MaskSequence.prob(p), [0], 3), memory_frames(MaskSequence.prob(p), [0], 3, apart=3)
    ((0, 1, 3), (0, 3))
    """
    by_confidence = np.argsort(-confidences(sequence, over), kind="stable")
    others = (int(t) for t in by_confidence if t not in anchors and sequence.mask(int(t)).any())
    return tuple(sorted(spaced(others, memory, apart, anchors)))
