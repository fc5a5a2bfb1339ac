"""The base of every step of a recipe: `Step`, and `PropagatingStep` for those that need a propagator."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component, merge_settings
from rvos_ensemble.adapters.core.instances import NOTES
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, text, texts
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.steps.parts.weights import in_order
from rvos_ensemble.propagators.core.key_frame_quality import forecast
from rvos_ensemble.propagators.core.key_frame_settings import rule_problems, setting_of, settings_of
from rvos_ensemble.propagators.core.key_frames import KeyFrames, choose
from rvos_ensemble.propagators.core.memory_rules.scene_cut import ClipShots
from rvos_ensemble.propagators.core.propagate import PropagationTask

INPUT = text(what="the name of a source or step")
INPUTS = texts(what="names of sources and steps")
LISTS = ("inputs", "scores_from")  # settings that may be one name or several
NAMES = ("input", *LISTS)  # settings that name sources and steps


class Step(Component):
    """A step of a recipe: `defaults` lists its settings, `inputs` the sources and steps that it reads.

    The recipe's `op` is the name of the file of the class. A subclass in the user's own file is selected by its path
    (`op: path/to/my_step.py`).

    Raises:
        InputError: lists all unknown settings, missing required settings, invalid values and problems reported by
            `relations`.
    """

    takes: ClassVar[str | None] = "expressions"  # kind of its inputs: "expressions", "objects"; None for both
    gives: ClassVar[str | None] = "expressions"  # kind of its result; None for that of its inputs
    propagator: str | None = None  # the recipe's name of its propagator; see `PropagatingStep`
    gives_votes: bool = False  # True: the result is a vote map, which has no masks
    counts_votes: ClassVar[bool] = False  # True: `weights` are numbers of votes of the inputs
    empties_expressions: ClassVar[bool] = False  # True: compares a presence with `tau`, as `gate` does
    groups_expressions: bool = False  # True: fuses expressions of the same object, by the rule in `grouping`
    reads_pictures: ClassVar[bool] = False  # True: reads the frames of the clip, not only masks
    reads_probabilities: bool = True  # False: reads only the binary masks of its inputs
    explains_choice: ClassVar[bool] = False  # True: the note `chosen` is a sentence about the choice, to be printed
    reads_truth: bool = False  # True: the result is an upper bound that the ground truth chooses, not a prediction

    def __init__(self, step_name: str = "", /, **settings):
        self.step_name = step_name or self.op
        where = f"step {self.step_name}"

        def together(values: dict[str, Any]) -> list[str]:
            ordered, problems = in_order(_listed(values))
            return [f"{where}: {problem}" for problem in (*problems, *self.relations(ordered))]

        merged = merge_settings(self.defaults, settings, f"{where} (op {self.op})", together)
        self.settings = SimpleNamespace(**in_order(_listed(merged))[0])

    @property
    def op(self) -> str:
        """The name of this kind of step in recipes: the name of its file."""
        return self.file.stem if self.file else super().name

    @property
    def name(self) -> str:
        """The name of this step in the recipe."""
        return self.step_name

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """Problems of settings that are valid alone but not in combination, one sentence each.

        Args:
            values: all settings except the invalid ones, which are already reported; `inputs` and `scores_from` are
                lists.
        """
        return ()

    @property
    def inputs(self) -> list[str]:
        """Names of the sources and steps that it reads."""
        return list(self.settings.inputs)

    @property
    def masks_from(self) -> list[str]:
        """The inputs whose masks contribute to the result; the others only provide scores or choices."""
        return self.inputs

    @property
    def replacement(self) -> str:
        """The input that replaces the step in an ablation without it."""
        return self.inputs[0]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """The settings that change if some inputs are removed; None if no input remains.

        Args:
            gone: names of the removed sources and steps. It may be empty, if inputs of an earlier step were removed and
                the predictions that this step reads have changed.
        """
        left = [i for i in self.masks_from if i not in gone]
        if not left:
            return None
        if not hasattr(self.settings, "inputs"):
            return {}
        changes: dict[str, Any] = {"inputs": left}
        if isinstance(getattr(self.settings, "weights", None), list):  # one per input
            changes["weights"] = [w for i, w in zip(self.inputs, self.settings.weights, strict=True) if i not in gone]
        return changes

    def reading(self, instead: Mapping[str, str]) -> dict[str, Any]:
        """The settings that change if other sources and steps are read instead of some.

        Args:
            instead: {name of a source or step: the one that replaces it}.
        """
        changes: dict[str, Any] = {}
        for key in NAMES:
            value = getattr(self.settings, key, None)
            names = [value] if isinstance(value, str) else value or []
            if any(name in instead for name in names):
                replaced = [instead.get(name, name) for name in names]
                changes[key] = replaced[0] if isinstance(value, str) else replaced
        if "inputs" in changes and isinstance(getattr(self.settings, "weights", None), list):
            changes["weights"] = self.settings.weights  # not by names, which change
        return changes

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """Computes the prediction of the clip from the predictions of the inputs."""
        raise NotImplementedError

    def vote_map(self) -> Step | None:
        """The step whose vote map this step thresholds; None if it does not threshold votes.

        An ablation scores steps with equal vote maps in one pass over all their thresholds.
        `votes_needed(clip, group, total)` returns the number of votes that each of them needs.
        """
        return None

    def problems(self, clip: Clip) -> list[str]:
        """Reasons why the step cannot process a clip, as far as they are known without masks."""
        return []

    def data_problems(self, clips: Sequence[Clip]) -> dict[str, list[str]]:
        """{clip: reasons why the step cannot process it} that concern all clips of a run, such as a count over them."""
        return {}

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The known properties of its masks before they are computed, derived from those of its inputs."""
        return Traits(objects=self.gives == "objects")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """Reasons why the step cannot process the inputs of a clip, from their known properties; reads no mask."""
        return []

    def describe(self) -> str:
        """A short description for tables."""
        return f"{self.op} of {', '.join(self.inputs)}"

    def fingerprint(self, clip: Clip) -> str:
        """Changes if anything that `run` reads changes apart from settings and inputs: frames, weights."""
        return ""


class PropagatingStep(Step):
    """A step that propagates masks through the video with one of the recipe's propagators.

    The engine collects the `tasks` of all such steps that are ready and use the same propagator, and runs them together
    in one sweep per direction. `results` receives the propagated masks.
    """

    takes = gives = None
    reads_pictures = True
    defaults: ClassVar[dict[str, Any]] = {
        "input": INPUT,
        "with": text(what="the name of a propagator"),
        "key_frame": setting_of("argmax"),
        "scores_from": texts(None, what="names of sources and steps"),
        "empty_key": choice("empty", "copy"),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The key-frame rule must fit `scores_from`."""
        scorers = [*dict.fromkeys(values.get("scores_from") or ())]
        return rule_problems(values.get("key_frame"), scorers, "scores_from")

    @property
    def propagator(self) -> str:
        """The recipe's name of the propagator."""
        return getattr(self.settings, "with")

    @property
    def inputs(self) -> list[str]:
        """The input, and the sources whose scores choose the key frame."""
        return list(dict.fromkeys([self.settings.input, *(self.settings.scores_from or [])]))

    @property
    def masks_from(self) -> list[str]:
        """The input."""
        return [self.settings.input]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """Drops removed sources from `scores_from`; None if the input is removed."""
        if self.settings.input in gone:
            return None
        key_frame = settings_of(self.settings.key_frame)
        if "without_scores" in key_frame:  # the scores that chose the key frame may be removed
            key_frame |= {"without_scores": "agreement"}
        scores = [s for s in self.settings.scores_from or [] if s not in gone] or None
        return {"scores_from": scores, "key_frame": key_frame}

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """The input must have masks, and the key-frame rule must fit it."""
        scorers = self.settings.scores_from or [self.settings.input]
        return [
            *vote_maps(self, [self.settings.input], known),
            *forecast(self.settings.key_frame, self.settings.input, scorers, known, clip),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Soft masks with scores, of the same kind and key frames as the input."""
        of = known[self.settings.input].all()
        return Traits("prob", scores=True, key_frame=of.key_frame, objects=of.objects, presence=of.presence)

    def tasks(self, clip: Clip, inputs: Mapping[str, Prediction]) -> list[PropagationTask]:
        """One job per expression (or object) of the input, with its key frames."""
        s = self.settings
        tasks, sentences, shots = [], {e.id: e.text for e in clip.expressions}, ClipShots(clip)
        for name, masks in inputs[s.input].items():
            scorers = {source: inputs[source][name] for source in s.scores_from or [s.input]}
            key = choose(s.key_frame, masks, scorers, clip=clip.name, expression=name, shots=shots)
            kept = {note: masks.notes[note] for note in NOTES if note in masks.notes}
            notes = kept | {"key_frame_rule": key.rule} | ({"key_frame_note": key.note} if key.note else {})
            sentence = sentences.get(masks.notes.get("expression", name), "")
            task = PropagationTask(masks.with_(notes=notes), key.frames, s.empty_key, sentence, cuts=key.cuts)
            tasks.append(self.task(task, key, list(scorers.values())))
        return tasks

    def task(self, once: PropagationTask, key: KeyFrames, scorers: Sequence[MaskSequence]) -> PropagationTask:
        """The task of one expression (or object); a step that propagates in several rounds overrides it.

        Args:
            once: the task that is propagated once.
            key: its key frames.
            scorers: the sequences whose scores or masks chose them.
        """
        return once

    def results(self, inputs: Mapping[str, Prediction], propagated: Iterator[MaskSequence]) -> Prediction:
        """The propagated masks under the names of the input; takes one sequence per job from the iterator."""
        of = inputs[self.settings.input]
        return type(of)((name, next(propagated)) for name in of)


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with each single name of LISTS converted to a list."""
    return {k: [v] if k in LISTS and isinstance(v, str) else v for k, v in settings.items()}


def vote_maps(step: Step, names: Iterable[str], known: Mapping[str, Traits]) -> list[str]:
    """One problem for each input that has no masks because it is a vote map."""
    return [
        f"input {name} is a vote map, which has no masks: set steps.{name}.threshold"
        for name in dict.fromkeys(names)
        if known[name].kind == "votes"
    ]
