"""What the steps of a recipe can do: one class per `op`.

Every step maps predictions of a clip to a prediction of that clip. The arithmetic is in `fusion.py`, the choice of
groups in `grouping.py`, propagation in `propagators/`; here the two sides meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, listed, number, shown, text, texts, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion import votes as fusion
from rvos_ensemble.ensemble.steps.step import INPUT, INPUTS, Step, vote_maps
from rvos_ensemble.ensemble.steps.topdown import Candidates, Ground, Tracklets
from rvos_ensemble.ensemble.steps.vote import Vote, mean_inside
from rvos_ensemble.propagators.core.key_frame_settings import rule_problems, setting_of
from rvos_ensemble.propagators.core.key_frames import choose, forecast
from rvos_ensemble.propagators.core.propagate import Job
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.core.refine import Refinement, refine


class Average(Step):
    """The weighted mean of soft masks, which keeps how sure each model is.

    Settings:
        inputs: predictions; binary ones count as 0 and 1.
        weights: positive numbers, one an input; equal when null.
    """

    op = "average"
    defaults = {"inputs": INPUTS, "weights": listed(number(least=0, most=1e6), None, least=1)}

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        if {"inputs", "weights"} <= given.keys():
            try:
                fusion.soft_average([np.zeros(1, np.uint8)] * len(given["inputs"]), given["weights"])
            except ValueError as error:
                yield str(error)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        return Traits("prob", scores=True, key_frame=False)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        result = {}
        for e in clip.expressions:
            maps = [inputs[name][e.id] for name in self.inputs]
            probs = np.empty((len(clip), *clip.size), np.uint8)
            for t in range(len(clip)):
                probs[t] = fusion.soft_average([m.prob_at(t) for m in maps], self.settings["weights"])
            scores = [mean_inside(p, p > 127) / 255 for p in probs]
            result[e.id] = MaskSequence.prob(probs, scores, score_source="mean probability inside the mask")
        return result


class GatedAverage(Step):
    """On the key frame only: averages onto the first input those inputs whose mask agrees with it (2022 winners).

    Other frames are the first input's. The key frame is the one that `propagate` will choose with the same rule.

    Settings:
        inputs: the best model first.
        min_iou: how much masks must overlap to be averaged.
        key_frame: the rule; the product of all models' scores, as the source says.
    """

    op = "gated_average"
    defaults = {"inputs": INPUTS, "min_iou": number(0.9, least=0, most=1), "key_frame": setting_of("product")}

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        return rule_problems(given.get("key_frame"), [*dict.fromkeys(given.get("inputs", ()))], "inputs")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        return [
            *vote_maps(self, self.inputs[:1], known),
            *forecast(self.settings["key_frame"], self.inputs[0], self.inputs, known, clip),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        return Traits("prob", scores=known[self.inputs[0]].all().scores, key_frame=True)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        result = {}
        for e in clip.expressions:
            models = {name: inputs[name][e.id] for name in self.inputs}
            first = models[self.inputs[0]]
            key = choose(self.settings["key_frame"], first, models, clip=clip.name, expression=e.id)
            fused = {
                t: fusion.gated_average([m.prob_at(t) for m in models.values()], self.settings["min_iou"])
                for t in key.frames
            }
            masks = LazyMasks(
                first.masks.shape,
                np.dtype(np.uint8),
                lambda t, fused=fused, first=first: fused.get(t, first.prob_at(t)),
            )
            notes = {**first.notes, "key_frame": list(key.frames), "key_frame_rule": key.rule}
            result[e.id] = MaskSequence(masks, "prob", scores=first.scores, notes=notes)
        return result


class Union(Step):
    """Foreground wherever any input has it."""

    op = "union"
    defaults = {"inputs": INPUTS}

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        return Traits("binary", scores=False, key_frame=False)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        return {e.id: unite([inputs[name][e.id] for name in self.inputs]) for e in clip.expressions}


class ReplaceOrUnion(Step):
    """The propagated masks instead of the original ones, or the union of both where propagation lost an object.

    Settings:
        inputs: [original, propagated].
        ratio: a frame is lost when propagated area < ratio * original area.
        share: united when more than this share of the frames with an original mask are lost.

    Source: ReferDINO-Plus (arXiv 2503.23509).
    """

    op = "replace_or_union"
    defaults = {"inputs": INPUTS, "ratio": number(2 / 3, least=0, most=1e6), "share": number(0.5, least=0, most=1)}

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        if len(given.get("inputs", [1, 2])) != 2:
            yield f"inputs are {shown(given['inputs'])}, expected [original, propagated]"

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Those of the propagated masks, where no union takes their place."""
        second = known[self.inputs[1]].all()
        return Traits("binary" if second.kind == "binary" else None, scores=None if second.scores else second.scores)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        result = {}
        for e in clip.expressions:
            pair = [inputs[name][e.id] for name in self.inputs]
            areas = [np.array([np.count_nonzero(m.mask(t)) for t in range(len(clip))]) for m in pair]
            united = fusion.prefers_union(*areas, self.settings["ratio"], self.settings["share"])
            chosen = unite(pair) if united else pair[1]
            result[e.id] = chosen.with_(notes={**chosen.notes, "united": united})
        return result


class Propagate(Step):
    """Carries the mask of a key frame forward and backward through the video.

    Settings:
        input: whose masks.
        with: a name of the recipe's `propagators`.
        key_frame: which frame(s) to trust: a rule, or {rule: ..., ...}; see `propagators/core/key_frames.py`.
        scores_from: whose scores choose the key frame (one or several sources); the input's own when null.
        empty_key: what becomes of a sequence whose key frame holds no mask; see `propagators/core/propagate.py`.
    """

    op = "propagate"
    takes = gives = None
    defaults = {
        "input": INPUT,
        "with": text(what="the name of a propagator"),
        "key_frame": setting_of("argmax"),
        "scores_from": texts(None, what="names of sources and steps"),
        "empty_key": choice("empty", "copy"),
    }

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        scorers = [*dict.fromkeys(given.get("scores_from") or ())]
        return rule_problems(given.get("key_frame"), scorers, "scores_from")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        scorers = self.settings["scores_from"] or [self.settings["input"]]
        return [
            *vote_maps(self, [self.settings["input"]], known),
            *forecast(self.settings["key_frame"], self.settings["input"], scorers, known, clip),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        of = known[self.settings["input"]].all()
        return Traits("prob", scores=True, key_frame=of.key_frame, objects=of.objects)

    @property
    def inputs(self) -> list[str]:
        return list(dict.fromkeys([self.settings["input"], *(self.settings["scores_from"] or [])]))

    def jobs(self, clip: Clip, inputs: Mapping[str, Prediction]) -> list[Job]:
        """What to propagate: one job an expression (or object) of the input, with its key frames chosen."""
        s = self.settings
        jobs, sentences = [], {e.id: e.text for e in clip.expressions}
        for name, masks in inputs[s["input"]].items():
            scorers = {source: inputs[source][name] for source in s["scores_from"] or [s["input"]]}
            key = choose(s["key_frame"], masks, scorers, clip=clip.name, expression=name)
            notes = {"key_frame_rule": key.rule} | ({"key_frame_note": key.note} if key.note else {})
            jobs.append(Job(masks.with_(notes=notes), key.frames, s["empty_key"], sentences.get(name, "")))
        return jobs

    def results(self, inputs: Mapping[str, Prediction], moved: Iterator[MaskSequence]) -> Prediction:
        """What became of its jobs, under the input's names; takes as many as it had jobs."""
        of = inputs[self.settings["input"]]
        return type(of)((name, next(moved)) for name in of)


class Refine(Propagate):
    """Propagates in rounds: each starts from the most confident frames of the one before (URVOS).

    Settings:
        rounds: how many at most; fewer where a round would repeat the one before.
        memory: frames that a round starts from, at most, the key frame among them.
        apart: frames between two of them at least.
        over: the pixels that the confidence of a frame is the mean of, `frame` or `mask`.
        input, with, key_frame, scores_from, empty_key: as of `propagate`.
    """

    op = "refine"
    version = 2  # 2: key frames stay however near to each other
    defaults = {
        **Propagate.defaults,
        "key_frame": setting_of("confidence"),
        "rounds": whole(5, least=1),
        "memory": whole(4, least=1),
        "apart": whole(1, least=1),
        "over": choice("frame", "mask"),
    }

    def jobs(self, clip: Clip, inputs: Mapping[str, Prediction]) -> list[Job]:
        more = {key: self.settings[key] for key in ("rounds", "memory", "apart", "over")}
        return [Refinement(**vars(job), **more) for job in super().jobs(clip, inputs)]


def propagate_together(
    steps: Sequence[Propagate], clip: Clip, inputs: Mapping[str, Prediction], propagator: Propagator, cache_mb: int
) -> dict[str, Prediction]:
    """Several steps that use the same propagator, all their sequences in one sweep each way."""
    moved = iter(refine(clip, [job for step in steps for job in step.jobs(clip, inputs)], propagator, cache_mb))
    return {step.name: step.results(inputs, moved) for step in steps}


def unite(maps: Sequence[MaskSequence]) -> MaskSequence:
    """Foreground wherever any of the sequences has it."""
    return MaskSequence.binary(np.logical_or.reduce([m.mask(t) for m in maps]) for t in range(len(maps[0])))


OPS: dict[str, type[Step]] = {
    c.op: c
    for c in (
        *(Vote, Average, GatedAverage, Union, ReplaceOrUnion, Propagate, Refine),
        *(Candidates, Tracklets, Ground),
    )
}
