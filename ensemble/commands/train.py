"""The command `train`: trains a network of any family; the loop is `adapters/training/loop/loop.py`.

    train KIND=NAME [key=value ...]             a family of this package or an installed one, such as segmenter=soc
    train KIND=path/to/my_family.py [...]       a family of your own, whose `training` names the module that trains it

That module has `DEFAULTS`, its settings and other defaults for those of the loop, and `make_task(name, settings,
score)`, which returns a `TrainingTask`; `settings` are values for `DEFAULTS`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.adapters.core.own_code import defaults_problem, failure
from rvos_ensemble.adapters.core.settings import text
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.training.loop import loop, processes
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.ensemble.commands.families import find_family, trainable
from rvos_ensemble.ensemble.engine.storage.folders import owned
from rvos_ensemble.ensemble.metrics.jf import j_and_f
from rvos_ensemble.ensemble.recipe.config.overrides import pairs, plain
from rvos_ensemble.ensemble.report.paper.style import save
from rvos_ensemble.ensemble.report.training import card, figure, full_name, metrics_of, read_log

SINGLE = ("grounding", "judge", "candidates")  # the kinds that have one family, which need not be named


@dataclass(frozen=True)
class TrainingRequest:
    """What the command line asks for.

    Attributes:
        kind: "segmenter", "propagator", "backbone", "grounding", "judge" or "candidates".
        family: of the network.
        trainer: the module that trains it.
        overrides: the settings on the command line.
    """

    kind: str
    family: Family
    trainer: ModuleType
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.family.name

    @property
    def where(self) -> str:
        """The command, for messages."""
        return f"train {self.kind}={self.name}"

    def settings(self) -> dict[str, Any]:
        """Values of all settings.

        Raises:
            InputError: naming every unknown setting and invalid value.
        """
        return merge_settings(settings_of(self.trainer), self.overrides, self.where)


def run(arguments: Sequence[str]) -> int:
    """Trains a network, or resumes an interrupted run; returns the exit code.

    Raises:
        InputError: unknown network or setting, data that cannot be read, or a folder with another run.
    """
    request = parse(arguments)
    settings, name = request.settings(), request.name
    out = settings.pop("out")
    out = user_path(out) if out else Path("runs") / "train" / full_name(name, request.overrides.get("variant"))
    started = time.time()
    task_settings = {k: settings[k] for k in request.trainer.DEFAULTS}
    task = make_task(request, task_settings, score)
    parameters = sum(p.numel() for p in task.network.parameters())
    data = f" on {settings['data']}" if "data" in settings else ""
    print(f"training {name} ({parameters / 1e6:.2f} M parameters){data}, into {out}", file=sys.stderr)
    try:
        with owned(out, "training") if processes.is_first() else contextlib.nullcontext():
            loop_settings = {k: settings[k] for k in loop.DEFAULTS}
            weights = loop.fit(task, loop_settings, out, {request.kind: name, **task_settings})
    except (OSError, FloatingPointError) as error:
        raise InputError(f"{out}: {error}; the same command resumes from the last saved state") from None
    if not processes.is_first():
        return 0
    log = read_log(out)
    save(figure(f"{name}{data}, {settings['steps']} steps", log), "log", out)
    atomic_write(out / "card.md", card(name, arguments, settings, parameters, log, started))
    metrics = ", ".join(f"{k} {v}" for k, v in metrics_of(log[-1]).items())
    print(f"{weights}: {metrics or 'trained'}; curves: {out / 'log.svg'}, model card: {out / 'card.md'}")
    return 0


def parse(arguments: Sequence[str]) -> TrainingRequest:
    """Reads the command line.

    Raises:
        InputError: no network, an unknown one, or a value that cannot be read.
    """
    known = trainable()
    values = pairs([f"{a}={a}" if a in SINGLE else a for a in arguments])
    kinds = [kind for kind in values if kind in known]
    if len(kinds) != 1:
        choices = (kind if kind in SINGLE else f"{kind}={'|'.join(names)}" for kind, names in known.items())
        raise InputError(f"train needs exactly one network: {'; '.join(choices)}; or the path of a family, a .py file")
    kind = kinds[0]
    family = _family(kind, values.pop(kind), known[kind])
    trainer = _trainer(family)
    return TrainingRequest(kind, family, trainer, plain(values, settings_of(trainer), f"train {kind}={family.name}"))


def settings_of(trainer: ModuleType) -> dict[str, Any]:
    """All settings of a run; the defaults of its trainer take precedence over those of the loop."""
    return {"out": text(None), **loop.DEFAULTS, **trainer.DEFAULTS}


def make_task(request: TrainingRequest, settings: dict[str, Any], metric: Callable | None) -> TrainingTask:
    """Makes the task of a run.

    Args:
        request: the network.
        settings: values for the `DEFAULTS` of its trainer.
        metric: of predicted and true masks, see `score`; None disables validation by it.

    Raises:
        InputError: invalid settings or data, or a family of the user's own that fails, with the line.
    """
    try:
        task = request.trainer.make_task(request.name, settings, metric)
    except InputError:
        raise
    except Exception as error:
        if request.family.file is None:
            raise
        raise InputError(f"{failure(error, request.trainer.__file__)}; raised by its `make_task`") from error
    if not isinstance(task, TrainingTask):
        raise InputError(f"{request.trainer.__file__}: `make_task` returned {shown(task)}, expected a TrainingTask")
    return task


def score(prediction: np.ndarray, truth: np.ndarray) -> float:
    """J&F of one object.

    Args:
        prediction, truth: bool or uint8 [T, H, W].

    Returns:
        Mean over the frames, 0..1.
    """
    j, f = j_and_f(np.asarray(prediction, bool), np.asarray(truth, bool))
    return float((np.mean(j) + np.mean(f)) / 2)


def _family(kind: str, name: str, known: Mapping[str, Family]) -> Family:
    """The family called `name`, or the one in the .py file of that path.

    Raises:
        InputError: it does not exist, or is of another kind.
    """
    if not name.endswith(".py"):
        if name not in known:
            raise InputError(
                f"train: no {kind} {name!r}{did_you_mean(name, known)} Expected one of {', '.join(known)}, or the "
                "path of a family, a .py file"
            )
        return known[name]
    family = find_family(name)
    if family.kind != kind:
        raise InputError(f"{name}: a family of kind {family.kind!r}; use `train {family.kind}={name}`")
    return family


def _trainer(family: Family) -> ModuleType:
    """The module that trains a family.

    Raises:
        InputError: the family cannot be trained, or the module lacks `DEFAULTS` or `make_task`.
    """
    trainer = family.trainer()
    problems = [
        f"{trainer.__file__}: {what}"
        for key, what in (("DEFAULTS", "no `DEFAULTS`, the settings of the training"), ("make_task", "no `make_task`"))
        if not hasattr(trainer, key)
    ]
    if not problems and (problem := defaults_problem(trainer.DEFAULTS)):
        problems = [f"{trainer.__file__}: {problem.replace('`defaults`', '`DEFAULTS`')}"]
    if problems:
        raise InputError(f"{problem}; see docs/training.md" for problem in problems)
    return trainer
