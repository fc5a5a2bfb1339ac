"""The step `seeds`: instances of expressions, each with a mask in its key frame, from the masks of any model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.instances import by_expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.adapters.core.settings import choice, number, switch
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.adapters.files.seeds.seed import MOST_IOU, Listing, Seed, seed_objects
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.fusion.seeds import MIN_SHARE, components
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps
from rvos_ensemble.propagators.core.key_frame_quality import forecast
from rvos_ensemble.propagators.core.key_frame_settings import rule_problems, setting_of
from rvos_ensemble.propagators.core.key_frames import choose
from rvos_ensemble.propagators.core.memory_rules.scene_cut import ClipShots


class Seeds(Step):
    """Seeds of instances: the masks of each input in its key frames, split into connected components.

    `propagate` with `key_frame: given` propagates each seed, and `unite` joins the instances of each expression. The
    score of a seed is that of its input in the key frame, 1 without scores.

    Settings:
        inputs: sources and steps, of masks of expressions or of instances.
        key_frame: the rule for the key frames of each input, by its own scores; see `key_frames.py`.
        components: whether each connected component of a mask is a seed; false makes one seed of the mask.
        min_share: components with less than this share of the area of the largest are left out.
        bad: `drop` drops bad seeds with a note; `report` raises an error that lists them. A seed is bad if its mask is
            empty, though another frame is not, or if it shows the same instance as another.
        max_iou: two seeds of an expression in one frame with a higher IoU show the same instance; the one with the
            higher score remains.
    """

    takes = None
    gives = "objects"
    defaults = {
        "inputs": INPUTS,
        "key_frame": setting_of("argmax"),
        "components": switch(True),
        "min_share": number(MIN_SHARE, least=0, most=1),
        "bad": choice("drop", "report"),
        "max_iou": number(MOST_IOU, least=0, most=1),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The key-frame rule must be valid for a single model."""
        return rule_problems(values.get("key_frame"), ["each input"], "inputs")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks, and the key-frame rule must fit them."""
        rule = self.settings.key_frame
        return [
            *vote_maps(self, self.inputs, known),
            *(p for name in self.inputs for p in forecast(rule, name, [name], known, clip)),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Binary masks of objects, each with a score and a key frame; a presence if an input states one."""
        presence = any_presence(known[name] for name in self.inputs)
        return Traits("binary", scores=True, key_frame=True, objects=True, presence=presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Objects:
        """The seeds of all expressions, in the form of `instances.py`."""
        s = self.settings
        of: dict[str, list[tuple[str, MaskSequence]]] = {e.id: [] for e in clip.expressions}
        shots = ClipShots(clip)
        for source in self.inputs:
            for expression, named in _named(inputs[source], clip, source).items():
                of[expression] += named
        listed = {
            expression: Listing(
                [seed for name, masks in named for seed in self._seeds(name, masks, clip, expression, shots)],
                presence=fusion.largest_presence([masks.presence for _, masks in named]),
            )
            for expression, named in of.items()
        }
        return seed_objects(clip, listed, f"step {self.name}", s.max_iou, s.bad == "drop")

    def describe(self) -> str:
        """The inputs, and whether their masks are split."""
        return f"seeds of {', '.join(self.inputs)}{', split into components' if self.settings.components else ''}"

    def _seeds(self, name: str, masks: MaskSequence, clip: Clip, expression: str, shots: ClipShots) -> Iterator[Seed]:
        """The seeds of one mask sequence."""
        if masks.is_empty():  # it says that the expression refers to nothing
            return
        s = self.settings
        for t in choose(s.key_frame, masks, clip=clip.name, expression=expression, shots=shots).frames:
            score = 1.0 if masks.scores is None else float(masks.scores[t])
            mask = masks.mask(t)
            if not s.components or not mask.any():
                yield Seed(f"{name}.{t}", t, mask, score)
            else:
                parts = components(mask, s.min_share)
                yield from (Seed(f"{name}.{t}.{i}", t, part, score) for i, part in enumerate(parts))


def _named(prediction: Prediction, clip: Clip, source: str) -> dict[str, list[tuple[str, MaskSequence]]]:
    """{expression id: the mask sequences of a source with their names}: one, or one per instance."""
    if not isinstance(prediction, Objects):
        return {e.id: [(source, prediction[e.id])] for e in clip.expressions}
    groups = by_expression(prediction, clip, source)
    return {e: [(f"{source}.{s.notes['instance']}", s) for s in group] for e, group in groups.items()}
