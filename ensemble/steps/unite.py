"""The step `unite`: one mask sequence per expression from its instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.instances import by_expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.steps.step import INPUT, Step, vote_maps
from rvos_ensemble.propagators.core.compressed_masks import CompressedMasks


class Unite(Step):
    """Joins the instances of each expression: foreground where any of its instances has foreground.

    A probability is the largest of the instances, a score the mean of theirs. An expression without instances has empty
    masks; its presence is 0 if its source says that it refers to nothing.

    Settings:
        input: instances, such as propagated seeds, or the queries of a source.

    Source: the union per frame of the MeViSv2 winner of 2026 (arXiv 2604.00404).
    """

    takes, gives = "objects", "expressions"
    defaults = {"input": INPUT}

    @property
    def inputs(self) -> list[str]:
        """The input."""
        return [self.settings.input]

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """The instances must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Masks of expressions, of the kind of the instances."""
        of = known[self.settings.input].all()
        return Traits(of.kind, scores=of.scores, key_frame=False, presence=of.presence)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The union of the instances of each expression."""
        groups = by_expression(inputs[self.settings.input], clip, self.settings.input)
        return {expression: united(instances) for expression, instances in groups.items()}


def united(instances: Sequence[MaskSequence]) -> MaskSequence:
    """The union of some instances of one expression, at least one.

    Returns:
        Binary masks if all instances have such, else probabilities. The notes list the key frames of the instances, and
        the seeds that were dropped.
    """
    first, length = instances[0], len(instances[0])
    if len(instances) == 1:
        union = first
    elif all(s.kind == "binary" for s in instances):
        union = MaskSequence.binary(np.logical_or.reduce([s.mask(t) for s in instances]) for t in range(length))
    else:
        probabilities = CompressedMasks(first.size, length)
        for t in range(length):
            probabilities[t] = np.maximum.reduce([s.prob_at(t) for s in instances])
        union = MaskSequence.prob(probabilities)
    scores = [s.scores for s in instances]
    return union.with_(
        scores=None if any(s is None for s in scores) else np.mean(scores, axis=0, dtype=np.float64).astype(np.float32),
        notes=_notes(instances),
        presence=fusion.largest_presence([s.presence for s in instances]),
    )


def _notes(instances: Sequence[MaskSequence]) -> dict[str, Any]:
    """The instances with their key frames, all key frames, and the dropped seeds."""
    keys = {
        s.notes["instance"]: s.notes.get("key_frames", s.notes.get("key_frame"))
        for s in instances
        if s.notes["instance"] is not None
    }
    frames = {t for of in keys.values() if of is not None for t in (of if isinstance(of, list) else [of])}
    dropped = list(dict.fromkeys(line for s in instances for line in s.notes.get("dropped", [])))
    return {
        "instances": keys,
        **({"key_frames": sorted(frames)} if frames else {}),
        **({"dropped": dropped} if dropped else {}),
    }
