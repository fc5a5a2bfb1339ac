"""The step `words`: chooses the object of an expression by its words, without a trained grounding network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.instances import no_instance
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.adapters.core.settings import choice, number, switch, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.adapters.inference.image_classes.nouns import Noun
from rvos_ensemble.ensemble.fusion.words.choice import Choice, choose, salience_of
from rvos_ensemble.ensemble.fusion.words.description import Cue, Description
from rvos_ensemble.ensemble.fusion.words.explain import explain, explained
from rvos_ensemble.ensemble.fusion.words.labels import label_fits
from rvos_ensemble.ensemble.fusion.words.sentence import parse
from rvos_ensemble.ensemble.fusion.words.tracks import Tracks, measure
from rvos_ensemble.ensemble.steps.gate import emptied
from rvos_ensemble.ensemble.steps.parts.word_classes import word_classes
from rvos_ensemble.ensemble.steps.step import INPUT, Step, vote_maps
from rvos_ensemble.ensemble.steps.unite import united
from rvos_ensemble.propagators.core.key_frames import uniform


class Words(Step):
    """Chooses tracklets by what a sentence says: the object's name, colour, place, size, motion, number and order.

    The name of the object is read by image classes, which need the optional extra `[open]`, and by the labels of a
    segmenter where tracklets have any; everything else is computed from frames and masks. Where the candidates are the
    answers of a detector that reads sentences, the choice is among its answers. The notes say what was understood, and
    what was not.

    Settings:
        input: tracklets.
        by: `words`, or `salience`, which ignores the sentence and takes the tracklet that stands out most (a baseline).
        object_words: `auto`: the object's name is read if the extra is installed; `required`: it must be installed;
            `off`: it is not read.
        refuse: True: the masks are emptied if the presence is below `min_presence`, or if nothing was understood; with
            a detector that reads sentences, if it found nothing.
        min_presence: see `refuse`. The presence is the fit of the object's name and colours to the chosen tracklet, or
            the confidence of the detector.
        frames: number of uniformly sampled frames that are looked at; null for all.
    """

    reads_pictures = True
    takes, gives = "objects", "expressions"
    explains_choice = True
    version = 2
    defaults = {
        "input": INPUT,
        "by": choice("words", "salience"),
        "object_words": choice("auto", "required", "off"),
        "refuse": switch(False),
        "min_presence": number(0.3, least=0, most=1),
        "frames": whole(16, least=1, null=True),
    }

    @property
    def inputs(self) -> list[str]:
        """The tracklets."""
        return [self.settings.input]

    @property
    def reads_objects(self) -> bool:
        """Whether the object's name is read by image classes."""
        return self.settings.by == "words" and self.settings.object_words != "off" and extra.is_installed()

    def problems(self, clip: Clip) -> list[str]:
        """The extra must be installed if it is required."""
        if self.settings.object_words != "required" or extra.is_installed():
            return []
        return [f"object_words is required, but no image classes are installed: {extra.INSTALL}"]

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """The tracklets must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Scores and key frames like those of the tracklets; the rest depends on how many are chosen."""
        of = known[self.settings.input].all()
        return Traits(of.kind if of.kind == "binary" else None, scores=of.scores, key_frame=of.key_frame)

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the frames, and with the extra."""
        return f"{extra.fingerprint() if self.reads_objects else ''} {clip.fingerprint}"

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The tracklets that each expression describes, with what was understood; empty masks if there are none."""
        objects = inputs[self.settings.input]
        if not objects:
            notes = {"object": None, "chosen": "nothing: there are no objects to choose from", "key_frame": 0}
            return {e.id: no_instance(clip, e.id, None).with_(notes=notes) for e in clip.expressions}
        by_words = self.settings.by == "words"
        described = {e.id: parse(e.text) if by_words else Description() for e in clip.expressions}
        moves = any(d.of("motion") for d in described.values())
        tracks = measure(objects, uniform(len(clip), self.settings.frames or len(clip)), clip.read, moves)
        nouns, classes = self._nouns(clip, objects, tracks, list(described.values()))
        salience = salience_of(tracks, _scores(objects))
        result = {}
        labels, answers = [s.notes.get("label") for s in objects.values()], _answers(clip, objects)
        for expression, description in described.items():
            own = {c: nouns[c].fit(classes) for c in description.of("object", "part") if c in nouns}
            for cue in description.of("object") if any(labels) else ():
                own[cue] = np.maximum(own.get(cue, 0), label_fits(cue.value, labels))
            chosen = choose(description, tracks, own, salience, answers.get(expression) if by_words else None)
            result[expression] = self._masks(objects, description, chosen, nouns)
        return result

    def _nouns(
        self, clip: Clip, objects: Objects, tracks: Tracks, described: list[Description]
    ) -> tuple[dict[Cue, Noun], np.ndarray | None]:
        """The nouns that are read, and the class probabilities of the tracklets if there are such nouns."""
        if not self.reads_objects:
            return {}, None
        reader = word_classes()
        nouns = reader.nouns(dict.fromkeys(cue for d in described for cue in d.of("object", "part")))
        return nouns, reader.probabilities(clip, objects, tracks) if nouns else None

    def _masks(
        self, objects: Objects, description: Description, made: Choice, nouns: Mapping[Cue, Noun]
    ) -> MaskSequence:
        """The masks of one expression with their notes."""
        names = list(objects)
        chosen = [names[i] for i in made.chosen]
        sequences = [objects[n].with_(notes={**objects[n].notes, "instance": n}, presence=None) for n in chosen]
        union = united(sequences)
        refused = self.settings.refuse and self._absent(description, made)
        words = explained(description, made, names, {cue: noun.meaning for cue, noun in nouns.items()})
        unread = made.answered is None and any(cue not in made.fits for cue in description.of("object"))
        hint = "" if self.reads_objects or self.settings.by == "salience" else self._unread
        text = explain(words, chosen, refused, hint if unread else "", self.settings.by)
        keys = {"key_frame": union.notes["key_frames"]} if "key_frames" in union.notes else {}
        notes = {
            **union.notes,
            **keys,
            "object": chosen[0] if len(chosen) == 1 else chosen,
            "words": words,
            "chosen": text,
        }
        result = union.with_(notes=notes, presence=made.presence)
        return emptied(result) if refused else result

    def _absent(self, description: Description, made: Choice) -> bool:
        """Whether the sentence refers to nothing, as far as its words can say, or nothing of it was understood."""
        if made.answered is not None:
            return not made.answered
        if made.presence is None:
            return self.settings.by == "words" and not made.fits and description.count == 1
        return made.presence < self.settings.min_presence

    @property
    def _unread(self) -> str:
        """Why object words are not read, in words."""
        off = self.settings.object_words == "off"
        return "object words are off" if off else f"object words are not read: {extra.INSTALL}"

    def describe(self) -> str:
        """The input, what is read, and whether expressions may be refused."""
        s = self.settings
        if s.by == "salience":
            return f"{s.input}: the one that stands out most"
        objects = "image classes, " if self.reads_objects else ""
        note = "" if self.reads_objects else f" ({self._unread})"
        refuses = f", emptied if presence < {s.min_presence:g}" if s.refuse else ""
        return f"{s.input} chosen by words: {objects}colour, place, size, motion{note}{refuses}"


def _answers(clip: Clip, objects: Objects) -> dict[str, np.ndarray]:
    """{expression id: confidences of a detector that each tracklet answers it, [P]}; empty without such a detector."""
    answers = [s.notes.get("answers", {}) for s in objects.values()]
    if not any(answers):
        return {}
    return {e.id: np.array([float(own.get(e.id, 0)) for own in answers]) for e in clip.expressions}


def _scores(objects: Objects) -> list[float] | None:
    """The scores of the tracklets as the step `tracklets` notes them; None if any has none."""
    scores = [s.notes.get("tracklet_score") for s in objects.values()]
    return None if any(not isinstance(s, (int, float)) for s in scores) else [max(0.0, min(1.0, s)) for s in scores]
