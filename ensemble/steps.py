"""What the steps of a recipe can do: one class per `op`.

Every step maps predictions of a clip to a prediction of that clip. The arithmetic is in `fusion.py`, the choice of
groups in `grouping.py`, propagation in `propagators/`; here the two sides meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from adapters.component import REQUIRED
from adapters.sequence import Clip, InputError, LazyMasks, MaskSequence, PackedMasks, Prediction
from ensemble import fusion
from ensemble.grouping import check_settings, group_expressions
from ensemble.step import Step
from ensemble.topdown import Candidates, Ground, Tracklets
from propagators.keyframe import choose, settings_of
from propagators.propagate import Job
from propagators.propagator import Propagator
from propagators.refine import Refinement, refine


class Vote(Step):
    """Sums binary masks over models, and over expressions of the same object, and thresholds (Eq. 3).

    Settings:
        inputs: the models' predictions; the first is the one that `leftover: first` trusts.
        across: `expressions` sums over the expressions of a group too and gives each of them the result.
        threshold: a count of votes (int) or a share of them (float in (0, 1]); null keeps the vote map itself.
        weights: votes each input has, whole numbers.
        leftover: an expression alone in its group: `vote` like the others, `first` takes the first input as it is, or
            a threshold of its own (3 of the 4 votes that are left).
        leftover_double_sigmoid: with `leftover: first`, takes every probability above 0 as foreground: in the winners'
            released code UNINEXT's probabilities pass through a second sigmoid there. Their float32 said p > 1.2e-7;
            our 8 bits say p > 1/510.
        grouping: {rule, file, min_iou}, the recipe's own where it is not given; see `ensemble/grouping.py`.
    """

    op = "vote"
    version = 2  # 2: pairs where the data set lists pairs
    defaults = {
        "inputs": REQUIRED,
        "across": None,
        "threshold": REQUIRED,
        "weights": None,
        "leftover": "vote",
        "leftover_double_sigmoid": False,
        "grouping": None,
    }

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        s, where = self.settings, f"step {name}: "
        if s["across"] not in (None, "expressions"):
            raise InputError(f"{where}across is {s['across']!r}, expected `expressions` or nothing")
        if isinstance(s["leftover"], str) and s["leftover"] not in ("vote", "first"):
            raise InputError(f"{where}leftover is {s['leftover']!r}, expected vote, first, or a threshold")
        if isinstance(s["threshold"], (str, bool)):
            raise InputError(f"{where}threshold is {s['threshold']!r}, expected a count (3), a share (0.5) or null")
        if s["grouping"] and s["across"]:
            check_settings(s["grouping"], f"{where}grouping")
        try:
            most = 10**6  # counts are checked against the votes there are when the groups are known
            fusion.check_weights(len(self.inputs), s["weights"])
            for threshold in (s["threshold"], s["leftover"]):
                if threshold is not None and not isinstance(threshold, str):
                    fusion.votes_needed(threshold, most)
        except ValueError as e:
            raise InputError(f"{where}{e}") from None

    def fingerprint(self, clip: Clip) -> str:
        return "in pairs" if self.settings["across"] and clip.in_pairs else ""

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        s = self.settings
        models = [inputs[name] for name in self.inputs]
        groups = [[e.id] for e in clip.expressions]
        if s["across"] == "expressions":
            groups = group_expressions(clip, models, **(s["grouping"] or {}))
        result = {}
        for group in groups:
            alone = s["across"] == "expressions" and len(group) == 1
            if alone and s["leftover"] == "first":
                first = models[0][group[0]]
                accident = s["leftover_double_sigmoid"]
                masks = (first.prob_at(t) > 0 if accident else first.mask(t) for t in range(len(first)))
                fused = MaskSequence.binary(masks, first.scores)
            else:
                fused = self._vote(clip, [model[i] for i in group for model in models], len(group))
            notes = {"group": list(group)} if s["across"] else {}
            result |= {i: fused.with_(notes={**fused.notes, **notes}) for i in group}
        return {e.id: result[e.id] for e in clip.expressions}

    def votes_needed(self, clip: Clip, group: int, total: int) -> int | None:
        """How many votes a pixel needs in a group of that many expressions; None where the vote map is kept.

        Raises:
            InputError: a count that is more than the votes there are.
        """
        threshold = self.settings["threshold"]
        if self.settings["across"] == "expressions" and group == 1 and self.settings["leftover"] != "vote":
            threshold = self.settings["leftover"]
        try:
            return None if threshold is None else fusion.votes_needed(threshold, total)
        except ValueError as e:
            raise InputError(
                f"step {self.name}: clip {clip.name!r}, a group of {group}: {e}; "
                "write the threshold as a share (0.5), or give `leftover`"
            ) from None

    def _vote(self, clip: Clip, maps: list[MaskSequence], group: int) -> MaskSequence:
        weights = fusion.check_weights(len(maps), (self.settings["weights"] or [1] * len(self.inputs)) * group)
        total = sum(weights)
        needed = self.votes_needed(clip, group, total)
        if needed is None:
            votes = [fusion.vote_map([m.mask(t) for m in maps], weights) for t in range(len(clip))]
            return MaskSequence(np.stack(votes), "votes", total=total)
        masks, scores = [], []
        for t in range(len(clip)):
            votes = fusion.vote_map([m.mask(t) for m in maps], weights)
            mask = votes >= needed
            masks.append(np.packbits(mask, axis=1))
            scores.append(mean_inside(votes, mask) / total)
        fused = MaskSequence(PackedMasks(np.stack(masks), clip.size[1]), scores=np.float32(scores))
        return fused.with_(notes={"score_source": "share of votes inside the mask", "votes": f"{needed} of {total}"})

    def describe(self) -> str:
        across = ", over expressions" if self.settings["across"] else ""
        return f"vote of {', '.join(self.inputs)}{across}, >= {self.settings['threshold']}"


class Average(Step):
    """The weighted mean of soft masks, which keeps how sure each model is.

    Settings:
        inputs: predictions; binary ones count as 0 and 1.
        weights: positive numbers, one an input; equal when null.
    """

    op = "average"
    defaults = {"inputs": REQUIRED, "weights": None}

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        try:
            fusion.soft_average([np.zeros(1, np.uint8)] * len(self.inputs), self.settings["weights"])
        except ValueError as e:
            raise InputError(f"step {name}: {e}") from None

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
    defaults = {"inputs": REQUIRED, "min_iou": 0.9, "key_frame": "product"}

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        settings_of(self.settings["key_frame"], f"step {name}: key_frame")

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
    defaults = {"inputs": REQUIRED}

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
    defaults = {"inputs": REQUIRED, "ratio": 2 / 3, "share": 0.5}

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        if len(self.inputs) != 2:
            raise InputError(f"step {name}: inputs are {self.inputs}, expected [original, propagated]")

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
        key_frame: which frame(s) to trust: a rule, or {rule: ..., ...}; see `propagators/keyframe.py`.
        scores_from: whose scores choose the key frame (one or several sources); the input's own when null.
        empty_key: what becomes of a sequence whose key frame holds no mask; see `propagators/propagate.py`.
    """

    op = "propagate"
    takes = gives = None
    defaults = {
        "input": REQUIRED,
        "with": REQUIRED,
        "key_frame": "argmax",
        "scores_from": None,
        "empty_key": "empty",
    }

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        rule = settings_of(self.settings["key_frame"], f"step {name}: key_frame")["rule"]
        scorers = self.settings["scores_from"] or []
        if rule in ("argmax", "top") and len(scorers) > 1:
            raise InputError(
                f"step {name}: key_frame {rule} goes by one score, found scores_from {', '.join(scorers)}; "
                "name one, or take `product`"
            )
        if self.settings["empty_key"] not in ("empty", "copy"):
            raise InputError(f"step {name}: empty_key is {self.settings['empty_key']!r}, expected empty or copy")

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
    defaults = {**Propagate.defaults, "key_frame": "confidence", "rounds": 5, "memory": 4, "apart": 1, "over": "frame"}

    def __init__(self, name: str, **settings):
        super().__init__(name, **settings)
        s = self.settings
        problems = [
            f"step {name}: {key} is {s[key]!r}, expected a whole number of at least 1"
            for key in ("rounds", "memory", "apart")
            if s[key] is None or s[key] < 1
        ]
        if s["over"] not in ("frame", "mask"):
            problems.append(f"step {name}: over is {s['over']!r}, expected frame or mask")
        if problems:
            raise InputError(problems)

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


def mean_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """The mean of an image inside a mask, 0 where the mask is empty.

    Args:
        values: uint8 or uint16 [H, W].
        mask: bool [H, W].
    """
    area = np.count_nonzero(mask)
    return cv2.norm(values, cv2.NORM_L1, mask.view(np.uint8)) / area if area else 0.0


OPS: dict[str, type[Step]] = {
    c.op: c
    for c in (
        *(Vote, Average, GatedAverage, Union, ReplaceOrUnion, Propagate, Refine),
        *(Candidates, Tracklets, Ground),
    )
}
