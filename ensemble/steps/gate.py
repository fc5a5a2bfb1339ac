"""The step `gate`: decides for each expression whether it refers to anything; if not, its masks are emptied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.setting import ANY_KEY
from rvos_ensemble.adapters.core.settings import choice, either, number, table, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion import existence
from rvos_ensemble.ensemble.steps.parts.jurors import JUROR, SIGNAL, Juror, juror_problems
from rvos_ensemble.ensemble.steps.step import INPUT, Step, vote_maps

TAU = 0.5  # of the rules other than `expected_final`, if the recipe gives none
MEANS = ("mean", "expected_final")  # rules that read the weights of jurors


class Gate(Step):
    """Empties the masks of expressions that refer to nothing, as far as jurors can tell (MeViSv2).

    Each juror states a presence, P(the expression refers to something). The rule fuses them into one, and the masks are
    emptied if that is below tau. If no juror has an opinion on an expression, its masks stay as they are.

    Settings:
        input: the masks.
        jurors: {name: {KIND: ..., settings}}, where KIND is one of
            `verdicts`: a file of verdicts of a language model or a person, see `adapters/files/verdicts/verdicts.py`,
            with its settings `states`, `value` and `extra`;
            `presence`, `scores`, `confidence`, `area`, `empty`, `object_score`, `predicted_iou`: a signal of a source
            or step, see `ensemble/steps/parts/signals.py`;
            `agreement`: several sources or steps; the mean IoU of their masks over the whole video.
            `missing: unknown` accepts a juror that has no opinion on some expressions. `at_least: X` turns a value into
            1 or 0, `logistic: {midpoint: X, slope: S}` into 1 / (1 + exp(-S (value - X))). `weight` counts in means.
        rule: `mean`, the weighted mean is below tau; `any_absent`, `all_absent`, `k_absent`: any juror, all jurors, at
            least `k` jurors say absent, which means a presence below tau; `expected_final`: the weighted mean is below
            the value that maximises the expected Final, see `fusion/existence.py`.
        k: of `k_absent`.
        tau: in 0..1, by default 0.5; `expected_final` computes its own.
        no_target_share: of `expected_final`, the share of expressions without a target in the data; by default that of
            MeViSv2, 3,503 of 33,072. Only this share matters, not the number of expressions.
        jf: of `expected_final`, the J&F that the masks are expected to have if there is a target: a number, or a signal
            such as {confidence: SOURCE}, for each expression its own.
        jf_over: of `expected_final`, whether the benchmark averages J&F over `all` expressions or over `targets`.

    Source: SaSaSaSa2VA, 2nd of PVUW 2026 (arXiv 2604.26031), empties where both of its jurors say absent:
    `all_absent`. VIRST-Audio (arXiv 2603.23126): a probability below tau. SSUPER (arXiv 2608.11458): three jurors.
    """

    empties_expressions = True
    defaults = {
        "input": INPUT,
        "jurors": table(below={ANY_KEY: table(None, below=JUROR)}),
        "rule": choice("mean", *(rule for rule in existence.RULES if rule != "mean")),
        "k": whole(None, least=1),
        "tau": number(None, least=0, most=1),
        "no_target_share": number(existence.NO_TARGET_SHARE, above=0, below=1),
        "jf": either(0.7, number(least=0, most=1), table(below=SIGNAL), what="a number in 0..1, or a signal"),
        "jf_over": choice(*existence.J_AND_F),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The jurors must be valid, and the settings must be those of the rule."""
        jurors, rule = values.get("jurors", {}), values.get("rule")
        if "jurors" in values and not jurors:
            yield "no jurors, expected {name: {verdicts: FILE}}, {name: {presence: SOURCE}} or others"
        broken = [p for name, written in jurors.items() for p in juror_problems(f"jurors.{name}", written)]
        yield from broken
        if isinstance(values.get("jf"), Mapping):
            yield from juror_problems("jf", values["jf"], SIGNAL)
        if {"k", "jurors"} <= values.keys() and (rule == "k_absent") != (values["k"] is not None):
            yield f"k is {values['k']} with rule {rule}, expected a number with rule k_absent, and only there"
        elif rule == "k_absent" and jurors and (values.get("k") or 1) > len(jurors):
            yield f"k is {values['k']}, but there are {len(jurors)} jurors, so that nothing could be emptied"
        if rule == "expected_final" and values.get("tau") is not None:
            yield f"tau is {values['tau']}, but rule expected_final computes it; leave it out, or set `rule: mean`"
        weights = [] if broken else [juror.get("weight", 1) for juror in jurors.values()]
        if rule in MEANS and weights and not any(weights):
            yield "all jurors have weight 0, expected one above 0"
        if rule is not None and rule not in MEANS and any(w != 1 for w in weights):
            yield f"jurors have weights, which rule {rule} does not read; use rule mean or expected_final"

    @cached_property
    def jurors(self) -> list[Juror]:
        """The jurors, in the order of the recipe."""
        return [Juror(name, written) for name, written in self.settings.jurors.items()]

    @cached_property
    def quality(self) -> Juror | None:
        """The signal that estimates J&F; None if `jf` is a number."""
        return Juror("jf", self.settings.jf, "jf") if isinstance(self.settings.jf, Mapping) else None

    @property
    def inputs(self) -> list[str]:
        """The masks, and what the jurors read."""
        readers = [*self.jurors, *([self.quality] if self.quality else [])]
        return list(dict.fromkeys([self.settings.input, *(name for reader in readers for name in reader.inputs)]))

    @property
    def masks_from(self) -> list[str]:
        """The input."""
        return [self.settings.input]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """Drops the jurors that read removed sources; without any juror, the masks stay as they are."""
        if self.settings.input in gone:
            return None
        left = {juror.name: changed for juror in self.jurors if (changed := juror.without(gone)) is not None}
        if not left:
            return {"op": "select", "inputs": [self.settings.input]}  # of one input: the input itself
        changes: dict[str, Any] = {"jurors": left}
        if self.settings.k is not None:
            changes["k"] = min(self.settings.k, len(left))
        if self.quality:
            changes["jf"] = self.quality.without(gone) or self.defaults["jf"].default
        return changes

    def reading(self, instead: Mapping[str, str]) -> dict[str, Any]:
        """Also replaces what the jurors read."""
        changes = super().reading(instead) | {"jurors": {j.name: j.reading(instead) for j in self.jurors}}
        return changes | ({"jf": self.quality.reading(instead)} if self.quality else {})

    def data_problems(self, clips: Sequence[Clip]) -> dict[str, list[str]]:
        """What is wrong with the files of verdicts."""
        problems: dict[str, list[str]] = {}
        for juror in self.jurors:
            for clip, lines in juror.verdicts.problems(clips).items() if juror.verdicts else ():
                problems.setdefault(clip, []).extend(f"{juror}: {line}" for line in lines)
        return problems

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the verdicts on the clip."""
        return digest(repr([juror.verdicts.fingerprint(clip) for juror in self.jurors if juror.verdicts]))

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks, and must state the signals that the jurors read."""
        readers = [*self.jurors, *([self.quality] if self.quality else [])]
        signals = [problem for reader in readers for problem in reader.input_problems(clip, known)]
        return [*vote_maps(self, self.inputs, known), *signals]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Those of the input, with a presence."""
        of = known[self.settings.input].all()
        states = of.presence or any(not juror.may_be_silent for juror in self.jurors)
        return Traits(of.kind, of.scores, of.key_frame, presence=True if states else None, signals=of.signals)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The masks of each expression, emptied or not, with the fused presence, and the reasons in the notes."""
        presences = {juror.name: juror.presences(clip, inputs) for juror in self.jurors}
        quality = self.quality.presences(clip, inputs) if self.quality else {}
        result = {}
        for e in clip.expressions:
            sequence = inputs[self.settings.input][e.id]
            stated = {name: of[e.id] for name, of in presences.items()}
            fused, tau = self.fused(list(stated.values())), self.tau(quality.get(e.id))
            absent = fused is not None and fused < tau
            decision = "undecided" if fused is None else "emptied" if absent else "kept"
            gate = {"decision": decision, "presence": _rounded(fused), "tau": _rounded(tau), "rule": self.settings.rule}
            notes = {**sequence.notes, "gate": {**gate, "jurors": {n: _rounded(p) for n, p in stated.items()}}}
            presence = sequence.presence if fused is None else fused
            result[e.id] = (emptied(sequence) if absent else sequence).with_(notes=notes, presence=presence)
        return result

    def fused(self, presences: Sequence[float | None]) -> float | None:
        """The presence that the rule compares with tau, from those of the jurors."""
        weights = [juror.settings["weight"] for juror in self.jurors]
        return existence.fused_presence(presences, self.settings.rule, self.settings.k, weights)

    def tau(self, jf: float | None = None) -> float:
        """The presence below which masks are emptied.

        Args:
            jf: the J&F expected of the expression; None for that of the settings.
        """
        s = self.settings
        if s.rule == "expected_final":
            return existence.expected_final_tau(s.jf if jf is None else jf, s.no_target_share, s.jf_over)
        return TAU if s.tau is None else s.tau

    def describe(self) -> str:
        """The input, the jurors and the rule."""
        s = self.settings
        number = {"any_absent": "any says", "all_absent": "all say", "k_absent": f"{s.k} say"}.get(s.rule)
        rule = f"{number} presence < {self.tau():g}" if number else f"{s.rule} < {self.tau():g}"
        if s.rule == "expected_final":
            rule = "that raises the expected Final"
        return f"{s.input} gated by {', '.join(juror.name for juror in self.jurors)}: emptied if {rule}"


def emptied(sequence: MaskSequence) -> MaskSequence:
    """The sequence with empty masks, scores of 0 if it has scores, and no signals, which were about its masks."""
    dtype = np.dtype(sequence.masks.dtype)
    masks = LazyMasks(tuple(sequence.masks.shape), dtype, partial(_nothing, sequence.size, dtype))
    scores = None if sequence.scores is None else np.zeros(len(sequence), np.float32)
    return sequence.with_(masks=masks, scores=scores, signals={})


def _nothing(size: tuple[int, int], dtype: np.dtype, t: int) -> np.ndarray:
    """An empty mask."""
    return np.zeros(size, dtype)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
