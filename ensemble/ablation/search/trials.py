"""The search itself: settings that Optuna proposes, each stopped as soon as the clips show that it loses.

Settings are proposed a few at a time, so that those which share a computation are scored together, on more and more
clips. After each part of the clips, a setting is stopped if the Wilcoxon signed-rank test says that it is worse than
the best one so far, or than the recipe as it is, on the same clips. Optuna receives the value of that one plus the
difference to it on the clips that both have, extrapolated to all clips.

Everything is determined by the seed and the scores. Scores are kept on disk: after an interruption the same settings
are proposed again and find their scores, and the search continues where it was.

Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011 (TPE); Akiba et al., Optuna: A
Next-generation Hyperparameter Optimization Framework, KDD 2019.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.search.space import Space, number_of_settings

Values = Mapping[str, Any]
"""{path of a key: value}."""

if TYPE_CHECKING:
    from types import ModuleType

    from optuna import Study
    from optuna.trial import Trial

TOGETHER = 8  # trials that are proposed at once
FEWEST = 4  # clips: with fewer, the test cannot reject at P_STOP
P_STOP = 0.1
REPEATED = 32  # proposals in a row that were all tried before: the search has converged
INSTALL = "pip install 'rvos-ensemble[search]'"


@dataclass
class Tried:
    """A setting that was tried.

    Attributes:
        values: {path of a key: value}.
        gains: for each clip that it was scored on, its share of the gain over the recipe as it is; they add up to it.
        state: "complete", "stopped" (it loses), or "failed".
    """

    values: Values
    gains: list[float] = field(default_factory=list)
    state: str = "complete"

    @property
    def gain(self) -> float:
        """The gain over the recipe as it is, on the clips that it was scored on."""
        return sum(self.gains)


def search(
    space: Space,
    start: Values,
    parts: Sequence[int],
    budget: int,
    seed: int,
    score: Callable[[list[Values], int, int], list[list[float] | None]],
    prune: bool = True,
) -> list[Tried]:
    """Tries settings: all of them where the budget allows, otherwise those that Optuna proposes.

    Args:
        space: what may be tried.
        start: the values of the recipe, which are tried first if the space has them.
        parts: number of clips in each part.
        budget: number of settings to try.
        seed: of the proposals.
        score: (settings, number of the first clip, that of the last, exclusive) -> for each setting its gain on each
            of these clips, see `Tried`; None if it failed.
        prune: whether losing trials are stopped.

    Returns:
        In the order in which they were tried.

    Raises:
        InputError: Optuna is not installed.
    """
    optuna = load_optuna()
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    few = number_of_settings(space) <= budget
    _enqueue(study, space, start, few)
    tried: dict[str, Tried] = {}
    most = min(budget, number_of_settings(space))
    while len(tried) < most:
        asked = _ask(study, space, tried, min(TOGETHER, most - len(tried)))
        if not asked:
            break
        complete = [of.gains for of in tried.values() if of.state == "complete" and of.gains]
        best = max([[0.0] * sum(parts), *complete], key=sum)  # zeros: the recipe as it is
        _score([of for _, of in asked], best, parts, score, prune)
        for trial, of in asked:
            _tell(study, trial, of, best)
    return list(tried.values())


def name_of(values: Values) -> str:
    """One text for a setting."""
    return json.dumps(values, sort_keys=True)


def parts_of(clips: int) -> list[int]:
    """Sizes of the parts of the clips on which trials are scored one after the other: an eighth, then twice as many.

    >>> parts_of(3), parts_of(6), parts_of(48)
    ([3], [4, 2], [6, 6, 12, 24])
    """
    ends = sorted({min(clips, max(FEWEST, math.ceil(clips / share))) for share in (8, 4, 2, 1)})
    return [int(size) for size in np.diff([0, *ends])]


def load_optuna() -> ModuleType:
    """Optuna, with its log silenced.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"search.KEY needs Optuna ({error}): {INSTALL}, or pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _enqueue(study: Study, space: Space, start: Values, every: bool) -> None:
    """Puts the values of the recipe first, and with `every` all settings after them."""
    if all(values.contains(start.get(key)) for key, values in space.items()):
        study.enqueue_trial({key: values.encode(start[key]) for key, values in space.items()})
    if every:
        for chosen in product(*(values.every for values in space.values())):
            study.enqueue_trial({key: space[key].encode(v) for key, v in zip(space, chosen, strict=True)})


def _ask(study: Study, space: Space, tried: dict[str, Tried], number: int) -> list[tuple[Trial, Tried]]:
    """New proposals, which are added to `tried`; fewer than asked for where only known ones are proposed."""
    from optuna.trial import TrialState

    asked, repeated = [], 0
    while len(asked) < number and repeated < REPEATED:
        trial = study.ask()
        values = {key: of.suggest(trial, key) for key, of in space.items()}
        name = name_of(values)
        if name in tried:
            study.tell(trial, state=TrialState.FAIL)  # Optuna ignores it: the value of the setting is known
            repeated += 1
        else:
            tried[name] = Tried(values)
            asked.append((trial, tried[name]))
            repeated = 0
    return asked


def _score(asked: Sequence[Tried], best: Sequence[float], parts: Sequence[int], score: Callable, prune: bool) -> None:
    """Scores settings part by part, and stops those that lose to the best so far."""
    alive, ends = list(asked), [0, *accumulate(parts)]
    for first, last in pairwise(ends):
        if not alive:
            return
        for of, gains in zip(alive, score([of.values for of in alive], first, last), strict=True):
            if gains is None:
                of.state = "failed"
                continue
            of.gains += gains
            if prune and last < ends[-1] and loses(of.gains, best[:last]):
                of.state = "stopped"
        alive = [of for of in alive if of.state == "complete"]


def loses(gains: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a setting is worse than another on the same clips, by the one-sided Wilcoxon signed-rank test.

    >>> loses([0.1, 0.2, 0.1, 0.3], [0.2, 0.4, 0.4, 0.7]), loses([0.1, 0.2, 0.1, 0.3], [0.1, 0.2, 0.1, 0.3])
    (True, False)
    """
    from scipy.stats import wilcoxon

    differences = np.subtract(gains, best)
    if len(differences) < FEWEST or differences.sum() >= 0:
        return False
    return bool(wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue < P_STOP)


def _tell(study: Study, trial: Trial, of: Tried, best: Sequence[float]) -> None:
    """Tells Optuna the gain of a setting."""
    from optuna.trial import TrialState

    if of.state == "failed":
        study.tell(trial, state=TrialState.FAIL)
        return
    gain = of.gain
    if of.state == "stopped":
        gain = sum(best) + (gain - sum(best[: len(of.gains)])) * len(best) / len(of.gains)
    study.tell(trial, gain)
