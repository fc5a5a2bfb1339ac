"""The base of every step of a recipe. `steps.py` has the steps themselves, one class per `op`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from adapters.component import merge_settings
from adapters.sequence import Clip, InputError, Prediction


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)


class Step:
    """A step of a recipe: `defaults` says every setting it has, `inputs` which sources and steps it reads.

    Raises:
        InputError: an unknown setting, a required one missing, a value that cannot be.
    """

    op: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]
    version: ClassVar[int] = 1  # raise it when the same settings and inputs give another result: stored results expire
    takes: ClassVar[str | None] = "expressions"  # what its inputs are masks of: expressions, objects, or None: either
    gives: ClassVar[str | None] = "expressions"  # and its result; None: of the same as its inputs
    uses_gpu: ClassVar[bool] = False

    def __init__(self, name: str, **settings):
        self.name = name
        self.settings = merge_settings(self.defaults, settings, f"step {name} (op {self.op})")
        for key in ("inputs", "scores_from"):
            if isinstance(self.settings.get(key), str):
                self.settings[key] = [self.settings[key]]
        problems = [
            f"step {name}: {key} is {value!r}, expected {'names' if key in ('inputs', 'scores_from') else 'a name'}"
            for key, value in self.settings.items()
            if (key in ("input", "with") and not isinstance(value, str))
            or (key in ("inputs", "scores_from") and value is not None and not _are_names(value))
        ]
        if problems:
            raise InputError(problems)

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

    def describe(self) -> str:
        """A few words for tables."""
        return f"{self.op} of {', '.join(self.inputs)}"

    def fingerprint(self, clip: Clip) -> str:
        """Changes whenever something other than settings and inputs that `run` reads does: pictures, weights."""
        return ""
