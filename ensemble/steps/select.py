"""The step `select`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, path, table
from rvos_ensemble.adapters.core.traits import Traits, common_traits
from rvos_ensemble.adapters.files.verdicts.choices import read_choices
from rvos_ensemble.ensemble.fusion import selection
from rvos_ensemble.ensemble.metrics.scores import score_many
from rvos_ensemble.ensemble.steps.parts.doubts import DOUBTS, doubt_problems, doubts_of
from rvos_ensemble.ensemble.steps.parts.signals import STATED, signal, signal_problem
from rvos_ensemble.ensemble.steps.parts.weights import weights_of
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps

FROM_FILE, NO_TRUTH = "named by the file", "no ground truth: the first input"


class Select(Step):
    """Chooses one input for each expression; its masks, scores and presence are the result.

    Settings:
        inputs: the predictions to choose from; among equals, the first one wins.
        rule: `medoid`, the input that agrees most with all inputs; `best`, the one with the highest value of `by`, or
            the one that a file names; `cascade`, the first that is not doubtful by `doubt`, else the last; `oracle`,
            the one with the highest J&F against the ground truth: an upper bound, which cannot be submitted.
        overlap: how the agreement of two inputs is measured: `frame`, the mean IoU over frames, where two empty masks
            have IoU 1; `shown`, over the frames where either mask is not empty; `video`, the sum of the intersections
            over the sum of the unions.
        weights: of `medoid` and `best`, one number >= 0 per input; `medoid` treats a weight of 2 as two copies, `best`
            multiplies the value of the input.
        by: of `best`: the mean of the `scores`; the `presence`; the `confidence`, the mean probability inside the
            masks; the `object_score` or `predicted_iou` of the propagator, see `ensemble/steps/parts/signals.py`; or
            `file`.
        file: the choices of a language model or a person, see `adapters/files/verdicts/choices.py`.
        otherwise: `first` takes the first input where the file names none; null reports such expressions as missing.
        doubt: of `cascade`, the rules of `ensemble/steps/parts/doubts.py`; any of them is enough.

    Source: medoid: 1st place of LSVOS 2026, audio track (arXiv 2608.09475). best by file: PGMR (arXiv 2504.08306).
    cascade: 2nd place of LSVOS 2025, VOS track (arXiv 2509.14901).
    """

    version = 2  # agreements that differ by rounding alone are equal
    defaults = {
        "inputs": INPUTS,
        "rule": choice("medoid", "best", "cascade", "oracle"),
        "overlap": choice(*selection.OVERLAPS),
        "weights": weights_of(number(least=0, most=1e6)),
        "by": choice("scores", "presence", "confidence", *STATED, "file"),
        "file": path(None),
        "otherwise": choice(None, "first"),
        "doubt": table(None, below=DOUBTS),
    }

    @property
    def reads_truth(self) -> bool:
        """Whether the rule is `oracle`."""
        return self.settings.rule == "oracle"

    @property
    def _by_file(self) -> bool:
        return (self.settings.rule, self.settings.by) == ("best", "file")

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The weights must be those of the inputs, and the rule must have the settings that it needs."""
        if {"inputs", "weights"} <= values.keys():
            try:
                selection.check_shares(len(values["inputs"]), values["weights"])
            except ValueError as error:
                yield str(error)
        if values.get("rule") == "cascade" and "doubt" in values:
            yield from doubt_problems(values["doubt"] or {})
        if (values.get("rule"), values.get("by")) == ("best", "file") and {"inputs", "file"} <= values.keys():
            yield from _file_problems(values["file"], values["inputs"])

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the ground truth for an oracle, with the file's choices, and with the names in the notes."""
        about: list[Any] = [self.inputs]
        if self.reads_truth:
            about.append(["truth", clip.truth.fingerprint() if clip.truth else None])
        if self._by_file:
            about.append([self._named(clip, e.id) for e in clip.expressions])
        return digest(repr(about))

    def problems(self, clip: Clip) -> list[str]:
        """Reports a missing ground truth, and expressions for which the file names no input."""
        if self.reads_truth and not any(clip.truth and clip.truth.read(e.id) for e in clip.expressions):
            return [
                "no ground truth, which the rule `oracle` reads; use a split that has it, or leave the step out: "
                f"steps.{self.name}=null"
            ]
        if self._by_file and self.settings.otherwise is None:
            missing = [e.id for e in clip.expressions if self._named(clip, e.id) is None]
            if missing:
                return [
                    f"{self.settings.file}: video {clip.name!r}: no choice for expressions {first_few(missing)}; add "
                    "them, or set `otherwise: first`"
                ]
        return []

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks, and what the rule compares: scores or probabilities."""
        s, problems = self.settings, vote_maps(self, self.inputs, known)
        compared = self.inputs[:-1] if s.rule == "cascade" else self.inputs
        read = s.by if s.rule == "best" else "scores" if s.rule == "cascade" and _has(s.doubt, "score") else None
        for name in dict.fromkeys(compared):
            lacking = [signal_problem(read, name, known[name].of(e.id)) for e in clip.expressions if read]
            problems += [problem for problem in dict.fromkeys(lacking) if problem]
        return problems

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The properties that all inputs have in common."""
        return common_traits([known[name].all() for name in self.inputs])

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The chosen input of each expression, with the reasons in the notes."""
        rules = {"medoid": self._medoid, "best": self._best, "cascade": self._cascade, "oracle": self._oracle}
        result = {}
        for e in clip.expressions:
            candidates = [inputs[name][e.id] for name in self.inputs]
            i, reasons = rules[self.settings.rule](clip, e.id, candidates)
            notes = {**candidates[i].notes, "chosen": self.inputs[i], **reasons}
            result[e.id] = candidates[i].with_(notes=notes)
        return result

    def describe(self) -> str:
        """The rule with what it compares, and the inputs."""
        s = self.settings
        how = {"best": f"best by {s.by}", "oracle": "oracle, the best by the ground truth"}.get(s.rule, s.rule)
        return f"{how} of {', '.join(self.inputs)}"

    def _medoid(self, clip: Clip, expression: str, candidates: Sequence[MaskSequence]) -> tuple[int, dict[str, Any]]:
        """The position of the medoid, and the mean agreement of each input with the others."""
        matrix, weights = selection.agreements(candidates, self.settings.overlap), self.settings.weights
        return selection.medoid(matrix, weights), {
            "agreement": self._by_name(selection.mean_agreement(matrix, weights))
        }

    def _best(self, clip: Clip, expression: str, candidates: Sequence[MaskSequence]) -> tuple[int, dict[str, Any]]:
        """The position of the best input, and the value of each."""
        if self._by_file:
            name = self._named(clip, expression)
            reason = FROM_FILE if name else "not named by the file: the first input"
            return self.inputs.index(name) if name else 0, {"reason": reason}
        where = f"clip {clip.name!r}, expression {expression!r}"
        values = [
            signal(self.settings.by, sequence, f"{where}: {name}")
            for name, sequence in zip(self.inputs, candidates, strict=True)
        ]
        weighted = [v * w for v, w in zip(values, self.settings.weights or [1] * len(values), strict=True)]
        return weighted.index(max(weighted)), {self.settings.by: self._by_name(weighted)}

    def _cascade(self, clip: Clip, expression: str, candidates: Sequence[MaskSequence]) -> tuple[int, dict[str, Any]]:
        """The position of the first input that is not doubtful, else of the last; and why others are."""
        doubts: dict[str, list[str]] = {}
        for i, (sequence, following) in enumerate(pairwise(candidates)):
            try:
                reasons = doubts_of(self.settings.doubt, sequence, following, self.settings.overlap)
            except InputError as error:
                where = f"clip {clip.name!r}, expression {expression!r}: input {self.inputs[i]}"
                raise InputError(f"{where}: {problem}" for problem in error.problems) from None
            if not reasons:
                return i, {"doubts": doubts}
            doubts[self.inputs[i]] = reasons
        return len(candidates) - 1, {"doubts": doubts}

    def _oracle(self, clip: Clip, expression: str, candidates: Sequence[MaskSequence]) -> tuple[int, dict[str, Any]]:
        """The position of the input with the highest J&F, and that of each; the first where nothing is annotated."""
        truth = clip.truth.read(expression) if clip.truth else None
        if truth is None:
            return 0, {"reason": NO_TRUTH}
        scores = score_many({str(i): sequence for i, sequence in enumerate(candidates)}, truth)
        values = [each.mean().JF for each in scores.values()]
        return values.index(max(values)), {"J&F": self._by_name(values)}

    def _named(self, clip: Clip, expression: str) -> str | None:
        """The input that the file names for an expression."""
        return read_choices(self.settings.file).of(clip.name, expression)

    def _by_name(self, values: Sequence[float]) -> dict[str, float]:
        """{input: its value}, for the notes."""
        return {name: round(value, 6) for name, value in zip(self.inputs, values, strict=True)}


def _has(doubt: Mapping[str, Any] | None, rule: str) -> bool:
    return (doubt or {}).get(rule) is not None


def _file_problems(file: str | None, inputs: Sequence[str]) -> list[str]:
    """What is wrong with a file of choices: it cannot be read, or names something that is no input."""
    if not file:
        return ["`by: file` needs `file`, the choices of a source for each expression"]
    try:
        choices = read_choices(file)
    except InputError as error:
        return error.problems
    unknown = [name for name in choices.names() if name not in inputs]
    if not unknown:
        return []
    return [f"{file}: chooses {first_few(unknown)}, but the inputs are {', '.join(inputs)}"]
