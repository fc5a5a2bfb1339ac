"""The step `vote`: sums binary masks of models, and of expressions of the same object, and thresholds the sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import REQUIRED, choice, either, number, switch, table, whole
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.fusion.grouping import SETTINGS, check_settings, group_expressions, possible_sizes
from rvos_ensemble.ensemble.fusion.packed_votes import packed_vote
from rvos_ensemble.ensemble.steps.parts.weights import weights_of
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps

COUNT = (whole(least=1), number(above=0, most=1))  # a number of votes, or a share of all votes
WEIGHT = number(least=0, most=1000)


class Vote(Step):
    """Sums binary masks over models, and over expressions of the same object, and thresholds (Eq. 3).

    Settings:
        inputs: the predictions of the models; `leftover: first` uses the first one.
        across: `expressions` also sums over the expressions of a group; each of them receives the result.
        threshold: a count of votes (int) or a share of them (float in (0, 1]); null keeps the vote map.
        weights: how much each input counts, [2, 1, 1] or {soc: 0.7, mutr: 0.3}, whole numbers or decimals. Sums and
            comparisons are exact: decimals are turned into whole numbers of votes. A count as `threshold` is then a sum
            of weights.
        leftover: how an expression alone in its group is treated: `vote` as the others, `first` copies the first input,
            or a separate threshold (such as 3 of its 4 votes).
        leftover_double_sigmoid: with `leftover: first`, treats every probability above 0 as foreground. The winners'
            released code applies a second sigmoid to UNINEXT's probabilities in this case. In their float32 this means
            p > 1.2e-7, in 8 bits p > 1/510.
        grouping: {rule, file, min_iou}; by default that of the recipe; see `ensemble/fusion/grouping.py`.
    """

    version = 2  # 2: pairs if the data set lists pairs
    defaults = {
        "inputs": INPUTS,
        "across": choice(None, "expressions"),
        "threshold": either(REQUIRED, *COUNT, null=True, what="a count (3), a share (0.5) or null"),
        "weights": weights_of(WEIGHT),
        "leftover": either("vote", choice("vote", "first"), *COUNT, what="vote, first, or a threshold"),
        "leftover_double_sigmoid": switch(False),
        "grouping": table(None, below=SETTINGS),
    }

    counts_votes = True

    @property
    def gives_votes(self) -> bool:
        """Whether the result is the vote map, because `threshold` is null."""
        return self.settings.threshold is None

    @property
    def groups_expressions(self) -> bool:
        """Whether votes are summed over the expressions of a group."""
        return self.settings.across == "expressions"

    @property
    def reads_probabilities(self) -> bool:
        """Whether `leftover_double_sigmoid` needs the probabilities."""
        return self.settings.leftover_double_sigmoid

    def vote_map(self) -> Vote | None:
        """This step with `threshold: null`."""
        if self.gives_votes:
            return None
        leftover = "first" if self.settings.leftover == "first" else "vote"  # its threshold is applied to the map
        return Vote(self.name, **{**vars(self.settings), "threshold": None, "leftover": leftover})

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The grouping must be valid, and the number of weights must be that of the inputs."""
        if values.get("grouping") and values.get("across"):
            try:
                check_settings(values["grouping"], "grouping")
            except InputError as error:
                yield from error.problems
        if {"inputs", "weights"} <= values.keys():
            try:
                fusion.whole_votes(len(values["inputs"]), values["weights"])
            except ValueError as error:
                yield str(error)

    def fingerprint(self, clip: Clip) -> str:
        """Changes if the rule `auto` starts or stops pairing expressions."""
        return "in pairs" if self.settings.across and clip.in_pairs else ""

    def problems(self, clip: Clip) -> list[str]:
        """Reports a grouping that does not fit the clip, and counts of votes that its groups cannot reach."""
        if self.settings.across is None:
            possible = [{1}]
        else:
            try:
                possible = possible_sizes(clip, **(self.settings.grouping or {}))
            except InputError as error:
                return error.problems
        refused = [[p for size in sorted(sizes) for p in self._count_problems(clip, size)] for sizes in possible]
        if not all(refused):  # some possible grouping works; only the masks decide
            return []
        return [*dict.fromkeys(p for problems in refused for p in problems)]

    def _count_problems(self, clip: Clip, group: int) -> list[str]:
        """Why a group of `group` expressions cannot vote."""
        if self._takes_first(group):
            return []
        try:
            self.votes_needed(clip, group, self._total(group))
        except InputError as error:  # the caller adds the step's name
            return [p.removeprefix(f"step {self.name}: ") for p in error.problems]
        return []

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """A vote map, or binary masks; `leftover` decides what is known of their scores."""
        s, first = self.settings, known[self.inputs[0]].all()
        presence = any_presence(known[name] for name in self.inputs)
        takes_first = s.across is not None and s.leftover == "first"
        if takes_first and first.presence != presence:
            presence = None
        if s.threshold is None:  # an expression alone in its group may still be thresholded
            same = s.across is None or s.leftover == "vote"
            kind, scores = ("votes", False) if same else (None, None)
            return Traits(kind, scores=scores, key_frame=False, presence=presence, signals=())
        scored = not takes_first or first.scores is True
        return Traits("binary", scores=True if scored else None, key_frame=False, presence=presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The vote of each group; all expressions of the group receive it."""
        s = self.settings
        models = [inputs[name] for name in self.inputs]
        groups = [[e.id] for e in clip.expressions]
        if s.across == "expressions":
            groups = group_expressions(clip, models, **(s.grouping or {}))
        result = {}
        for group in groups:
            if self._takes_first(len(group)):
                first = models[0][group[0]]
                double_sigmoid = s.leftover_double_sigmoid
                masks = (first.prob_at(t) > 0 if double_sigmoid else first.mask(t) for t in range(len(first)))
                fused = MaskSequence.binary(masks, first.scores).with_(presence=first.presence)
            else:
                fused = self._vote(clip, [model[i] for i in group for model in models], len(group))
            notes = {"group": list(group)} if s.across else {}
            result |= {i: fused.with_(notes={**fused.notes, **notes}) for i in group}
        return {e.id: result[e.id] for e in clip.expressions}

    def votes_needed(self, clip: Clip, group: int, total: int) -> int | None:
        """The number of votes a pixel needs in a group of `group` expressions; None if the vote map is kept.

        Raises:
            InputError: the threshold is a count above `total`, or there are more votes than can be counted.
        """
        threshold = self.settings.threshold
        if self.settings.across == "expressions" and group == 1 and self.settings.leftover != "vote":
            threshold = self.settings.leftover
        where = f"step {self.name}: clip {clip.name!r}, a group of {group}"
        if total > fusion.MOST_VOTES:
            raise InputError(f"{where}: {total} votes, at most {fusion.MOST_VOTES} can be counted: lower the `weights`")
        try:
            return None if threshold is None else fusion.votes_needed(threshold, total, self._votes()[1])
        except ValueError as e:
            raise InputError(f"{where}: {e}; write the threshold as a share (0.5), or set `leftover`") from None

    def _takes_first(self, group: int) -> bool:
        """Whether a group of `group` expressions copies the mask of the first input."""
        return self.settings.across == "expressions" and group == 1 and self.settings.leftover == "first"

    def _total(self, group: int) -> int:
        """The total number of votes in a group of `group` expressions."""
        return sum(self._votes()[0]) * group

    def _votes(self) -> tuple[list[int], int]:
        """The number of votes of each input, and of a weight of 1."""
        return fusion.whole_votes(len(self.inputs), self.settings.weights)

    def _vote(self, clip: Clip, maps: list[MaskSequence], group: int) -> MaskSequence:
        """The vote of one group: binary masks with scores, or the vote map."""
        total = self._total(group)
        needed = self.votes_needed(clip, group, total)
        weights = self._votes()[0] * group
        if needed is None:
            presence = fusion.mean_presence([m.presence for m in maps], weights)
            votes = [fusion.vote_map([m.mask(t) for m in maps], weights) for t in range(len(clip))]
            return MaskSequence(np.stack(votes), "votes", total=total, presence=presence)
        return thresholded(maps, weights, needed)

    def describe(self) -> str:
        """The inputs with their weights, whether expressions are summed, and the threshold."""
        across = ", over expressions" if self.settings.across else ""
        weights = self.settings.weights or [None] * len(self.inputs)
        named = (i if w is None else f"{i} x {w:g}" for i, w in zip(self.inputs, weights, strict=True))
        return f"vote of {', '.join(named)}{across}, >= {self.settings.threshold}"


def thresholded(maps: Sequence[MaskSequence], weights: Sequence[int], needed: int) -> MaskSequence:
    """Binary masks of the pixels with at least `needed` votes; the score of a frame is the share of votes inside."""
    total, masks, scores = sum(weights), [], []
    for t in range(len(maps[0])):
        mask, votes = packed_vote([m.packed(t) for m in maps], weights, needed)
        masks.append(mask)
        scores.append(votes / total)
    packed = PackedMasks(np.stack(masks), maps[0].size[1])
    notes = {"score_source": "share of votes inside the mask", "votes": f"{needed} of {total}"}
    presence = fusion.mean_presence([m.presence for m in maps], weights)
    return MaskSequence(packed, scores=np.float32(scores), notes=notes, presence=presence)
