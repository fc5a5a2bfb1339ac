"""The base of every step of a recipe. `steps.py` has the steps themselves, one class per `op`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import text, texts
from rvos_ensemble.adapters.core.traits import Traits

INPUT = text(what="the name of a source or step")
INPUTS = texts(what="names of sources and steps")
LISTS = ("inputs", "scores_from")  # settings that may be one name or several


class Step:
    """A step of a recipe: `defaults` says every setting it has, `inputs` which sources and steps it reads.

    Raises:
        InputError: unknown settings, required ones missing, values that do not fit, and what `relations` finds, all of
            them together.
    """

    op: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]
    version: ClassVar[int] = 1  # raise it when the same settings and inputs give another result: stored results expire
    takes: ClassVar[str | None] = "expressions"  # what its inputs are masks of: expressions, objects, or None: either
    gives: ClassVar[str | None] = "expressions"  # and its result; None: of the same as its inputs
    uses_gpu: ClassVar[bool] = False

    def __init__(self, name: str, /, **settings):
        self.name = name

        def together(given: dict[str, Any]) -> list[str]:
            return [f"step {name}: {problem}" for problem in self.relations(_listed(given))]

        self.settings = _listed(merge_settings(self.defaults, settings, f"step {name} (op {self.op})", together))

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """What is wrong with settings that do not go together, one sentence each.

        Args:
            given: all settings but those that are wrong by themselves, which have been told; `inputs` and
                `scores_from` are lists.
        """
        return ()

    @property
    def inputs(self) -> list[str]:
        """Names of the sources and steps it reads."""
        return list(self.settings["inputs"])

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """Its prediction of the clip, from those of its inputs."""
        raise NotImplementedError

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
