"""The base of every step of a recipe: `Step`, and `PropagatingStep` for those that need a propagator."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component, merge_settings
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, text, texts
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.propagators.core.key_frame_settings import rule_problems, setting_of
from rvos_ensemble.propagators.core.key_frames import choose, forecast, settings_of
from rvos_ensemble.propagators.core.propagate import Job

INPUT = text(what="the name of a source or step")
INPUTS = texts(what="names of sources and steps")
LISTS = ("inputs", "scores_from")  # settings that may be one name or several


class Step(Component):
    """A step of a recipe: `defaults` names every setting it has, `inputs` the sources and steps it reads.

    The recipe's `op` is the name of the class's file. A subclass in a file of the user's own works as well
    (`op: path/to/my_step.py`).

    Raises:
        InputError: unknown settings, required ones missing, values that do not fit, and what `relations` finds, all of
            them together.
    """

    takes: ClassVar[str | None] = "expressions"  # what its inputs are masks of: "expressions", "objects", None: either
    gives: ClassVar[str | None] = "expressions"  # what its result has masks of; None: the same as its inputs
    propagator: str | None = None  # the recipe's name of the propagator that it needs; see `PropagatingStep`
    gives_votes: bool = False  # True: its result is a vote map, which has no masks
    counts_votes: ClassVar[bool] = False  # True: its inputs have whole numbers of votes as `weights`
    groups_expressions: bool = False  # True: it fuses expressions of the same object, by the rule of `grouping`
    reads_probabilities: bool = True  # False: masks of its inputs suffice

    def __init__(self, step_name: str = "", /, **settings):
        self.step_name = step_name or self.op
        where = f"step {self.step_name}"

        def together(given: dict[str, Any]) -> list[str]:
            return [f"{where}: {problem}" for problem in self.relations(_listed(given))]

        merged = merge_settings(self.defaults, settings, f"{where} (op {self.op})", together)
        self.settings = SimpleNamespace(**_listed(merged))

    @property
    def op(self) -> str:
        """What a recipe calls this kind of step: the name of its file."""
        return self.file.stem if self.file else super().name

    @property
    def name(self) -> str:
        """What the recipe calls this step."""
        return self.step_name

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """What is wrong with settings that do not go together, one sentence each.

        Args:
            given: all settings but those that are wrong by themselves, which are reported already; `inputs` and
                `scores_from` are lists.
        """
        return ()

    @property
    def inputs(self) -> list[str]:
        """Names of the sources and steps it reads."""
        return list(self.settings.inputs)

    @property
    def masks_from(self) -> list[str]:
        """Those of its inputs whose masks are in its result; others only choose or score."""
        return self.inputs

    @property
    def replacement(self) -> str:
        """The input that takes its place where an ablation leaves the step out."""
        return self.inputs[0]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """What changes in its settings when some of its inputs are left out; None where nothing is left to work on.

        Args:
            gone: names of sources and steps that no longer exist. It may be empty, where inputs are left out further
                up and what this step reads is not what it was.
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

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """Its prediction of the clip, from those of its inputs."""
        raise NotImplementedError

    def vote_map(self) -> Step | None:
        """The step whose vote map this step thresholds; None where it does not threshold votes.

        Steps with equal vote maps are scored by an ablation in one pass over all their thresholds; they say in
        `votes_needed(clip, group, total)` how many votes each of them needs.
        """
        return None

    def problems(self, clip: Clip) -> list[str]:
        """What it will not be able to do with a clip, as far as that can be said before there are masks."""
        return []

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """What is known of its masks before they are computed, from what is known of its inputs'."""
        return Traits(objects=self.gives == "objects")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """What it will not be able to do with the inputs of a clip, as far as is known of them; no mask is read."""
        return []

    def describe(self) -> str:
        """A few words for tables."""
        return f"{self.op} of {', '.join(self.inputs)}"

    def fingerprint(self, clip: Clip) -> str:
        """Changes whenever something other than settings and inputs that `run` reads does: pictures, weights."""
        return ""


class PropagatingStep(Step):
    """A step that carries masks through the video with a propagator of the recipe.

    The engine collects the `jobs` of all such steps that are ready and use the same propagator, and propagates them
    together in one sweep in each direction; `results` takes back what became of them.
    """

    takes = gives = None
    defaults: ClassVar[dict[str, Any]] = {
        "input": INPUT,
        "with": text(what="the name of a propagator"),
        "key_frame": setting_of("argmax"),
        "scores_from": texts(None, what="names of sources and steps"),
        "empty_key": choice("empty", "copy"),
    }

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        scorers = [*dict.fromkeys(given.get("scores_from") or ())]
        return rule_problems(given.get("key_frame"), scorers, "scores_from")

    @property
    def propagator(self) -> str:
        return getattr(self.settings, "with")

    @property
    def inputs(self) -> list[str]:
        return list(dict.fromkeys([self.settings.input, *(self.settings.scores_from or [])]))

    @property
    def masks_from(self) -> list[str]:
        return [self.settings.input]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        if self.settings.input in gone:
            return None
        key_frame = settings_of(self.settings.key_frame)
        if "without_scores" in key_frame:  # the scores that chose it may be gone
            key_frame |= {"without_scores": "agreement"}
        scores = [s for s in self.settings.scores_from or [] if s not in gone] or None
        return {"scores_from": scores, "key_frame": key_frame}

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        scorers = self.settings.scores_from or [self.settings.input]
        return [
            *vote_maps(self, [self.settings.input], known),
            *forecast(self.settings.key_frame, self.settings.input, scorers, known, clip),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        of = known[self.settings.input].all()
        return Traits("prob", scores=True, key_frame=of.key_frame, objects=of.objects)

    def jobs(self, clip: Clip, inputs: Mapping[str, Prediction]) -> list[Job]:
        """What to propagate: one job per expression (or object) of the input, with its key frames chosen."""
        s = self.settings
        jobs, sentences = [], {e.id: e.text for e in clip.expressions}
        for name, masks in inputs[s.input].items():
            scorers = {source: inputs[source][name] for source in s.scores_from or [s.input]}
            key = choose(s.key_frame, masks, scorers, clip=clip.name, expression=name)
            notes = {"key_frame_rule": key.rule} | ({"key_frame_note": key.note} if key.note else {})
            jobs.append(Job(masks.with_(notes=notes), key.frames, s.empty_key, sentences.get(name, "")))
        return jobs

    def results(self, inputs: Mapping[str, Prediction], propagated: Iterator[MaskSequence]) -> Prediction:
        """The propagated masks under the input's names; takes as many as it had jobs."""
        of = inputs[self.settings.input]
        return type(of)((name, next(propagated)) for name in of)


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with lists of names where one name may stand for a list."""
    return {k: [v] if k in LISTS and isinstance(v, str) else v for k, v in settings.items()}


def vote_maps(step: Step, names: Iterable[str], known: Mapping[str, Traits]) -> list[str]:
    """Inputs of a step that have no masks, because they are vote maps."""
    return [
        f"input {name} is a vote map, which has no masks: give steps.{name}.threshold"
        for name in dict.fromkeys(names)
        if known[name].kind == "votes"
    ]
