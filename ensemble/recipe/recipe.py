"""A recipe: the graph of components and steps, validated before anything is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.url import is_url
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.ensemble.recipe.components import Parts, make_component, make_propagators, make_step
from rvos_ensemble.ensemble.recipe.config.loading import read, words
from rvos_ensemble.ensemble.recipe.config.shipped_weights import with_shipped_weights
from rvos_ensemble.ensemble.recipe.recipe_edits import dropped, without_sources
from rvos_ensemble.ensemble.recipe.schema import DEFAULTS, ENGINE, GROUPING, TABLES
from rvos_ensemble.ensemble.recipe.shard import shard_problems
from rvos_ensemble.ensemble.recipe.team import EXAMPLE, FILE, team_problems
from rvos_ensemble.ensemble.recipe.validation import attempt, kind_problems, merged, name_problems, order
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.propagator import Propagator


@dataclass(frozen=True)
class Recipe:
    """A validated recipe with its components.

    Attributes:
        name: of the recipe.
        config: everything resolved, plain JSON values; `Recipe.build(name, config)` makes the same recipe elsewhere.
        dataset: the benchmark.
        sources: {name: adapter} of the sources that a step or the output reads.
        propagators: {name: propagator} of those that a step uses.
        steps: {name: step}, in an order in which they can be computed.
        output: name of the step or source whose masks are the result.
    """

    name: str
    config: dict[str, Any]
    dataset: Dataset
    sources: dict[str, Adapter]
    propagators: dict[str, Propagator]
    steps: dict[str, Step]
    output: str

    @classmethod
    def build(cls, name: str, config: dict[str, Any], made: dict[str, Component] | None = None) -> Recipe:
        """Makes the components of a resolved recipe.

        Args:
            name: of the recipe.
            config: as `resolve` returns it.
            made: {settings: component}, read and extended, so that recipes that share components load weights once.

        Raises:
            InputError: naming every unknown key, missing input, circle, and component that cannot be made.
        """
        problems: list[str] = []
        config = merged(problems, DEFAULTS, config, f"recipe {name}")
        config |= {key: config[key] or {} for key in TABLES}
        config["propagators"] = with_shipped_weights(config["propagators"], config["data"])
        grouping = merged(problems, GROUPING, config["grouping"], "grouping")
        merged(problems, ENGINE, config["engine"], "engine")
        problems += shard_problems(config)
        config["submission"] = config["submission"] and not config["shard"]  # the zip is of all clips
        problems += [] if config["team"] is None else team_problems(config["team"], "team")
        for group in ("sources", "propagators"):
            problems += [p for key in config[group] for p in name_problems(group.removesuffix("s"), key)]
        parts = Parts(problems, {} if made is None else made)
        written = {key: settings for key, settings in config["steps"].items() if settings is not None}
        inherited = {"grouping": grouping, "without_scores": config["without_scores"]}
        steps = {key: attempt(problems, make_step, key, settings, inherited) for key, settings in written.items()}
        steps = {key: step for key, step in steps.items() if step}
        broken = {key: settings for key, settings in written.items() if key not in steps}
        sources = {k: v for k, v in config["sources"].items() if v is not None}
        ordered, read_sources = order(problems, steps, [*sources], broken.keys(), config["output"])
        read_sources += [k for k in sources if k not in read_sources and k in set(words(broken))]
        if gone := dropped(problems, config["drop"], sources, steps):
            if problems:
                raise InputError(dict.fromkeys(problems))
            left = without_sources(config, {k: steps[k] for k in ordered}, gone)
            return cls.build(name, {**left, "drop": None}, made)
        adapters = {k: parts.make("adapter", sources[k], f"source {k}") for k in read_sources}
        propagators = make_propagators(parts, steps, config["propagators"])
        dataset = attempt(problems, make_component, "dataset", config["data"], "data")
        if problems:
            raise InputError(dict.fromkeys(problems))
        if problems := kind_problems(adapters, steps, ordered, config["output"]):
            raise InputError(problems)
        return cls(name, config, dataset, adapters, propagators, {k: steps[k] for k in ordered}, config["output"])

    def describe_propagator(self, name: str) -> str:
        """What runs under the name of a propagator: "aot (aot_nano)", "aot (aot_nano, bf16)"; fp32 is not named."""
        propagator = self.propagators[name]
        own = (propagator.title, getattr(propagator.settings, "weights", None), *propagator.low_precisions)
        details = [x for x in own if x not in (None, name)]
        return f"{name} ({', '.join(details)})" if details else name

    def precisions(self) -> dict[str, str]:
        """{source, propagator or step: the precisions that its networks compute in}."""
        parts = {**self.sources, **self.propagators, **self.steps}
        return {name: ", ".join(part.precisions) for name, part in parts.items() if part.precisions}

    def rendered_only(self) -> list[str]:
        """Propagators that were trained on rendered shapes only, if the data are something else."""
        if self.config["data"].get("dataset") == "shapes":
            return []
        return [n for n, p in self.propagators.items() if any(re.fullmatch(r"\w+_nano", str(w)) for w in p.weights)]

    def needed(self, of: str | None = None) -> list[str]:
        """The steps that contribute to the output, or to another source or step, which comes first."""
        names = [n for n in [of or self.output] if n in self.steps]
        for name in names:  # grows while it is read
            names += [i for i in self.steps[name].inputs if i in self.steps and i not in names]
        return names

    def truth_steps(self, of: str | None = None) -> list[str]:
        """The steps that read the ground truth, of those that contribute to the output or another source or step."""
        return [name for name in self.needed(of) if self.steps[name].reads_truth]

    def submission_problems(self) -> list[str]:
        """Why the output cannot be submitted, although the recipe asks for it.

        The ground truth decides about it, or the server requires team.json and the recipe has no `team`.
        """
        if not self.config["submission"]:
            return []
        absent = [
            f"team must be given: the server of data set {self.dataset.name} requires {FILE} in the zip; write "
            f"team: {EXAMPLE} into the recipe, or set submission=false to compute without a zip"
        ]
        return (absent if self.dataset.team_file and self.config["team"] is None else []) + [
            f"output {self.output} depends on step {name}, {self.steps[name].describe()}: an upper bound, not a "
            "prediction, so that it cannot be submitted. Choose another output, or set submission=false to compute it "
            "for comparison"
            for name in self.truth_steps()
        ]

    @property
    def out(self) -> Path:
        """Folder of the results."""
        shard = f"-{self.config['shard'].replace('/', '-of-')}" if self.config["shard"] else ""
        return user_path(self.config["out"]) if self.config["out"] else Path("runs") / f"{self.name}{shard}"

    @property
    def store(self) -> Path | str:
        """Folder of intermediate results, or their URL, which is a text."""
        store = self.config["store"]
        if store and is_url(store) and not store.startswith("file://"):
            return store
        return user_path(store.removeprefix("file://")) if store else self.out / "store"

    @property
    def engine(self) -> dict[str, Any]:
        """The settings `ENGINE`, with the number of workers on this machine decided.

        In addition, `all_workers` is true where it was left open, and `gpu` where a component uses a GPU.
        """
        engine = {**defaults_of(ENGINE), **self.config["engine"]}
        added = {"all_workers": not engine["workers"], "gpu": self.uses_gpu}
        return {**engine, **added, "workers": engine["workers"] or self.gpus or os.cpu_count() or 1}

    @property
    def uses_gpu(self) -> bool:
        """Whether a component uses a GPU where there is one."""
        return any(c.uses_gpu for c in (*self.sources.values(), *self.propagators.values(), *self.steps.values()))

    @property
    def gpus(self) -> int:
        """The number of GPUs of this machine; 0 if no component uses one."""
        if not self.uses_gpu:
            return 0
        import torch  # not at the top: recipes that use no GPU need not load it

        return torch.cuda.device_count()


def load(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of the arguments `recipe=NAME|FILE [data=NAME] [key=value ...]`.

    Args:
        arguments: as on the command line.
        values: {key: Python value}, merged over the arguments.

    Raises:
        InputError: naming everything that is wrong with the arguments, the files or the recipe.
    """
    name, config, problems = read(arguments, values)
    try:
        recipe = Recipe.build(name, config)
        problems += recipe.submission_problems()
    except InputError as e:
        problems += [p for p in e.problems if p not in problems]
    if problems:
        raise InputError(problems)
    return recipe
